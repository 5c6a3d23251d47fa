// Package reading turns text into readings: one vector a span of tokens, taken
// from the hidden states of a detector model.
//
// It is where text, tokenizer and model meet, and the only such place, so that
// screening, streaming and calibration read every text in the same way. It
// knows nothing of signals or verdicts; of a codebook it reads only the
// [codebook.Spec], which says where and how readings are taken.
//
// A text is cut into segments (package text), each segment is tokenised on its
// own, and windows of Window tokens run over the token stream, Stride apart. A window is handed to the model between a constant prefix and suffix;
// inside it, spans of Span tokens, Step apart, each give one reading.
// Where a segment hides or disguises characters, the undone text is read a
// second time, in a lane of its own. Everything depends only on what stands to
// the left, so a text gives the same readings however it is chunked.
package reading

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/internal/lm"
	"github.com/alkimiadev/alknet-firewall/internal/text"
	"github.com/alkimiadev/alknet-firewall/internal/tokenizer"
)

// Bounds of a plan. They keep a hostile codebook from asking for windows that
// do not fit into memory.
const (
	maxWindow   = 4096 // tokens
	maxTemplate = 256  // tokens of prefix or suffix
)

// checkPlan reports whether the window and span sizes of a plan make sense.
func checkPlan(p *codebook.Spec) error {
	switch {
	case len(p.Sites) == 0:
		return errors.New("no sites")
	case p.Window < 1 || p.Window > maxWindow:
		return fmt.Errorf("window of %d tokens, want 1 to %d", p.Window, maxWindow)
	case p.Stride < 1 || p.Stride > p.Window:
		return fmt.Errorf("stride of %d tokens, want 1 to the window's %d", p.Stride, p.Window)
	case p.Span < 1 || p.Span > p.Window:
		return fmt.Errorf("span of %d tokens, want 1 to the window's %d", p.Span, p.Window)
	case p.Step < 1 || p.Step > p.Span:
		return fmt.Errorf("step of %d tokens, want 1 to the span's %d", p.Step, p.Span)
	}
	return nil
}

// tapOf returns where in the model a site is read.
func tapOf(s codebook.Site) (lm.Tap, error) {
	for _, stream := range []lm.Stream{lm.Residual, lm.Attention, lm.MLP} {
		if stream.String() == s.Stream {
			return lm.Tap{Layer: s.Layer, Stream: stream}, nil
		}
	}
	return lm.Tap{}, fmt.Errorf("site %v: no such stream", s)
}

// A Reader reads texts with one model, tokenizer and plan. It is safe for
// concurrent use; what belongs to a text lives in a [Scan] and a [Batch].
type Reader struct {
	model  *lm.Model
	tok    *tokenizer.Tokenizer
	plan   codebook.Spec
	taps   []lm.Tap // each once
	tapOf  []int    // per site, index into taps
	prefix *lm.Prefix
	suffix []int32
	dim    int
	passes passes
}

// New prepares a reader: it checks the plan against the model and runs the
// prefix once.
func New(ctx context.Context, model *lm.Model, tok *tokenizer.Tokenizer, plan codebook.Spec) (*Reader, error) {
	if err := checkPlan(&plan); err != nil {
		return nil, fmt.Errorf("reading plan: %w", err)
	}
	if dim := model.Config().Hidden; dim != plan.Dim {
		return nil, fmt.Errorf("reading plan: readings of %d values a site, but the model's hidden size is %d", plan.Dim, dim)
	}
	r := &Reader{model: model, tok: tok, plan: plan, dim: plan.Dim}
	for _, s := range plan.Sites {
		tap, err := tapOf(s)
		if err != nil {
			return nil, fmt.Errorf("reading plan: %w", err)
		}
		at := slices.Index(r.taps, tap)
		if at < 0 {
			at = len(r.taps)
			r.taps = append(r.taps, tap)
		}
		r.tapOf = append(r.tapOf, at)
	}
	prefix, err := r.template("prefix", plan.Prefix)
	if err != nil {
		return nil, err
	}
	if r.suffix, err = r.template("suffix", plan.Suffix); err != nil {
		return nil, err
	}
	if len(prefix) > 0 {
		if r.prefix, err = model.Prefix(ctx, prefix); err != nil {
			return nil, fmt.Errorf("run the prefix: %w", err)
		}
	}
	for range model.Threads() {
		r.passes.free = append(r.passes.free, &pass{run: model.NewRun()})
	}
	return r, nil
}

func (r *Reader) template(name, s string) ([]int32, error) {
	var e tokenizer.Encoding
	if err := r.tok.EncodeTemplate(&e, s); err != nil {
		return nil, fmt.Errorf("tokenise the %s: %w", name, err)
	}
	if len(e.IDs) > maxTemplate {
		return nil, fmt.Errorf("the %s has %d tokens, at most %d are allowed", name, len(e.IDs), maxTemplate)
	}
	return e.IDs, nil
}

// Width returns the length of a reading: sites × hidden size.
func (r *Reader) Width() int { return len(r.plan.Sites) * r.dim }

// A Span is one reading and where it was taken.
type Span struct {
	Start, End int       // bytes of the original text
	Lane       int       // 0 is the text as written; every second look has a number of its own
	Vector     []float32 // (sites, hidden); valid during the call only
}

// window is one pending pass over the model. Its tokens stand in the queue.
type window struct {
	lane  int
	first bool // of its lane: its first span repeats nothing
	n     int  // tokens of text; the suffix comes on top
}

// lane collects the tokens of one view of the text until they fill a window.
type lane struct {
	id         int
	ids        []int32
	start, end []int // bytes of the original text, per token
	emitted    bool  // a window was already cut; the first tokens repeat its end
}

func (l *lane) reset(id int) {
	l.id, l.ids, l.start, l.end, l.emitted = id, l.ids[:0], l.start[:0], l.end[:0], false
}

// A Scan is the state of one text being read: it takes text and queues windows.
// It is used by one goroutine at a time, and reused without allocating once its
// buffers have grown.
type Scan struct {
	r     *Reader
	visit func(Span)

	inspector text.Inspector
	enc       tokenizer.Encoding
	raw       lane
	second    lane // the undone text of the current run of disguised segments
	lanes     int  // lanes handed out so far

	queue      []window
	ids        []int32   // of the queued windows, suffixes included
	start, end []int     // per queued token of text, suffixes excluded
	read       []Span    // readings that wait to be visited, and
	vectors    []float32 // (len(read), width) theirs

	bytes, tokens, windows, lost int
	findings                     []text.Finding
	lastOf                       map[text.Kind]int // index into findings
}

// maxFindings bounds what one text's verdict lists, but for one more of each
// kind. See [Scan.Findings].
const maxFindings = 1 << 10

// find keeps a finding. Past the bound it is added to the last one of its kind:
// no flood of harmless findings may hide a later one from the score.
func (s *Scan) find(f text.Finding) {
	if i, ok := s.lastOf[f.Kind]; ok && len(s.findings) >= maxFindings {
		last := &s.findings[i]
		last.Range.End = max(last.Range.End, f.Range.End)
		last.Count += f.Count
		last.Weight += f.Weight
		return
	}
	s.lastOf[f.Kind] = len(s.findings)
	s.findings = append(s.findings, f)
}

// NewScan returns a scan without a text.
func (r *Reader) NewScan() *Scan { return &Scan{r: r, lastOf: map[text.Kind]int{}} }

// Begin starts a new text. visit is called for every reading, in order within
// each lane, from inside [Batch.Flush].
func (s *Scan) Begin(visit func(Span)) {
	s.visit = visit
	s.raw.reset(0)
	s.second.reset(0)
	s.lanes = 0
	s.queue, s.ids, s.start, s.end = s.queue[:0], s.ids[:0], s.start[:0], s.end[:0]
	s.bytes, s.tokens, s.windows, s.lost = 0, 0, 0, 0
	s.findings = s.findings[:0]
	clear(s.lastOf)
}

// Bytes returns how many bytes of the text were read so far.
func (s *Scan) Bytes() int { return s.bytes }

// Tokens returns how many tokens the text as written had so far.
func (s *Scan) Tokens() int { return s.tokens }

// Windows returns how many windows of all lanes were queued so far.
func (s *Scan) Windows() int { return s.windows }

// Lost returns how many bytes so far the tokenizer has no entry for.
func (s *Scan) Lost() int { return s.lost }

// Findings returns the hidden and deceptive characters found so far, in the
// order of the text. Past 1,024 of them the last one of each kind stands for all
// that follow: its range reaches to the last, its count and weight are sums. The
// slice is valid until Begin.
func (s *Scan) Findings() []text.Finding { return s.findings }

// Full reports whether one window more would not fit into a forward pass with those
// that are queued: it is time for a [Batch.Flush].
func (s *Scan) Full() bool {
	return len(s.ids)+s.r.plan.Window+len(s.r.suffix) > BatchTokens
}

// Segment adds the next segment of the text: all of it must come through here,
// cut by [text.Cut].
func (s *Scan) Segment(segment string) error {
	base := s.bytes
	s.bytes += len(segment)
	s.enc.Reset()
	if err := s.r.tok.Encode(&s.enc, segment); err != nil {
		return fmt.Errorf("tokenise bytes %d to %d: %w", base, base+len(segment), err)
	}
	s.tokens += len(s.enc.IDs)
	for _, l := range s.enc.Lost {
		s.lost += int(l.End - l.Start)
	}
	for i, id := range s.enc.IDs {
		s.push(&s.raw, id, base+int(s.enc.Start[i]), base+int(s.enc.End[i]))
	}

	found := s.inspector.Inspect(segment)
	for _, f := range found.Findings {
		f.Range.Start += base
		f.Range.End += base
		s.find(f)
	}
	if found.Undone == nil {
		s.flush(&s.second)
	} else {
		if len(s.second.ids) == 0 {
			s.lanes++
			s.second.reset(s.lanes)
		}
		if err := s.view(&s.second, found.Undone, base); err != nil {
			return err
		}
	}
	for i := range found.Decoded {
		// A decoded payload has nothing to do with its surroundings.
		s.flush(&s.second)
		s.lanes++
		s.second.reset(s.lanes)
		if err := s.view(&s.second, &found.Decoded[i], base); err != nil {
			return err
		}
		s.flush(&s.second)
	}
	return nil
}

// view adds the tokens of an undone or decoded view to a lane.
func (s *Scan) view(l *lane, v *text.View, base int) error {
	s.enc.Reset()
	if err := s.r.tok.Encode(&s.enc, v.Text); err != nil {
		return fmt.Errorf("tokenise the second look at byte %d: %w", base, err)
	}
	for i, id := range s.enc.IDs {
		at := v.Original(int(s.enc.Start[i]), int(s.enc.End[i]))
		s.push(l, id, base+at.Start, base+at.End)
	}
	return nil
}

// End queues what is left of the text.
func (s *Scan) End() {
	s.flush(&s.raw)
	s.flush(&s.second)
}

func (s *Scan) push(l *lane, id int32, start, end int) {
	l.ids = append(l.ids, id)
	l.start = append(l.start, start)
	l.end = append(l.end, end)
	p := &s.r.plan
	if len(l.ids) < p.Window {
		return
	}
	s.emit(l)
	keep := p.Window - p.Stride
	l.ids = l.ids[:copy(l.ids, l.ids[len(l.ids)-keep:])]
	l.start = l.start[:copy(l.start, l.start[len(l.start)-keep:])]
	l.end = l.end[:copy(l.end, l.end[len(l.end)-keep:])]
}

// flush queues the lane's last window, if it holds a token that no window had.
func (s *Scan) flush(l *lane) {
	repeated := 0
	if l.emitted {
		repeated = s.r.plan.Window - s.r.plan.Stride
	}
	if len(l.ids) > repeated {
		s.emit(l)
	}
	l.reset(l.id)
}

func (s *Scan) emit(l *lane) {
	s.queue = append(s.queue, window{lane: l.id, first: !l.emitted, n: len(l.ids)})
	s.ids = append(append(s.ids, l.ids...), s.r.suffix...)
	s.start = append(s.start, l.start...)
	s.end = append(s.end, l.end...)
	l.emitted = true
	s.windows++
}

// A Batch takes the queued windows of one text, or of a few, to the model, where
// they share passes with those of other batches. It is used by one goroutine at a
// time.
type Batch struct {
	r    *Reader
	head []byte // of the text that is being cut
	flush
	wake chan bool // from a pass's leader: lead the next one, or else all is done
}

// NewBatch returns an empty batch.
func (r *Reader) NewBatch() *Batch { return &Batch{r: r, wake: make(chan bool, 1)} }

// Read reads a whole text with the scan, for which Begin must have been called.
// On an error the text was not fully read.
func (b *Batch) Read(ctx context.Context, s *Scan, whole string) error {
	if err := b.Add(ctx, s, whole); err != nil {
		return err
	}
	return b.Flush(ctx, s)
}

// Add reads a whole text as Read does, but leaves its last windows queued, so
// that a Flush can run them together with those of other scans.
func (b *Batch) Add(ctx context.Context, s *Scan, whole string) error {
	for len(whole) > 0 {
		n := b.cut(whole)
		if err := s.Segment(whole[:n]); err != nil {
			return err
		}
		whole = whole[n:]
		if s.Full() {
			if err := b.Flush(ctx, s); err != nil {
				return err
			}
		}
	}
	s.End()
	return nil
}

// cut returns the length of the next segment of a text that is all there.
func (b *Batch) cut(rest string) int {
	// No cut is decided by what lies further ahead than this.
	b.head = append(b.head[:0], rest[:min(len(rest), 2*text.MaxSegment)]...)
	return text.Cut(b.head, len(b.head) == len(rest))
}

// Flush runs every queued window of the scans and visits their readings. It returns
// early if ctx ends, but for a pass that is under way with windows of other batches.
// On an error the queues are emptied and none of the scans can be continued.
func (b *Batch) Flush(ctx context.Context, scans ...*Scan) error {
	defer func() {
		b.ctx = nil
		for _, s := range scans {
			s.queue, s.ids, s.start, s.end = s.queue[:0], s.ids[:0], s.start[:0], s.end[:0]
			s.read, s.vectors = s.read[:0], s.vectors[:0]
		}
	}()
	if err := b.r.passes.read(ctx, b, scans); err != nil {
		return err
	}
	for _, s := range scans {
		width := b.r.Width()
		for i, span := range s.read {
			span.Vector = s.vectors[i*width:][:width:width]
			s.visit(span)
		}
	}
	return nil
}

// ErrNoTokens says that a text has bytes, but none that the tokenizer has an
// entry for, so that the model saw nothing of it.
var ErrNoTokens = errors.New("the tokenizer has no entry for any byte of the text")
