package codebook

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Strata are by the tokens of the whole text: the maximum over many spans is
// larger than the maximum over few.
var strataBounds = [...]int{32, 128, 512}

const strata = len(strataBounds) + 1

// anyStratum marks a table of all lengths, "" one of all channels.
const anyStratum = -1

// Stratum returns the length stratum of a text: 0 below 32 tokens, 1 below 128,
// 2 below 512, 3 from there on.
func Stratum(tokens int) int {
	for i, b := range strataBounds {
		if tokens < b {
			return i
		}
	}
	return len(strataBounds)
}

// StratumName returns a name like "32–127" or "any".
func StratumName(s int) string {
	return map[int]string{anyStratum: "any", 0: "< 32", 1: "32–127", 2: "128–511", 3: "≥ 512"}[s]
}

// A table holds the scores of the clean documents of one cell, thinned.
//
// Split-conformal calibration (Vovk, Gammerman and Shafer, Algorithmic Learning
// in a Random World, section 4.2): if the scores of n clean documents and of a
// new one are exchangeable, p = (1 + #{scores ≥ s}) / (n + 1) is at most r with
// probability at most r, whatever the scores' distribution.
type table struct {
	score   int    // index into Signals(), Novelty, Composite
	channel string // "" = all
	stratum int    // anyStratum = all
	n       int
	at      []float32 // kept scores, strictly rising
	above   []int32   // above[i] = #{scores > at[i-1]}: with nothing thinned between, #{scores ≥ at[i]}; strictly falling, above[0] = n
}

// exactTop is how many of the highest scores a table keeps one by one; below
// them it keeps one in each half per cent of the count. A query between kept
// scores gets the larger count: thinning can only raise a p-value, by 0.5 %.
const exactTop = 512

func newTable(score int, channel string, stratum int, scores []float32) table {
	slices.Sort(scores)
	n := len(scores)
	t := table{score: score, channel: channel, stratum: stratum, n: n}
	above := n // scores above the last kept
	for i := 0; i < n; {
		j := i // the next to keep: the highest whose skipping costs under 0.5 %
		if above > exactTop {
			j = min(i+above/200, n-exactTop-1)
		}
		for j+1 < n && scores[j+1] == scores[j] {
			j++
		}
		t.at = append(t.at, scores[j])
		t.above = append(t.above, int32(above))
		above = n - j - 1
		i = j + 1
	}
	return t
}

// count returns an upper bound of #{scores ≥ s}, exact among the top.
func (t *table) count(s float32) int {
	i, _ := slices.BinarySearch(t.at, s)
	if i == len(t.at) {
		return 0
	}
	return int(t.above[i])
}

func (t *table) p(s float32) float64 {
	return float64(1+t.count(s)) / float64(t.n+1)
}

// threshold returns the lowest score whose p-value is at most rate.
func (t *table) threshold(rate float64) (float32, bool) {
	for i, c := range slices.Backward(t.above) { // rising counts
		if float64(1+c)/float64(t.n+1) > rate {
			// at[i] has too high a p-value, everything above it has not.
			if i == len(t.at)-1 && 1/float64(t.n+1) > rate {
				return 0, false
			}
			return math.Nextafter32(t.at[i], float32(math.Inf(1))), true
		}
	}
	return float32(math.Inf(-1)), true // even the lowest clean score passes: rate ≥ 1
}

func (t *table) check() error {
	switch {
	case t.n < 1 || t.n > math.MaxInt32-1 || len(t.at) < 1 || len(t.at) != len(t.above) || len(t.at) > t.n:
		return fmt.Errorf("%w: calibration of %d documents with %d and %d entries", ErrShape, t.n, len(t.at), len(t.above))
	case int(t.above[0]) != t.n:
		return fmt.Errorf("%w: calibration counts start at %d of %d", ErrBound, t.above[0], t.n)
	}
	for i, s := range t.at {
		switch {
		case !finite(float64(s)):
			return fmt.Errorf("%w: calibration score %d", ErrNotFinite, i)
		case t.above[i] < 1:
			return fmt.Errorf("%w: calibration count %d", ErrBound, i)
		case i > 0 && (s <= t.at[i-1] || t.above[i] >= t.above[i-1]):
			return fmt.Errorf("%w: calibration entry %d", ErrMonotone, i)
		}
	}
	return nil
}

// clean is the scores of one clean document.
type clean struct {
	channel string
	stratum int
	scores  []float32 // as Codebook.scores
}

// tabulate makes the tables: of each cell, channel, stratum and of all, where
// there are enough documents. The last exists whatever their number.
func tabulate(docs []clean, scores, minCell int) []table {
	type cell struct {
		channel string
		stratum int
	}
	members := map[cell][]int{}
	for i, d := range docs {
		members[cell{"", anyStratum}] = append(members[cell{"", anyStratum}], i)
		members[cell{"", d.stratum}] = append(members[cell{"", d.stratum}], i)
		if d.channel != "" {
			members[cell{d.channel, anyStratum}] = append(members[cell{d.channel, anyStratum}], i)
			members[cell{d.channel, d.stratum}] = append(members[cell{d.channel, d.stratum}], i)
		}
	}
	var out []table
	for c, rows := range members {
		if len(rows) < minCell && c != (cell{"", anyStratum}) {
			continue
		}
		for s := range scores {
			v := make([]float32, len(rows))
			for i, r := range rows {
				v[i] = docs[r].scores[s]
			}
			out = append(out, newTable(s, c.channel, c.stratum, v))
		}
	}
	slices.SortFunc(out, table.compare)
	return out
}

func (t table) compare(u table) int {
	if t.score != u.score {
		return t.score - u.score
	}
	if c := strings.Compare(t.channel, u.channel); c != 0 {
		return c
	}
	return t.stratum - u.stratum
}

// table returns the table that answers for a channel and stratum: the cell, else
// the channel, else the stratum, else all.
func (c *Codebook) table(score int, channel string, stratum int) *table {
	for _, key := range [...]table{{channel: channel, stratum: stratum}, {channel: channel, stratum: anyStratum}, {stratum: stratum}, {stratum: anyStratum}} {
		key.score = score
		if i, ok := slices.BinarySearchFunc(c.tables, key, table.compare); ok {
			return &c.tables[i]
		}
	}
	panic("codebook: no calibration at all") // checked when fitted and when read
}

// Threshold returns the lowest composite log-odds at which a text of that channel
// and length has a p-value of at most rate, so that log-odds ≥ threshold and
// p ≤ rate are the same test, and the number n of clean documents behind it. A
// rate below 1/(n+1) cannot be promised and is an error that wraps [ErrRate].
func (c *Codebook) Threshold(channel string, tokens int, rate float64) (logOdds float64, n int, err error) {
	return c.threshold(c.scores()-1, channel, tokens, rate)
}

// SignalThreshold is [Codebook.Threshold] for the log-odds of one signal, for
// [Novelty] or for the [Composite].
func (c *Codebook) SignalThreshold(signal, channel string, tokens int, rate float64) (logOdds float64, n int, err error) {
	score := -1
	for i := range c.scores() {
		if c.scoreName(i) == signal {
			score = i
		}
	}
	if score < 0 {
		return 0, 0, fmt.Errorf("codebook: threshold: no signal %.80q", signal)
	}
	return c.threshold(score, channel, tokens, rate)
}

// threshold is SignalThreshold for the score of that index.
func (c *Codebook) threshold(score int, channel string, tokens int, rate float64) (logOdds float64, n int, err error) {
	if !(rate > 0 && rate <= 1) {
		return 0, 0, fmt.Errorf("codebook: threshold: %w: rate %v, want above 0 and at most 1", ErrRate, rate)
	}
	t := c.table(score, channel, Stratum(tokens))
	v, ok := t.threshold(rate)
	if !ok {
		return 0, t.n, fmt.Errorf("codebook: threshold: %w: rate %v of %d clean documents, the finest is %.3g", ErrRate, rate, t.n, 1/float64(t.n+1))
	}
	return float64(v), t.n, nil
}

// Recalibrate returns a codebook with the same basis, densities and composition
// and with the false-alarm calibration of the channels that occur in docs taken
// from docs alone: clean traffic of the user's own, at least MinCell documents a
// channel (else [ErrTooFew]). Channels that do not occur keep theirs; what
// answers for unknown channels stays as it was. next returns the documents one
// by one and false after the last; their Use and Source do not matter, and a
// document with signals is refused. A MinCell of 0 keeps the codebook's.
func (c *Codebook) Recalibrate(next func() (Document, bool), opt Options) (*Codebook, error) {
	minCell := c.minCell
	if opt.MinCell != 0 {
		minCell = opt.MinCell
	}
	builder := Builder{spec: c.spec, groups: map[groupKey]*group{}}
	update := Recalibrated{Command: opt.Command, Date: opt.Date}
	if minCell < 1 || len(opt.Command) > maxString || len(opt.Date) > 64 || len(c.origin.Updates) >= 1000 {
		return nil, fmt.Errorf("codebook: recalibrate: %w: an option", ErrBound)
	}
	s := NewScorer(c)
	var docs []clean
	var evidence []Evidence
	var out Assessment
	count := map[string]int{}
	width := c.spec.Width()
	for d, ok := next(); ok; d, ok = next() {
		d.Use = 0
		key, err := builder.check(&d)
		if err == nil && (len(d.Signals) > 0 || d.Channel == "") {
			err = fmt.Errorf("%w: %d signals, channel %q; recalibration takes clean documents of a channel", ErrDocument, len(d.Signals), d.Channel)
		}
		if err != nil {
			return nil, fmt.Errorf("codebook: recalibrate: document %.80q of %.80q: %w", d.ID, d.Source, err)
		}
		n := len(d.Readings) / width
		evidence = slices.Grow(evidence[:0], n)[:n]
		for i := range n {
			if err := s.Reading(d.Readings[i*width:(i+1)*width], &evidence[i]); err != nil {
				return nil, fmt.Errorf("codebook: recalibrate: document %.80q of %.80q: %w", d.ID, d.Source, err)
			}
		}
		if err := s.Document(d.Channel, d.Tokens, evidence, d.Extra, &out); err != nil {
			return nil, fmt.Errorf("codebook: recalibrate: document %.80q of %.80q: %w", d.ID, d.Source, err)
		}
		docs = append(docs, clean{d.Channel, Stratum(d.Tokens), out.scores(nil)})
		builder.corpus = add256(builder.corpus, d.digest(key))
		count[d.Channel]++
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("codebook: recalibrate: %w: none", ErrTooFew)
	}
	for channel, n := range count {
		if n < minCell {
			return nil, fmt.Errorf("codebook: recalibrate: %w: channel %.80q has %d clean documents, want at least %d", ErrTooFew, channel, n, minCell)
		}
		update.Channels = append(update.Channels, channel)
	}
	slices.Sort(update.Channels)
	update.Documents, update.Corpus = int64(len(docs)), builder.Digest()

	fresh := *c
	fresh.minCell = minCell
	fresh.tables = nil
	for _, t := range c.tables {
		if count[t.channel] == 0 { // "" is never counted
			fresh.tables = append(fresh.tables, t)
		}
	}
	for _, t := range tabulate(docs, c.scores(), minCell) {
		if t.channel != "" {
			fresh.tables = append(fresh.tables, t)
		}
	}
	slices.SortFunc(fresh.tables, table.compare)
	fresh.origin.Updates = append(slices.Clone(c.origin.Updates), update)
	return &fresh, nil
}
