package firewall

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/internal/reading"
	"github.com/alkimiadev/alknet-firewall/internal/text"
)

// screener is what one text in work uses: the scan that reads it, the scorer
// that weighs its readings, and what they said so far. Screening, streaming and
// batches all end in its verdict method.
type screener struct {
	e       *engine
	batch   *reading.Batch
	scan    *reading.Scan
	scorer  *codebook.Scorer
	release func()
	more    []*screener // siblings that share the batch

	// The text as written, and the second look under way. Second looks are many
	// but one after another; of those done, only the worst is kept.
	raw, second look
	worst       look
	worstSet    bool
	err         error // the first that a visit met

	channel  Channel
	watchers []Watcher
	extra    map[string]float64
	names    map[[2]string]string
	onSpan   func(reading.Span) // visit
}

// look is the evidence from one lane: the text as written or a second look.
type look struct {
	lane     int
	evidence []codebook.Evidence
	at       []reading.Span // places only; no vectors
	result   codebook.Assessment
}

func newScreener(e *engine, batch *reading.Batch) *screener {
	s := &screener{
		e: e, batch: batch, scan: e.reader.NewScan(), scorer: codebook.NewScorer(e.book),
		extra: map[string]float64{codebook.Concealment: 0}, names: map[[2]string]string{},
	}
	s.onSpan = s.visit
	return s
}

// sibling returns the i-th screener that shares this one's batch; the 0th is
// this one itself.
func (s *screener) sibling(i int) *screener {
	if i == 0 {
		return s
	}
	for len(s.more) < i {
		s.more = append(s.more, newScreener(s.e, s.batch))
	}
	return s.more[i-1]
}

// keepSpans is how many spans' evidence an idle screener keeps room for: those of
// some 50 KB of English, about 1 MB. What a longer text needed is given back.
const keepSpans = 1 << 10

// trim gives back what a long text needed.
func (s *screener) trim() {
	for _, l := range []*look{&s.raw, &s.second, &s.worst} {
		if cap(l.evidence) > keepSpans {
			*l, s.scorer = look{}, codebook.NewScorer(s.e.book)
		}
	}
	for _, m := range s.more {
		m.trim()
	}
}

func (l *look) reset(lane int) {
	l.lane, l.evidence, l.at = lane, l.evidence[:0], l.at[:0]
}

// begin starts on a text.
func (s *screener) begin(alarms []Alarm, ch Channel) {
	s.raw.reset(0)
	s.second.reset(0)
	s.worstSet, s.err, s.channel = false, nil, ch
	s.watchers = s.watchers[:0]
	for _, a := range alarms {
		s.watchers = append(s.watchers, a.Watch(ch))
	}
	s.scan.Begin(s.onSpan)
}

// visit weighs one reading.
func (s *screener) visit(span reading.Span) {
	l := &s.raw
	if span.Lane != 0 {
		l = &s.second
		if l.lane != span.Lane {
			s.endSecond()
			l.reset(span.Lane)
		}
	}
	// Evidence structs behind the length keep their slices from earlier texts.
	if n := len(l.evidence); n < cap(l.evidence) {
		l.evidence = l.evidence[:n+1]
	} else {
		l.evidence = append(l.evidence, codebook.Evidence{})
	}
	if err := s.scorer.Reading(span.Vector, &l.evidence[len(l.evidence)-1]); err != nil && s.err == nil {
		s.err = failure(ClassModel, fmt.Sprintf("weigh bytes %d to %d", span.Start, span.End), err)
	}
	for _, w := range s.watchers {
		w.Observe(Activations{Start: span.Start, End: span.End, Lane: span.Lane, Vector: span.Vector})
	}
	span.Vector = nil
	l.at = append(l.at, span)
}

// endSecond assesses the second look under way and keeps it if it is the worst.
func (s *screener) endSecond() {
	l := &s.second
	if len(l.evidence) == 0 || s.err != nil {
		return
	}
	// A second look is as long as its spans say; concealment is judged with the
	// text as written.
	s.extra[codebook.Concealment] = 0
	tokens := len(l.evidence) * s.e.book.Spec().Step
	if err := s.scorer.Document(string(s.channel), tokens, l.evidence, s.extra, &l.result); err != nil {
		s.err = failure(ClassCodebook, "assess a second look", err)
		return
	}
	if !s.worstSet || worse(&l.result, &s.worst.result) {
		s.worst, s.second, s.worstSet = s.second, s.worst, true
	}
	s.second.reset(0)
}

// worse reports whether a is the graver assessment. Looks differ in length, and
// the same log-odds are rarer at one length than at another: the p-value says
// which, and log-odds decide among equals.
func worse(a, b *codebook.Assessment) bool {
	if a.PValue != b.PValue {
		return a.PValue < b.PValue
	}
	return a.LogOdds > b.LogOdds
}

// verdict judges what was read so far. Before the end of a stream, final is
// false: the second look under way is left alone, to be judged when it is whole.
func (s *screener) verdict(p Policy, ch Channel, final bool) (Verdict, error) {
	v := Verdict{
		Detector: s.e.detector,
		Coverage: Coverage{
			Bytes: s.scan.Bytes(), Tokens: s.scan.Tokens(), Windows: s.scan.Windows(), Lost: s.scan.Lost(),
			Complete: s.scan.Lost() == 0,
		},
	}
	if final {
		s.endSecond()
	}
	if s.err != nil {
		return Verdict{}, s.err
	}
	if v.Coverage.Bytes == 0 { // nothing was said
		v.Level, v.Action, v.PValue = LevelClear, ActionPass, 1
		v.LogOdds = minLogOdds
		v.Score = logistic(v.LogOdds)
		return v, nil
	}
	if len(s.raw.evidence) == 0 {
		return Verdict{}, failure(ClassInput, "screen", reading.ErrNoTokens)
	}
	if err := s.checkSignals(p); err != nil {
		return Verdict{}, err
	}
	found := s.scan.Findings()
	s.extra[codebook.Concealment] = text.Score(found)
	tokens := v.Coverage.Tokens
	if err := s.scorer.Document(string(ch), tokens, s.raw.evidence, s.extra, &s.raw.result); err != nil {
		return Verdict{}, failure(ClassCodebook, "assess", err)
	}

	alarmAt, n, err := s.e.book.Threshold(string(ch), tokens, p.AlarmRate)
	if err != nil {
		return Verdict{}, failure(ClassCodebook, fmt.Sprintf("policy %q: alarm rate", p.Name), err)
	}
	if _, _, err := s.e.book.Threshold(string(ch), tokens, p.WatchRate); err != nil {
		return Verdict{}, failure(ClassCodebook, fmt.Sprintf("policy %q: watch rate", p.Name), err)
	}
	v.Threshold, v.Calibration = alarmAt, n

	// The worse of the two looks counts.
	deciding := &s.raw
	looks := 1
	if s.worstSet {
		looks = 2
		if worse(&s.worst.result, &s.raw.result) {
			deciding = &s.worst
		}
	}
	r := &deciding.result
	v.LogOdds = r.LogOdds
	v.Score = logistic(v.LogOdds)

	// p-values of what the policy looks at.
	smallest, used, all := 1.0, 0, true
	v.Signals = make([]Signal, 0, len(r.Signals)+1+len(s.watchers))
	for i := range r.Signals {
		sig := &r.Signals[i]
		score, pv := sig.LogOdds, sig.PValue
		if sig.Span < 0 { // an extra: judged with the text as written
			score, pv = s.raw.result.Signals[i].LogOdds, s.raw.result.Signals[i].PValue
		}
		pv = unionP(pv, looks)
		out := Signal{Name: sig.Name, Score: score, PValue: pv, Level: LevelClear}
		if p.uses(sig.Name) {
			out.Level = level(p, pv)
			smallest = min(smallest, pv)
			used++
		} else {
			all = false
		}
		v.Signals = append(v.Signals, out)
	}
	nov := s.raw.result.Novelty
	v.Signals = append(v.Signals, Signal{Name: SignalNovelty, Score: nov.LogOdds, PValue: nov.PValue, Level: LevelClear})
	if all {
		v.PValue = unionP(r.PValue, looks)
	} else {
		v.PValue = unionP(smallest, max(used, 1))
	}
	for _, w := range s.watchers {
		rd := w.Reading()
		if err := rd.check(); err != nil {
			return Verdict{}, failure(ClassConfig, "user alarm", err)
		}
		v.Signals = append(v.Signals, Signal{Name: rd.Name, Score: rd.Score, PValue: rd.PValue, Level: level(p, rd.PValue)})
		if p.uses(rd.Name) {
			// Joined pairwise in one union: k alarms and the detector.
			v.PValue = min(v.PValue, rd.PValue)
		}
		v.Spans = append(v.Spans, rd.Spans...)
	}
	if k := len(s.watchers); k > 0 {
		v.PValue = unionP(v.PValue, k+1)
	}
	v.Level = level(p, v.PValue)
	v.Action = p.onLevel(v.Level)

	for _, f := range found {
		v.Findings = append(v.Findings, Finding{Kind: f.Kind.String(), Start: f.Range.Start, End: f.Range.End, Count: f.Count})
	}
	v.Why = s.explain(r)
	if v.Level >= LevelWatch {
		v.Spans = append(v.Spans, deciding.spans(r)...)
		if r.Signals[r.Deciding].Span < 0 { // hidden characters decided
			for _, f := range found[:min(len(found), maxSpans)] {
				v.Spans = append(v.Spans, Span{Start: f.Range.Start, End: f.Range.End, Signal: r.Signals[r.Deciding].Name, Score: f.Weight})
			}
		}
	}
	return v, nil
}

// checkSignals refuses a policy that names a signal nobody reads: a misspelt
// name would never alarm.
func (s *screener) checkSignals(p Policy) error {
	for _, name := range p.Signals {
		known := slices.Contains(s.e.signals, name)
		for _, w := range s.watchers {
			known = known || w.Reading().Name == name
		}
		if !known {
			return failuref(ClassConfig, "screen", "policy %q: no alarm reads a signal %q; there are %s", p.Name, name, strings.Join(s.e.signals, ", "))
		}
	}
	return nil
}

// minLogOdds stands in for "no evidence at all" where there is nothing to weigh.
const minLogOdds = -20

func level(p Policy, pValue float64) Level {
	switch {
	case pValue <= p.AlarmRate:
		return LevelAlarm
	case pValue <= p.WatchRate:
		return LevelWatch
	}
	return LevelClear
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// explain restates an assessment's terms.
func (s *screener) explain(r *codebook.Assessment) *Explanation {
	sig := r.Signals[r.Deciding]
	e := &Explanation{Signal: sig.Name, Bias: r.Base, Contributions: make([]Contribution, 0, len(r.Terms))}
	for _, t := range r.Terms {
		e.Contributions = append(e.Contributions, Contribution{
			Coordinate: s.name(sig.Name, strconv.Itoa(t.Coordinate)), Value: t.Contribution, Tail: t.Tail,
		})
	}
	if len(r.Nearest) > 0 {
		e.Exemplars = make([]string, 0, len(r.Nearest))
	}
	for _, n := range r.Nearest {
		e.Exemplars = append(e.Exemplars, s.name(n.Source, n.ID))
	}
	return e
}

// name returns a/b, the same string every time: a codebook has few of them.
func (s *screener) name(a, b string) string {
	k := [2]string{a, b}
	n, ok := s.names[k]
	if !ok {
		n = a + "/" + b
		s.names[k] = n
	}
	return n
}

// maxSpans is how many spans a verdict names for the detector.
const maxSpans = 5

// spans returns the places whose evidence for the deciding signal is at least
// half of the strongest, joined where they touch, strongest first.
func (l *look) spans(r *codebook.Assessment) []Span {
	d := r.Deciding
	if r.Signals[d].Span < 0 {
		return nil
	}
	var top float32
	for i := range l.evidence {
		top = max(top, l.evidence[i].Signals[d])
	}
	var out []Span
	for i := range l.evidence {
		e := l.evidence[i].Signals[d]
		if e <= 0 || e < top/2 {
			continue
		}
		at := l.at[i]
		if k := len(out) - 1; k >= 0 && at.Start <= out[k].End && at.End >= out[k].Start {
			out[k].Start, out[k].End = min(out[k].Start, at.Start), max(out[k].End, at.End)
			out[k].Score = max(out[k].Score, float64(e))
			continue
		}
		out = append(out, Span{Start: at.Start, End: at.End, Signal: r.Signals[d].Name, Score: float64(e)})
	}
	slices.SortStableFunc(out, func(a, b Span) int { return cmp.Compare(b.Score, a.Score) })
	return out[:min(len(out), maxSpans)]
}
