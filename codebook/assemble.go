package codebook

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// assemble makes the codebook of the model of all sources, with a composition
// and a calibration from out-of-fold scores.
func (f *fitter) assemble(m *model, ratios [][][]float32, surprise [][]float32) (*Codebook, error) {
	c := &Codebook{
		spec: f.spec, center: f.center, inverse: f.inverse, basis: m.basis,
		outside: len(m.basis)/f.width - len(m.curves),
		curves:  append(slices.Clone(m.curves), m.novelty), minCell: f.opt.MinCell,
		novelty: linear{Slope: 1},
	}
	// evidence[d] of each document that may be fitted on, as if scored by a Scorer.
	evidence := make([][]Evidence, len(f.docs))
	for i := range f.docs {
		if f.docs[i].fit {
			evidence[i] = make([]Evidence, f.docs[i].rec.Spans)
			for j := range evidence[i] {
				evidence[i][j].Signals = make([]float32, len(m.signals))
				if surprise[i] != nil {
					evidence[i][j].Novelty = surprise[i][j]
				}
			}
		}
	}
	for s, sm := range m.signals {
		weights := f.compose(s, ratios[s])[:sm.k]
		k := f.opt.Coordinates
		for i := range f.docs {
			for j := range evidence[i] {
				var e float64
				for n, w := range weights {
					e += w * float64(ratios[s][i][j*k+n])
				}
				evidence[i][j].Signals[s] = float32(e)
			}
		}
		c.signals = append(c.signals, signal{
			name: f.signals[s], first: sm.first, k: sm.k, weights: weights, spectrum: sm.spectrum, sources: sm.sources,
			linear: f.document(s, func(i int) float64 {
				e, _, _ := agree(f.column(evidence[i], s))
				return e
			}),
		})
	}
	c.novelty.Length = f.lengthSlope(func(i int) float64 {
		e, _, _ := agree(f.column(evidence[i], -1))
		return e
	})
	f.fitExtras(c)
	if err := f.calibrate(c, evidence); err != nil {
		return nil, err
	}
	c.origin = f.origin()
	return c, c.check()
}

// column returns the evidence of all spans for signal s, -1 for novelty.
func (f *fitter) column(e []Evidence, s int) []float32 {
	out := make([]float32, len(e))
	for j := range e {
		if s < 0 {
			out[j] = e[j].Novelty
		} else {
			out[j] = e[j].Signals[s]
		}
	}
	return out
}

// compose fits the weights of a signal's coordinates on out-of-fold ratios: clean
// spans against the telling spans of attack documents, which the weights choose
// in turn.
func (f *fitter) compose(s int, ratios [][]float32) []float64 {
	k := f.opt.Coordinates
	weights := make([]float64, k)
	for j := range weights {
		weights[j] = 1
	}
	for range 2 {
		var x, w []float64
		var y []bool
		for i := range f.docs {
			d := &f.docs[i]
			if ratios[i] == nil || !d.clean && !d.has[s] {
				continue
			}
			n := d.rec.Spans
			spans := telling(nil, n)
			if !d.clean {
				e := make([]float32, n)
				for span := range e {
					for j, v := range ratios[i][span*k : (span+1)*k] {
						e[span] += float32(weights[j]) * v
					}
				}
				spans = telling(e, n)
			}
			for _, span := range spans {
				for _, v := range ratios[i][span*k : (span+1)*k] {
					x = append(x, float64(v))
				}
				w = append(w, d.weight/float64(len(spans)))
				y = append(y, !d.clean)
			}
		}
		beta, _ := logistic(x, k, y, w, f.opt.Ridge)
		if slices.Max(beta) == 0 { // nothing transfers between sources: keep the plain sum, the document's slope will say so
			break
		}
		weights = beta
	}
	return weights
}

// lengthSlope returns how much evidence clean documents gain for each ln(spans):
// weighted least squares, at least 0. Clean documents alone, because among
// attacks length is a habit of the source.
func (f *fitter) lengthSlope(evidence func(i int) float64) float64 {
	var sw, sx, sy, sxx, sxy float64
	for i := range f.docs {
		d := &f.docs[i]
		if !d.clean || !d.fit {
			continue
		}
		x, y, w := math.Log(float64(d.rec.Spans)), evidence(i), d.weight
		sw += w
		sx += w * x
		sy += w * y
		sxx += w * x * x
		sxy += w * x * y
	}
	if v := sxx - sx*sx/sw; v > 1e-9*sw {
		return max(0, (sxy-sx*sy/sw)/v)
	}
	return 0
}

// document fits log-odds = a + b·(E - s·ln spans) with b ≥ 0 out of fold.
func (f *fitter) document(s int, evidence func(i int) float64) linear {
	slope := f.lengthSlope(evidence)
	var x, w []float64
	var y []bool
	for i := range f.docs {
		if d := &f.docs[i]; d.fit && (d.clean || d.has[s]) {
			x = append(x, evidence(i)-slope*math.Log(float64(d.rec.Spans)))
			w = append(w, d.weight)
			y = append(y, !d.clean)
		}
	}
	b, a := logistic(x, 1, y, w, 1e-4)
	return linear{Bias: a, Slope: b[0], Length: b[0] * slope}
}

// maxExtra bounds the log-odds of a fitted curve.
const maxExtra = 12

// fitExtras takes the curves that Options gave, and fits those it named without
// one and the concealment reading where documents have the signal of that name.
func (f *fitter) fitExtras(c *Codebook) {
	names := map[string]Curve{Concealment: {}}
	if slices.Contains(f.signals, Concealment) {
		delete(names, Concealment) // it is read from the states
	}
	for name, curve := range f.opt.Extras {
		names[name] = curve
	}
	order := make([]string, 0, len(names))
	for name := range names {
		order = append(order, name)
	}
	slices.Sort(order)
	for _, name := range order {
		curve := names[name]
		if len(curve.X) == 0 {
			var ok bool
			if curve, ok = f.fitCurve(name); !ok {
				if _, asked := f.opt.Extras[name]; asked {
					f.omitted = append(f.omitted, name)
				}
				continue
			}
		}
		c.extras = append(c.extras, extra{name, Curve{slices.Clone(curve.X), slices.Clone(curve.Y)}})
	}
}

// fitCurve fits log-odds = a + b·v with b ≥ 0 to an extra reading.
func (f *fitter) fitCurve(name string) (Curve, bool) {
	var x, w []float64
	var y []bool
	attacks := 0
	for i := range f.docs {
		d := &f.docs[i]
		attack := slices.Contains(strings.Fields(f.groups[d.group].signals), name)
		if !d.fit || !d.clean && !attack {
			continue
		}
		x, w, y = append(x, d.rec.Extra[name]), append(w, d.weight), append(y, attack)
		attacks += class(attack)
	}
	lo, hi := slices.Min(x), slices.Max(x)
	if attacks < f.opt.MinAttack || lo == hi {
		return Curve{}, false
	}
	b, a := logistic(x, 1, y, w, 1e-4)
	// The line within ±maxExtra, as knots.
	at := func(v float64) float64 { return max(-maxExtra, min(maxExtra, a+b[0]*v)) }
	knots := []float64{lo, hi}
	if b[0] > 0 {
		for _, l := range []float64{-maxExtra, maxExtra} {
			if v := (l - a) / b[0]; v > lo && v < hi {
				knots = append(knots, v)
			}
		}
	}
	slices.Sort(knots)
	knots = slices.Compact(knots)
	curve := Curve{}
	for _, v := range knots {
		curve.X, curve.Y = append(curve.X, v), append(curve.Y, at(v))
	}
	return curve, curve.check() == nil
}

// calibrate scores the clean documents for the thresholds, out of fold where they
// were fitted on, and picks the exemplars.
func (f *fitter) calibrate(c *Codebook, evidence [][]Evidence) error {
	s := NewScorer(c)
	var out Assessment
	var docs []clean
	composite := make([]float64, len(f.docs))
	x := make([]float32, f.width*f.opt.Spans)
	final := func(i int) ([]Evidence, error) { // by the model of all sources
		d := &f.docs[i]
		e := make([]Evidence, d.rec.Spans)
		f.raw(d, x[:len(d.rec.readings)])
		for j := range e {
			if err := s.Reading(x[j*f.width:(j+1)*f.width], &e[j]); err != nil {
				return nil, err
			}
		}
		return e, nil
	}
	for i := range f.docs {
		d := &f.docs[i]
		e := evidence[i]
		if !d.fit {
			var err error
			if e, err = final(i); err != nil {
				return err
			}
		}
		if err := s.logOdds(e, d.rec.Extra, &out); err != nil {
			return err
		}
		composite[i] = out.LogOdds
		if d.clean && f.groups[d.group].use&Thresholds != 0 {
			docs = append(docs, clean{d.rec.Channel, Stratum(d.rec.Tokens), out.scores(nil)})
		}
	}
	if len(docs) == 0 {
		return fmt.Errorf("%w: no clean document is for thresholds", ErrTooFew)
	}
	c.tables = tabulate(docs, c.scores(), f.opt.MinCell)

	for _, i := range f.exemplars(composite) {
		e, err := final(i)
		if err != nil {
			return err
		}
		if err := s.Document(f.docs[i].rec.Channel, f.docs[i].rec.Tokens, e, f.docs[i].rec.Extra, &out); err != nil {
			return err
		}
		d := &f.docs[i]
		c.samples = append(c.samples, Exemplar{ID: d.rec.ID, Source: f.sources[d.source], Signals: strings.Fields(f.groups[d.group].signals)})
		c.coords = append(c.coords, e[max(0, out.Signals[out.Deciding].Span)].Coordinates...)
	}
	return nil
}

// exemplars picks documents to show: half attacks, from each source in turn, a
// quarter clean ones that way, a quarter the clean ones that score highest.
func (f *fitter) exemplars(composite []float64) []int {
	if f.opt.Exemplars < 0 {
		return nil
	}
	rank := make([]int, len(f.docs)) // within the group
	for i := range f.docs {
		if i > 0 && f.docs[i].group == f.docs[i-1].group {
			rank[i] = rank[i-1] + 1
		}
	}
	var attacks, clean []int
	for i := range f.docs {
		if f.docs[i].clean {
			clean = append(clean, i)
		} else {
			attacks = append(attacks, i)
		}
	}
	byRank := func(a, b int) int { return cmp.Or(rank[a]-rank[b], a-b) }
	slices.SortFunc(attacks, byRank)
	n := f.opt.Exemplars
	out := slices.Clone(attacks[:min(len(attacks), n/2)])
	slices.SortFunc(clean, byRank)
	take := min(len(clean), n/4)
	out = append(out, clean[:take]...)
	rest := clean[take:]
	slices.SortFunc(rest, func(a, b int) int { return cmp.Or(cmp.Compare(composite[b], composite[a]), a-b) })
	out = append(out, rest[:min(len(rest), n/4)]...)
	slices.Sort(out)
	return out
}

func (f *fitter) origin() Origin {
	o := Origin{Corpus: f.b.Digest(), Omitted: f.omitted, Command: f.opt.Command, Date: f.opt.Date}
	for _, key := range f.groups {
		g := f.b.groups[key]
		s := SourceCount{Source: key.source, Signals: strings.Fields(key.signals), Documents: g.documents, Readings: g.readings, Sampled: int64(len(g.sample))}
		if n := len(o.Sources); n > 0 && o.Sources[n-1].Source == s.Source && slices.Equal(o.Sources[n-1].Signals, s.Signals) { // of another use
			o.Sources[n-1].Documents += s.Documents
			o.Sources[n-1].Readings += s.Readings
			o.Sources[n-1].Sampled += s.Sampled
			continue
		}
		o.Sources = append(o.Sources, s)
	}
	return o
}
