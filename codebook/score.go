package codebook

import (
	"fmt"
	"math"
	"slices"
)

// Evidence is what one span says. The slices are reused when an Evidence is.
type Evidence struct {
	// Signals holds the evidence in nats of each signal read from the states, in
	// the order of [Codebook.Signals]: Σ weight · log-likelihood ratio.
	Signals []float32
	// Coordinates holds the reading in the codebook's coordinates, in units of
	// about one standard deviation of clean readings.
	Coordinates []float32
	// Novelty is -ln of the share of clean readings with at least this much
	// energy outside the coordinates.
	Novelty float32
}

// An Assessment is what a whole document says. The slices are reused when an
// Assessment is.
type Assessment struct {
	LogOdds float64 // composite: ln Σ exp over the signals' log-odds, at even prior odds; a float32's value
	PValue  float64 // share of clean documents that score at least this high, in (0, 1]
	N       int     // clean documents behind PValue

	Signals []Score // in the order of Codebook.Signals
	Novelty Score   // LogOdds is a surprise in nats; never part of the composite

	Deciding int     // index of the signal with the highest log-odds
	Base     float64 // its log-odds without any term: Signals[Deciding].LogOdds = Base + Σ Terms
	Terms    []Term  // contributions of its deciding spans; of an extra, none
	Nearest  []Neighbour
}

// A Score is a document's score for one signal.
type Score struct {
	Name    string
	LogOdds float64 // at even prior odds; a float32's value
	PValue  float64 // as Assessment.PValue, for this signal alone
	N       int     // clean documents behind PValue
	Span    int     // index of the span that decided; -1 for an extra
	Partner int     // the neighbour that agreed; Span again in a document of one span; -1 for an extra
}

// A Term is the contribution of one coordinate.
type Term struct {
	Coordinate   int     // of the signal, from 0
	Value        float64 // of the deciding span
	Tail         float64 // share of clean readings whose coordinate is at least Value
	LLR          float64 // log-likelihood ratio in nats, mean of the span and its partner
	Contribution float64 // to the log-odds
}

// A Neighbour is a calibration document near the deciding span.
type Neighbour struct {
	Exemplar
	Distance float64 // Euclidean, over all coordinates
}

// An Exemplar is a calibration document kept for explanations.
type Exemplar struct {
	ID      string   `json:"id"`
	Source  string   `json:"source"`
	Signals []string `json:"signals"` // empty = clean
}

// nearest is how many exemplars an Assessment names.
const nearest = 3

// A Scorer scores readings with one Codebook. It is for one goroutine at a time
// and allocates nothing once its arguments' slices have grown.
type Scorer struct {
	c    *Codebook
	z    []float32 // (width)
	rows []float32 // (rows of the basis)
	e    []float32 // (spans) evidence for one signal
}

// NewScorer returns a Scorer for c.
func NewScorer(c *Codebook) *Scorer {
	return &Scorer{c: c, z: make([]float32, c.spec.Width()), rows: make([]float32, len(c.basis)/c.spec.Width())}
}

// Reading fills out with the evidence of one reading x of Spec().Width() floats.
// A reading with NaN or infinity is no evidence: an error that wraps [ErrReading].
func (s *Scorer) Reading(x []float32, out *Evidence) error {
	c := s.c
	if len(x) != len(s.z) {
		panic(fmt.Sprintf("codebook: reading of %d floats, want %d", len(x), len(s.z)))
	}
	energy, ok := standardise(s.z, x, c.center, c.inverse)
	if !ok {
		return fmt.Errorf("codebook: score: %w", ErrReading)
	}
	project(s.rows, c.basis, s.z)
	n := c.coordinates()
	out.Coordinates = append(out.Coordinates[:0], s.rows[:n]...)
	out.Signals = out.Signals[:0]
	for i := range c.signals {
		g := &c.signals[i]
		var e float64
		for k, w := range g.weights {
			e += w * float64(c.curves[g.first+k].llr(s.rows[g.first+k]))
		}
		out.Signals = append(out.Signals, float32(e))
	}
	out.Novelty = c.curves[n].surprise(outside(energy, s.rows[n:], len(s.z)))
	return nil
}

// Document joins the evidence of all spans of a document, in order of position.
// tokens is the length of the whole text, channel where it came from; extra
// holds readings from elsewhere, a missing one counts as 0. A document without
// spans or with a non-finite extra has no assessment: an error wrapping
// [ErrDocument].
func (s *Scorer) Document(channel string, tokens int, evidence []Evidence, extra map[string]float64, out *Assessment) error {
	c := s.c
	if len(evidence) == 0 || tokens < 1 {
		return fmt.Errorf("codebook: score: %w: %d spans, %d tokens", ErrDocument, len(evidence), tokens)
	}
	for i := range evidence {
		if len(evidence[i].Signals) != len(c.signals) || len(evidence[i].Coordinates) != c.coordinates() {
			panic("codebook: evidence of another codebook")
		}
	}
	if err := s.logOdds(evidence, extra, out); err != nil {
		return err
	}
	stratum := Stratum(tokens)
	calibrate := func(i int, v *Score) {
		t := c.table(i, channel, stratum)
		v.PValue, v.N = t.p(float32(v.LogOdds)), t.n
	}
	for i := range out.Signals {
		calibrate(i, &out.Signals[i])
	}
	calibrate(c.scores()-2, &out.Novelty)
	t := c.table(c.scores()-1, channel, stratum)
	out.PValue, out.N = t.p(float32(out.LogOdds)), t.n
	s.explain(evidence, out)
	return nil
}

// logOdds fills in the log-odds of out.
func (s *Scorer) logOdds(evidence []Evidence, extra map[string]float64, out *Assessment) error {
	c := s.c
	s.e = slices.Grow(s.e[:0], len(evidence))[:len(evidence)]
	out.Signals = out.Signals[:0]
	out.Deciding = 0
	for i := range c.signals {
		for j := range evidence {
			s.e[j] = evidence[j].Signals[i]
		}
		e, span, partner := agree(s.e)
		v := Score{Name: c.signals[i].name, Span: span, Partner: partner}
		v.LogOdds = round32(c.signals[i].linear.at(e, len(evidence)))
		out.Signals = append(out.Signals, v)
	}
	for i := range c.extras {
		x := extra[c.extras[i].name]
		if !finite(x) {
			return fmt.Errorf("codebook: score: %w: extra %q is not finite", ErrDocument, c.extras[i].name)
		}
		v := Score{Name: c.extras[i].name, Span: -1, Partner: -1}
		v.LogOdds = round32(c.extras[i].curve.at(x))
		out.Signals = append(out.Signals, v)
	}
	highest := math.Inf(-1)
	for i := range out.Signals {
		if l := out.Signals[i].LogOdds; l > highest {
			highest, out.Deciding = l, i
		}
	}
	var sum float64
	for i := range out.Signals {
		sum += math.Exp(out.Signals[i].LogOdds - highest)
	}
	out.LogOdds = round32(highest + math.Log(sum))

	for j := range evidence {
		s.e[j] = evidence[j].Novelty
	}
	e, span, partner := agree(s.e)
	out.Novelty = Score{Name: Novelty, LogOdds: round32(c.novelty.at(e, len(evidence))), Span: span, Partner: partner}
	return nil
}

// round32 rounds to float32, which is what the calibration holds.
func round32(x float64) float64 { return float64(float32(x)) }

// explain fills in the terms and the exemplars.
func (s *Scorer) explain(evidence []Evidence, out *Assessment) {
	c := s.c
	out.Terms = out.Terms[:0]
	v := &out.Signals[out.Deciding]
	out.Base = v.LogOdds
	at := v.Span
	if at >= 0 {
		g := &c.signals[out.Deciding]
		x, y := evidence[v.Span].Coordinates[g.first:], evidence[v.Partner].Coordinates[g.first:]
		for k, w := range g.weights {
			d := &c.curves[g.first+k]
			t := Term{Coordinate: k, Value: float64(x[k]), Tail: d.upper(x[k])}
			t.LLR = (float64(d.llr(x[k])) + float64(d.llr(y[k]))) / 2
			t.Contribution = g.linear.Slope * w * t.LLR
			out.Base -= t.Contribution
			out.Terms = append(out.Terms, t)
		}
	} else { // an extra decided: explain the place where the states said most
		best := float32(math.Inf(-1))
		for j := range evidence {
			for _, e := range evidence[j].Signals {
				if e > best {
					best, at = e, j
				}
			}
		}
		at = max(at, 0)
	}
	out.Nearest = out.Nearest[:0]
	n := c.coordinates()
	for i := range c.samples {
		var d float64
		for k, x := range c.coords[i*n : (i+1)*n] {
			dx := float64(x - evidence[at].Coordinates[k])
			d += dx * dx
		}
		if d = math.Sqrt(d); len(out.Nearest) < nearest || d < out.Nearest[nearest-1].Distance {
			j := len(out.Nearest)
			for j > 0 && d < out.Nearest[j-1].Distance {
				j--
			}
			out.Nearest = slices.Insert(out.Nearest, j, Neighbour{c.samples[i], d})
			out.Nearest = out.Nearest[:min(nearest, len(out.Nearest))]
		}
	}
}

// scores appends the scores in the order of the tables.
func (a *Assessment) scores(dst []float32) []float32 {
	for _, s := range a.Signals {
		dst = append(dst, float32(s.LogOdds))
	}
	return append(dst, float32(a.Novelty.LogOdds), float32(a.LogOdds))
}

// agree returns the document's evidence: the maximum over spans of the mean with
// the better neighbour, and the two spans, the higher one first. A lone high
// span between low ones is halved; a payload covers overlapping spans.
func agree(e []float32) (evidence float64, span, partner int) {
	if len(e) == 1 {
		return float64(e[0]), 0, 0
	}
	best := math.Inf(-1)
	for i := 1; i < len(e); i++ {
		if m := (float64(e[i-1]) + float64(e[i])) / 2; m > best {
			best, span, partner = m, i-1, i
		}
	}
	if e[partner] > e[span] {
		span, partner = partner, span
	}
	return best, span, partner
}

// standardise sets z = (x - center)·inverse within ±Clip and returns Σ z² and
// whether x is finite.
func standardise(z, x, center, inverse []float32) (energy float32, ok bool) {
	x, center, inverse = x[:len(z)], center[:len(z)], inverse[:len(z)]
	var bad, e0, e1 float32
	i := 0
	for ; i+1 < len(z); i += 2 {
		u, v := x[i], x[i+1]
		bad += u*0 + v*0 // NaN for NaN and infinities, and never 0 again
		u = float32((u - center[i]) * inverse[i])
		v = float32((v - center[i+1]) * inverse[i+1])
		u, v = clip(u), clip(v)
		z[i], z[i+1] = u, v
		e0 += float32(u * u)
		e1 += float32(v * v)
	}
	if i < len(z) {
		bad += x[i] * 0
		u := clip(float32((x[i] - center[i]) * inverse[i]))
		z[i] = u
		e0 += float32(u * u)
	}
	return e0 + e1, bad == 0
}

func clip(x float32) float32 {
	if x > Clip {
		return Clip
	}
	if x < -Clip {
		return -Clip
	}
	return x
}

// project sets out[r] = basis[r]·z for basis of (len(out), len(z)). Products are
// rounded before they are added (the conversions say so: a compiler must not
// fuse them), in one order, so that every machine gets the same bits.
func project(out, basis, z []float32) {
	n := len(z)
	r := 0
	for ; r+3 < len(out); r += 4 {
		a0, a1, a2, a3 := basis[r*n:][:n], basis[(r+1)*n:][:n], basis[(r+2)*n:][:n], basis[(r+3)*n:][:n]
		var s0, s1, s2, s3 float32
		for i, v := range z {
			s0 += float32(v * a0[i])
			s1 += float32(v * a1[i])
			s2 += float32(v * a2[i])
			s3 += float32(v * a3[i])
		}
		out[r], out[r+1], out[r+2], out[r+3] = s0, s1, s2, s3
	}
	for ; r < len(out); r++ {
		a := basis[r*n:][:n]
		var s float32
		for i, v := range z {
			s += float32(v * a[i])
		}
		out[r] = s
	}
}

// outside returns ln of the mean square of the standardised channels that is
// left when the patterns of the coordinates are taken out: rows are the
// projections onto an orthonormal basis of those patterns.
func outside(energy float32, rows []float32, width int) float32 {
	for _, v := range rows {
		energy -= float32(v * v)
	}
	return float32(math.Log(max(float64(energy)/float64(width), 1e-6)))
}
