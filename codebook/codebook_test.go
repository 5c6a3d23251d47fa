package codebook

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// testSpec is two sites of 24 channels.
func testSpec() Spec {
	return Spec{
		Model: "test", Revision: "r1", ModelDigest: "m", TokenizerDigest: "t", DType: "f32",
		Sites: []Site{{2, "residual", Mean}, {2, "mlp", Last}}, Dim: 24, Window: 96, Stride: 64, Span: 32, Step: 16,
	}
}

// world makes readings with known directions: correlated clean noise, a topic of
// each source, a massive channel, and for each signal a planted direction of low
// variance that its attacks move along.
type world struct {
	spec    Spec
	mix     [][]float64          // correlations: reading = topic + mix·noise
	planted map[string][]float64 // by signal, in noise coordinates
	shift   float64              // how far attacks move
	solve   sync.Once
	best    [][]float64 // of oracle, in the order of DefaultSignals
}

func newWorld(shift float64) *world {
	r := rand.New(rand.NewPCG(7, 7))
	w := &world{spec: testSpec(), shift: shift, planted: map[string][]float64{}}
	n := w.spec.Width()
	for i := range n {
		row := make([]float64, n)
		row[i] = 1
		for j := range n / 2 { // block-diagonal, as the fit assumes
			row[i/(n/2)*(n/2)+j] += 0.4 * r.NormFloat64()
		}
		w.mix = append(w.mix, row)
	}
	for _, s := range DefaultSignals {
		v := make([]float64, n)
		var norm float64
		for i := range v {
			v[i] = r.NormFloat64()
			norm += v[i] * v[i]
		}
		for i := range v {
			v[i] /= math.Sqrt(norm)
		}
		w.planted[s] = v
	}
	return w
}

// document makes the readings of a document of n spans; of an attack, the spans
// from, from+1 carry it. Overlapping neighbours share half their noise.
func (w *world) document(source, id string, signals []string, channel string, n int, seed uint64) Document {
	width := w.spec.Width()
	topic := rand.New(rand.NewPCG(hash64(source), 1))
	mean := make([]float64, width)
	for i := range mean {
		mean[i] = 0.5 * topic.NormFloat64()
	}
	r := rand.New(rand.NewPCG(hash64(source+"/"+id), seed))
	d := Document{ID: id, Source: source, Channel: channel, Signals: signals, Tokens: 16*n + 8}
	at := r.IntN(n)
	prev := make([]float64, width)
	for s := range n {
		noise := make([]float64, width)
		for i := range noise {
			v := r.NormFloat64()
			noise[i] = math.Sqrt(0.8)*v + math.Sqrt(0.2)*prev[i]
			prev[i] = v
		}
		if s == at || s == at+1 || s+1 == at && at+1 == n {
			for _, name := range signals {
				for i, v := range w.planted[name] {
					noise[i] += w.shift * v
				}
			}
		}
		for i := range width {
			x := mean[i]
			for j, m := range w.mix[i] {
				x += m * noise[j]
			}
			if i == 3 {
				x *= 1000 // a massive channel
				if r.IntN(50) == 0 {
					x += 20000
				}
			}
			d.Readings = append(d.Readings, float32(x))
		}
	}
	return d
}

// oracle scores a document by the best linear test of each planted direction
// against noise and topics, Σ⁻¹·shift, which the world knows.
func (w *world) oracle(d Document) float64 {
	n := w.spec.Width()
	w.solve.Do(func() {
		m := mat.NewDense(n, n, nil)
		cov := mat.NewSymDense(n, nil)
		for i, row := range w.mix {
			m.SetRow(i, row)
			for j := range i + 1 {
				cov.SetSym(i, j, dot(row, w.mix[j]))
			}
			cov.SetSym(i, i, dot(row, row)+0.25)
		}
		var chol mat.Cholesky
		chol.Factorize(cov)
		for _, name := range DefaultSignals {
			var shift, best mat.VecDense
			shift.MulVec(m, mat.NewVecDense(n, w.planted[name]))
			if err := chol.SolveVecTo(&best, &shift); err != nil {
				panic(err)
			}
			best.ScaleVec(1/math.Sqrt(mat.Dot(&best, &shift)), &best)
			w.best = append(w.best, best.RawVector().Data)
		}
	})
	highest := math.Inf(-1)
	for _, best := range w.best {
		var e []float32
		for x := d.Readings; len(x) > 0; x = x[n:] {
			var v float64
			for i := range n {
				u := float64(x[i])
				if i == 3 {
					u = math.Mod(u+1e4, 2e4)/1000 - 10
				}
				v += best[i] * u
			}
			e = append(e, float32(v))
		}
		v, _, _ := agree(e)
		highest = max(highest, v-0.5*math.Log(float64(len(e))))
	}
	return highest
}

func hash64(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// corpus is a training corpus: clean sources of two channels, and attack sources
// of each signal, some of which have clean carriers of their own.
func (w *world) corpus(cleanSources, perSource, attackSources int) []Document {
	var docs []Document
	channels := []string{"user", "document"}
	r := rand.New(rand.NewPCG(9, 9))
	length := func() int { return 1 + int(math.Exp(r.Float64()*2.7)) } // 2 to 15 spans
	for s := range cleanSources {
		for i := range perSource {
			docs = append(docs, w.document(fmt.Sprintf("clean%d", s), fmt.Sprint(i), nil, channels[s%2], length(), 1))
		}
	}
	for _, name := range DefaultSignals {
		for s := range attackSources {
			source := fmt.Sprintf("%s%d", name, s)
			for i := range perSource / 2 {
				docs = append(docs, w.document(source, fmt.Sprint("a", i), []string{name}, channels[s%2], length(), 1))
				if s%2 == 0 {
					docs = append(docs, w.document(source, fmt.Sprint("c", i), nil, channels[s%2], length(), 1))
				}
			}
		}
	}
	return docs
}

func build(t testing.TB, spec Spec, docs []Document, opt Options) *Builder {
	t.Helper()
	b, err := NewBuilder(spec, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if err := b.Add(d); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// fitted is one codebook that many tests look at.
var fitted = sync.OnceValues(func() (*world, *Codebook) {
	w := newWorld(4)
	b, err := NewBuilder(w.spec, Options{Date: "2026-01-02", Command: "test", MinCell: 150})
	if err != nil {
		panic(err)
	}
	for _, d := range w.corpus(10, 200, 4) {
		if err := b.Add(d); err != nil {
			panic(err)
		}
	}
	c, err := b.Fit(context.Background(), nil)
	if err != nil {
		panic(err)
	}
	return w, c
})

func assess(t testing.TB, s *Scorer, d Document) Assessment {
	t.Helper()
	width := s.c.spec.Width()
	e := make([]Evidence, len(d.Readings)/width)
	for i := range e {
		if err := s.Reading(d.Readings[i*width:(i+1)*width], &e[i]); err != nil {
			t.Fatal(err)
		}
	}
	var a Assessment
	if err := s.Document(d.Channel, d.Tokens, e, d.Extra, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func auc(neg, pos []float64) float64 {
	var wins float64
	for _, p := range pos {
		for _, n := range neg {
			switch {
			case p > n:
				wins++
			case p == n:
				wins += 0.5
			}
		}
	}
	return wins / float64(len(pos)) / float64(len(neg))
}

// TestRecovers asks of a planted direction: that the first coordinate lies along
// it, that attacks of a new source are found and named, and where.
func TestRecovers(t *testing.T) {
	w, c := fitted()
	s := NewScorer(c)
	var clean, attack, cleanOracle, attackOracle []float64
	named, placed, total := 0, 0, 0
	for i := range 400 {
		d := w.document(fmt.Sprint("new", i%7), fmt.Sprint(i), nil, "user", 1+i%12, 5)
		a := assess(t, s, d)
		clean = append(clean, a.LogOdds)
		cleanOracle = append(cleanOracle, w.oracle(d))
	}
	for i := range 300 {
		name := DefaultSignals[i%3]
		d := w.document(fmt.Sprint("newattack", i%7), fmt.Sprint(i), []string{name}, "user", 3+i%12, 5)
		a := assess(t, s, d)
		attack = append(attack, a.LogOdds)
		attackOracle = append(attackOracle, w.oracle(d))
		total++
		v := a.Signals[a.Deciding]
		if v.Name == name {
			named++
		}
		// The coordinate's value must be that of a span with the payload.
		if v.LogOdds > 0 && math.Abs(float64(v.Span-v.Partner)) <= 1 {
			placed++
		}
		sum := a.Base
		for _, term := range a.Terms {
			sum += term.Contribution
		}
		if math.Abs(sum-v.LogOdds) > 1e-9*(1+math.Abs(sum)) {
			t.Fatalf("Base + Σ Contribution = %v, want log-odds %v", sum, v.LogOdds)
		}
		if len(a.Nearest) != nearest || a.Nearest[0].Distance > a.Nearest[1].Distance {
			t.Fatalf("Nearest = %+v, want %d, nearest first", a.Nearest, nearest)
		}
	}
	// The oracle knows the planted directions and the noise, not the topics.
	got, oracle := auc(clean, attack), auc(cleanOracle, attackOracle)
	t.Logf("AUC on new sources %.4f, of the oracle %.4f", got, oracle)
	if got < oracle-0.03 { // 0.016 observed
		t.Errorf("AUC on new sources = %.3f, want the oracle's %.3f less at most 0.03", got, oracle)
	}
	if float64(named) < 0.9*float64(total) {
		t.Errorf("%d of %d attacks named, want 90 %%", named, total)
	}
	for i, sg := range c.signals {
		// Response of the first coordinate to the planted shift, in its noise's units.
		row := c.basis[sg.first*w.spec.Width():][:w.spec.Width()]
		along := func(name string) (v float64) {
			for i := range row {
				var x float64
				for j, m := range w.mix[i] {
					x += m * w.planted[name][j]
				}
				if i == 3 {
					x *= 1000
				}
				v += float64(row[i]) * float64(c.inverse[i]) * x
			}
			return v
		}
		if got := along(sg.name); got < 0.7 {
			t.Errorf("signal %d: first coordinate moves by %.2f of the planted direction, want at least 0.7", i, got)
		}
	}
}

// TestPValues asks that p-values of new clean documents of the calibrated sort
// are at most as small as they promise, and not wasteful either.
func TestPValues(t *testing.T) {
	w, c := fitted()
	s := NewScorer(c)
	b := map[string][]float64{}
	const n = 2000
	for i := range n {
		// New documents of the calibration's own sources and lengths.
		r := rand.New(rand.NewPCG(uint64(i), 3))
		src := i % 10
		a := assess(t, s, w.document(fmt.Sprintf("clean%d", src), fmt.Sprint("held", i), nil, []string{"user", "document"}[src%2], 1+int(math.Exp(r.Float64()*2.7)), 77))
		b[Composite] = append(b[Composite], a.PValue)
		b[Novelty] = append(b[Novelty], a.Novelty.PValue)
		for _, v := range a.Signals {
			b[v.Name] = append(b[v.Name], v.PValue)
		}
	}
	for name, p := range b {
		slices.Sort(p)
		var d float64
		// The probability of a verdict over the whole range. Of single signals below one half: above,
		// nearly all evidence is at its lower bound, and what orders it differs from fold to fold.
		for i, v := range p {
			if v <= 0.5 || name == Composite || name == Novelty {
				d = max(d, math.Abs(v-float64(i+1)/n), math.Abs(v-float64(i)/n))
			}
		}
		// Kolmogorov-Smirnov at 0.1 % with n held out against some 400 of a cell.
		bound := 1.95 * math.Sqrt(1.0/n+1.0/400)
		t.Logf("%s: KS %.3f (bound %.3f), ≤ 5 %%: %.3f, ≤ 1 %%: %.4f", name, d, bound, below(p, 0.05), below(p, 0.01))
		if d > bound {
			t.Errorf("%s: Kolmogorov-Smirnov distance from uniform %.3f, want at most %.3f", name, d, bound)
		}
		for _, r := range []float64{0.05, 0.01} {
			if got := below(p, r); got > r+3.3*math.Sqrt(r*(1-r)*(1.0/n+1.0/400)) {
				t.Errorf("%s: %.4f of clean documents have p ≤ %v", name, got, r)
			}
		}
	}
}

func below(p []float64, r float64) float64 {
	n, _ := slices.BinarySearch(p, math.Nextafter(r, 1))
	return float64(n) / float64(len(p))
}

func TestRoundTrip(t *testing.T) {
	w, c := fitted()
	var a, b bytes.Buffer
	if err := c.Write(&a); err != nil {
		t.Fatal(err)
	}
	read, err := Read(a.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Write(&b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("written, read and written again: other bytes")
	}
	d := w.document("x", "y", []string{"override"}, "user", 9, 1)
	if x, y := assess(t, NewScorer(c), d), assess(t, NewScorer(read), d); fmt.Sprint(x) != fmt.Sprint(y) {
		t.Errorf("read codebook says %v, the fitted one %v", y, x)
	}
	t.Logf("%d bytes", a.Len())
}
