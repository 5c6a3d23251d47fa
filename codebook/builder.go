package codebook

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

// Use says what a document is for.
type Use uint8

// Uses of a document. A clean document for both is scored for the thresholds by
// a fit that did not see its source.
const (
	Fit        Use = 1 << iota // the basis, the densities, the composition
	Thresholds                 // the calibration of false alarms; clean documents only
)

// A Document is one labelled text, as readings.
type Document struct {
	ID      string // unique within its source; appears among exemplars
	Source  string // the data set it is from: what folds keep together
	Kind    string // free
	Channel string // as the policy names it; "" counts only where channels do not matter
	Digest  string // of the text, if the corpus digest is to cover it; free

	Signals []string // what it attacks with, such as "override"; empty = clean
	Tokens  int      // of the whole text

	Readings []float32 // (spans, width), ordered by position, neighbours overlapping
	Extra    map[string]float64
	Use      Use // 0 = Fit|Thresholds
}

// Options of a Builder. The zero value is the default of each field.
type Options struct {
	// Documents is the size of the sample kept of each source and label. 0 =
	// 400. Memory is Documents · Spans · width · 2 bytes a group at worst.
	Documents int
	// Spans is the most readings kept of a document; of longer ones a run of
	// neighbours at a place chosen by hash. 0 = 64. An excerpt of an attack can
	// miss the attack: do not set this far below the lengths that matter.
	Spans int

	// Signals to fit. Nil = override, jailbreak, extraction. A signal with fewer
	// than MinAttack attack documents is left out and listed in Origin.Omitted.
	Signals []string
	// MinAttack documents are needed for a signal. 0 = 20.
	MinAttack int
	// Coordinates of each signal: a discriminant and singular vectors (ADR-0016).
	// 0 = 4: in the prototype 4 singular vectors beat 8 and 13 on new sources. Fewer
	// are kept when the sources span fewer.
	Coordinates int
	// Shrink pulls the within-source covariance towards its diagonal; 0 = 0.1,
	// at most 1 (no correlations at all).
	Shrink float64
	// Between adds this share, 0 to 1, of the covariance between clean sources to
	// that within them: directions in which clean sources differ then count for
	// less. 0 = 1, negative = none. With none, nano's AUC on whole sources that
	// nothing was trained on fell from 0.860 to 0.834 (ADR-0008).
	Between float64
	// Rounds of choosing the telling spans of attack documents. 0 = 3.
	Rounds int
	// Folds of whole sources. 0 = 5.
	Folds int
	// Ridge is the L2 penalty on composition weights. 0 = 0.01.
	Ridge float64
	// Extras maps readings of Document.Extra to log-odds. A nil curve (or an
	// absent name) is fitted where at least MinAttack documents carry a signal
	// of that name, and is otherwise no part of the codebook.
	Extras map[string]Curve

	// MinCell documents are needed for a calibration cell of its own. 0 = 200.
	// A cell of n promises no rate below 1/(n+1): for 0.1 % ask for 1000.
	MinCell int
	// Exemplars kept for explanations. 0 = 256, negative = none.
	Exemplars int
	// Threads of Fit. 0 = GOMAXPROCS. The result does not depend on it.
	Threads int

	Command string // recorded in the file
	Date    string // recorded in the file; the package never reads a clock
}

// DefaultSignals are fitted when Options names none.
var DefaultSignals = []string{"override", "jailbreak", "extraction"}

func (o *Options) setDefaults() error {
	set := func(v *int, d int) { *v = cmp.Or(*v, d) }
	set(&o.Documents, 400)
	set(&o.Spans, 64)
	set(&o.MinAttack, 20)
	set(&o.Coordinates, 4)
	set(&o.Rounds, 3)
	set(&o.Folds, 5)
	set(&o.MinCell, 200)
	set(&o.Exemplars, 256)
	o.Shrink = cmp.Or(o.Shrink, 0.1)
	o.Ridge = cmp.Or(o.Ridge, 0.01)
	o.Between = max(0, cmp.Or(o.Between, 1))
	if o.Signals == nil {
		o.Signals = DefaultSignals
	}
	in := func(v, lo, hi int) bool { return lo <= v && v <= hi }
	switch {
	case !in(o.Documents, 1, 1<<20), !in(o.Spans, 2, 1<<16), !in(o.MinAttack, 4, 1<<20),
		!in(o.Coordinates, 1, maxCoords), !in(o.Rounds, 1, 20), !in(o.Folds, 2, 50), !in(o.MinCell, 1, 1<<30),
		!in(o.Exemplars, -1<<31, maxExemplar), !(o.Shrink > 0 && o.Shrink <= 1), !(o.Between <= 1), !(o.Ridge > 0 && o.Ridge < 1e6),
		len(o.Command) > maxString, len(o.Date) > 64:
		return fmt.Errorf("codebook: %w: an option", ErrBound)
	case len(o.Signals) < 1 || len(o.Signals)+len(o.Extras) > maxSignals:
		return fmt.Errorf("codebook: %w: %d signals and %d extras, want at most %d", ErrBound, len(o.Signals), len(o.Extras), maxSignals)
	}
	names := append(slices.Clone(o.Signals), slices.Sorted(maps.Keys(o.Extras))...)
	for i, s := range names {
		if !checkName(s) || s == Novelty || s == Composite || slices.Contains(names[:i], s) {
			return fmt.Errorf("codebook: %w: signal %q", ErrBound, s)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(o.Extras)) {
		if c := o.Extras[s]; len(c.X)+len(c.Y) > 0 {
			if err := c.check(); err != nil {
				return fmt.Errorf("codebook: extra %q: %w", s, err)
			}
		}
	}
	return nil
}

// A Builder accumulates documents. Of each source and label it keeps exact
// counts and moments of everything added, and a sample of whole documents chosen
// by a hash of their names: so the order of Add does not matter, and merging the
// builders of shards gives the builder of one pass, the same sample to the bit.
// The moments are float64 sums and agree to rounding: of n readings, each sum is
// within n·2⁻⁵³·Σ|x| of the exact one in any order.
//
// A Builder is for one goroutine at a time.
type Builder struct {
	spec   Spec
	opt    Options
	groups map[groupKey]*group
	corpus [32]byte // sum of the documents' digests modulo 2²⁵⁶
}

type groupKey struct {
	source, signals string // signals sorted, joined by spaces
	use             Use
}

func (a groupKey) compare(b groupKey) int {
	return cmp.Or(strings.Compare(a.source, b.source), strings.Compare(a.signals, b.signals), cmp.Compare(a.use, b.use))
}

type group struct {
	documents, readings int64
	sum, square         []float64 // (width) of all readings
	sample              []*record // by key, at most Options.Documents
}

// record is a sampled document.
type record struct {
	order    [16]byte           // hash of source and id
	ID       string             `json:"id"`
	Kind     string             `json:"kind"`
	Channel  string             `json:"channel"`
	Tokens   int                `json:"tokens"`
	Spans    int                `json:"spans"` // kept
	Extra    map[string]float64 `json:"extra,omitempty"`
	readings []uint16           // (Spans, width) IEEE binary16
}

// compare orders records: by hash, and equal names by their contents, so that a
// name given twice does not make the sample depend on the order either.
func (r *record) compare(s *record) int {
	if c := bytes.Compare(r.order[:], s.order[:]); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(r.Tokens, s.Tokens), strings.Compare(r.Channel, s.Channel), strings.Compare(r.Kind, s.Kind),
		slices.Compare(r.readings, s.readings), strings.Compare(fmt.Sprint(r.Extra), fmt.Sprint(s.Extra)))
}

// NewBuilder returns an empty Builder for readings of that spec.
func NewBuilder(spec Spec, opt Options) (*Builder, error) {
	if err := spec.check(); err != nil {
		return nil, fmt.Errorf("codebook: new builder: %w", err)
	}
	if err := opt.setDefaults(); err != nil {
		return nil, err
	}
	spec.Sites = slices.Clone(spec.Sites)
	return &Builder{spec: spec, opt: opt, groups: map[groupKey]*group{}}, nil
}

// Spec returns the spec of the readings.
func (b *Builder) Spec() Spec { return b.spec }

// Add adds one document; d is not kept. A malformed document is refused with an
// error that wraps [ErrDocument] or [ErrReading] and leaves the Builder as it was.
func (b *Builder) Add(d Document) error {
	key, err := b.check(&d)
	if err != nil {
		return fmt.Errorf("codebook: add document %.80q of %.80q: %w", d.ID, d.Source, err)
	}
	width := b.spec.Width()
	g := b.group(key)
	n := len(d.Readings) / width
	g.documents++
	g.readings += int64(n)
	for row := d.Readings; len(row) > 0; row = row[width:] {
		for j, x := range row[:width] {
			x := float64(x)
			g.sum[j] += x
			g.square[j] += x * x
		}
	}
	b.corpus = add256(b.corpus, d.digest(key))

	hash := sha256.Sum256([]byte(d.Source + "\x00" + d.ID))
	r := &record{ID: strings.Clone(d.ID), Kind: strings.Clone(d.Kind), Channel: strings.Clone(d.Channel), Tokens: d.Tokens, Spans: n, Extra: maps.Clone(d.Extra)}
	copy(r.order[:], hash[:])
	if len(g.sample) >= b.opt.Documents && bytes.Compare(r.order[:], g.sample[len(g.sample)-1].order[:]) > 0 {
		return nil
	}
	rows := d.Readings
	if n > b.opt.Spans {
		at := int(binary.LittleEndian.Uint64(hash[16:]) % uint64(n-b.opt.Spans+1))
		rows = rows[at*width:][:b.opt.Spans*width]
		r.Tokens, r.Spans = max(1, d.Tokens*b.opt.Spans/n), b.opt.Spans
	}
	r.readings = make([]uint16, len(rows))
	for i, x := range rows {
		r.readings[i] = toHalf(x)
	}
	g.insert(r, b.opt.Documents)
	return nil
}

func (b *Builder) check(d *Document) (groupKey, error) {
	width := b.spec.Width()
	key := groupKey{source: strings.Clone(d.Source), use: d.Use}
	if key.use == 0 {
		key.use = Fit | Thresholds
	}
	for _, s := range []string{d.ID, d.Source, d.Kind, d.Channel, d.Digest} {
		if len(s) > maxString {
			return key, fmt.Errorf("%w: a field of %d bytes", ErrDocument, len(s))
		}
	}
	signals := slices.Sorted(slices.Values(d.Signals))
	for i, s := range signals {
		if !checkName(s) || i > 0 && s == signals[i-1] || len(signals) > maxSignals {
			return key, fmt.Errorf("%w: its signals", ErrDocument)
		}
	}
	key.signals = strings.Join(signals, " ")
	if key.signals != "" {
		key.use &^= Thresholds // attacks never set thresholds
	}
	switch {
	case d.ID == "" || d.Source == "":
		return key, fmt.Errorf("%w: no id or no source", ErrDocument)
	case d.Channel != "" && !checkName(d.Channel):
		return key, fmt.Errorf("%w: its channel", ErrDocument)
	case d.Use > Fit|Thresholds || key.use == 0:
		return key, fmt.Errorf("%w: use %d of a document with %d signals", ErrDocument, d.Use, len(signals))
	case d.Tokens < 1 || d.Tokens > 1<<40:
		return key, fmt.Errorf("%w: %d tokens", ErrDocument, d.Tokens)
	case len(d.Readings) == 0 || len(d.Readings)%width != 0:
		return key, fmt.Errorf("%w: %d floats of readings, want a multiple of %d", ErrDocument, len(d.Readings), width)
	case len(d.Extra) > maxSignals:
		return key, fmt.Errorf("%w: %d extras", ErrDocument, len(d.Extra))
	case b.groups[key] == nil && len(b.groups) >= maxSources:
		return key, fmt.Errorf("%w: more than %d sources", ErrDocument, maxSources)
	}
	for name, v := range d.Extra {
		if !checkName(name) || !finite(v) {
			return key, fmt.Errorf("%w: an extra", ErrDocument)
		}
	}
	if !allFinite(d.Readings) {
		return key, ErrReading
	}
	return key, nil
}

func (b *Builder) group(key groupKey) *group {
	g := b.groups[key]
	if g == nil {
		w := b.spec.Width()
		g = &group{sum: make([]float64, w), square: make([]float64, w)}
		b.groups[key] = g
	}
	return g
}

func (g *group) insert(r *record, limit int) {
	at, _ := slices.BinarySearchFunc(g.sample, r, (*record).compare)
	g.sample = slices.Insert(g.sample, at, r)
	if len(g.sample) > limit {
		clear(g.sample[limit:])
		g.sample = g.sample[:limit]
	}
}

// digest covers what identifies a document, not its readings: those differ in
// the last bit from machine to machine, the corpus does not.
func (d *Document) digest(key groupKey) [32]byte {
	h := sha256.New()
	for _, s := range []string{key.source, d.ID, d.Kind, d.Channel, d.Digest, key.signals} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	fmt.Fprintf(h, "%d,%d", d.Tokens, key.use)
	return [32]byte(h.Sum(nil))
}

func add256(a, b [32]byte) (sum [32]byte) {
	var carry uint64
	for i := 0; i < 32; i += 8 {
		var v uint64
		v, carry = bits.Add64(binary.LittleEndian.Uint64(a[i:]), binary.LittleEndian.Uint64(b[i:]), carry)
		binary.LittleEndian.PutUint64(sum[i:], v)
	}
	return sum
}

// Digest returns the digest of all documents added, whatever their order. It
// tells corpora apart; it is no commitment against somebody who chooses the
// documents to collide.
func (b *Builder) Digest() string { return "adhash-sha256:" + hex.EncodeToString(b.corpus[:]) }

// Documents returns how many documents were added.
func (b *Builder) Documents() (n int64) {
	for _, g := range b.groups {
		n += g.documents
	}
	return n
}

// Merge adds everything that was added to other, which must have the same spec
// and sample sizes and is left unchanged.
func (b *Builder) Merge(other *Builder) error {
	switch {
	case b == other:
		return fmt.Errorf("codebook: merge: %w: a builder with itself", ErrSpec)
	case !b.spec.equal(other.spec):
		return fmt.Errorf("codebook: merge: %w: %s@%s and %s@%s, widths %d and %d", ErrSpec, b.spec.Model, b.spec.Revision,
			other.spec.Model, other.spec.Revision, b.spec.Width(), other.spec.Width())
	case b.opt.Documents != other.opt.Documents || b.opt.Spans != other.opt.Spans:
		return fmt.Errorf("codebook: merge: %w: samples of %d documents of %d spans, and of %d of %d", ErrSpec,
			b.opt.Documents, b.opt.Spans, other.opt.Documents, other.opt.Spans)
	}
	fresh := 0
	for key := range other.groups {
		if b.groups[key] == nil {
			fresh++
		}
	}
	if len(b.groups)+fresh > maxSources {
		return fmt.Errorf("codebook: merge: %w: more than %d sources", ErrBound, maxSources)
	}
	for key, from := range other.groups {
		g := b.group(key)
		g.documents += from.documents
		g.readings += from.readings
		for j := range g.sum {
			g.sum[j] += from.sum[j]
			g.square[j] += from.square[j]
		}
		for _, r := range from.sample { // records are never changed: shared
			g.insert(r, b.opt.Documents)
		}
	}
	b.corpus = add256(b.corpus, other.corpus)
	return nil
}

// keys returns the groups' keys in order: maps have none.
func (b *Builder) keys() []groupKey {
	return slices.SortedFunc(maps.Keys(b.groups), groupKey.compare)
}

const builderFormat = "alknet-firewall codebook builder"

type builderState struct {
	Spec      Spec         `json:"spec"`
	Documents int          `json:"documents"` // Options.Documents
	Spans     int          `json:"spans"`     // Options.Spans
	Corpus    string       `json:"corpus"`
	Groups    []groupState `json:"groups"`
}

type groupState struct {
	Source    string    `json:"source"`
	Signals   string    `json:"signals"`
	Use       Use       `json:"use"`
	Documents int64     `json:"documents"`
	Readings  int64     `json:"readings"`
	Sample    []*record `json:"sample"`
}

// Write writes the Builder's state, for [ReadBuilder]. The bytes depend only on
// what was added (moments to rounding).
func (b *Builder) Write(w io.Writer) error {
	width := b.spec.Width()
	state := builderState{Spec: b.spec, Documents: b.opt.Documents, Spans: b.opt.Spans, Corpus: hex.EncodeToString(b.corpus[:])}
	var moments []float64
	var readings []byte
	rows := 0
	for _, key := range b.keys() {
		g := b.groups[key]
		state.Groups = append(state.Groups, groupState{key.source, key.signals, key.use, g.documents, g.readings, g.sample})
		moments = append(append(moments, g.sum...), g.square...)
		for _, r := range g.sample {
			for _, h := range r.readings {
				readings = binary.LittleEndian.AppendUint16(readings, h)
			}
			rows += r.Spans
		}
	}
	js, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("codebook: write builder: %w", err)
	}
	err = safetensors.Write(w, []safetensors.Tensor{
		{Name: "state", DType: safetensors.U8, Shape: []int{len(js)}, Data: js},
		{Name: "readings", DType: safetensors.F16, Shape: []int{rows, width}, Data: readings},
		safetensors.FromFloat64("moments", []int{len(state.Groups), 2, width}, moments),
	}, map[string]string{"format": builderFormat, "version": fmt.Sprint(FormatVersion)})
	if err != nil {
		return fmt.Errorf("codebook: write builder: %w", err)
	}
	return nil
}

// ReadBuilder reads what [Builder.Write] wrote; data is not kept. The sample
// sizes are those of the file, everything else is as opt says.
func ReadBuilder(data []byte, opt Options) (*Builder, error) {
	b, err := readBuilder(data, opt)
	if err != nil {
		return nil, fmt.Errorf("codebook: read builder: %w", err)
	}
	return b, nil
}

func readBuilder(data []byte, opt Options) (*Builder, error) {
	f, err := openFormat(data, builderFormat)
	if err != nil {
		return nil, err
	}
	js, err := f.bytes("state")
	if err != nil {
		return nil, err
	}
	var state builderState
	if err := decodeJSON(js, &state); err != nil {
		return nil, err
	}
	if err := state.Spec.check(); err != nil {
		return nil, err
	}
	opt.Documents, opt.Spans = state.Documents, state.Spans
	if opt.Documents < 1 || opt.Spans < 2 {
		return nil, fmt.Errorf("%w: sample sizes %d and %d", ErrBound, opt.Documents, opt.Spans)
	}
	b, err := NewBuilder(state.Spec, opt)
	if err != nil {
		return nil, err
	}
	corpus, err := hex.DecodeString(state.Corpus)
	if err != nil || len(corpus) != 32 {
		return nil, fmt.Errorf("%w: corpus digest", ErrBound)
	}
	copy(b.corpus[:], corpus)

	width := b.spec.Width()
	moments, err := f.float64s("moments", len(state.Groups), 2, width)
	if err != nil {
		return nil, err
	}
	rows := 0
	for i := range state.Groups {
		for _, r := range state.Groups[i].Sample {
			if r == nil || r.Spans < 1 || r.Spans > opt.Spans {
				return nil, fmt.Errorf("%w: group %d: a document's spans", ErrBound, i)
			}
			rows += r.Spans // at most 2¹⁶ of each entry of a text in memory: no overflow
		}
	}
	readings, err := f.halves("readings", rows, width)
	if err != nil {
		return nil, err
	}
	for i, gs := range state.Groups {
		key := groupKey{gs.Source, gs.Signals, gs.Use}
		if b.groups[key] != nil || gs.Documents < int64(len(gs.Sample)) || gs.Readings < gs.Documents ||
			len(gs.Sample) > opt.Documents || gs.Readings > 1<<52 {
			return nil, fmt.Errorf("%w: group %d: its counts or name", ErrBound, i)
		}
		for _, r := range gs.Sample {
			// The same checks as a document that comes through Add.
			d := Document{
				ID: r.ID, Source: gs.Source, Kind: r.Kind, Channel: r.Channel, Signals: strings.Fields(gs.Signals),
				Tokens: r.Tokens, Readings: make([]float32, width), Extra: r.Extra, Use: gs.Use,
			}
			if got, err := b.check(&d); err != nil || got != key {
				return nil, fmt.Errorf("%w: group %d: a sampled document", ErrBound, i)
			}
			r.readings, readings = readings[:r.Spans*width:r.Spans*width], readings[r.Spans*width:]
			hash := sha256.Sum256([]byte(gs.Source + "\x00" + r.ID))
			copy(r.order[:], hash[:])
		}
		if !slices.IsSortedFunc(gs.Sample, (*record).compare) {
			return nil, fmt.Errorf("%w: group %d: its sample", ErrMonotone, i)
		}
		m := moments[2*width*i:]
		b.groups[key] = &group{gs.Documents, gs.Readings, slices.Clone(m[:width]), slices.Clone(m[width : 2*width]), gs.Sample}
	}
	return b, nil
}

// toHalf rounds to the nearest IEEE binary16, ties to even; beyond its range it
// saturates at ±65504, far past [Clip] scales of any channel that carries
// information. x is finite.
func toHalf(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	abs := math.Float32frombits(b &^ (1 << 31))
	switch {
	case abs >= 65504:
		return sign | 0x7bff
	case abs < 0x1p-14: // subnormal: a multiple of 2⁻²⁴
		return sign | uint16(math.RoundToEven(float64(abs)*0x1p24))
	}
	b &^= 1 << 31
	b += 0xfff + b>>13&1
	h := b>>13 - (127-15)<<10
	return sign | uint16(min(h, 0x7bff))
}

// halfTable holds every binary16, so that unpacking costs one load.
var halfTable = sync.OnceValue(func() *[1 << 16]float32 {
	t := new([1 << 16]float32)
	for i := range t {
		t[i] = safetensors.F16ToFloat32(uint16(i))
	}
	return t
})

func allFinite(v []float32) bool {
	var bad float32
	for _, x := range v {
		bad += x * 0 // NaN for NaN and infinities
	}
	return bad == 0
}
