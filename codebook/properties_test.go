package codebook

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

// small is a spec of few channels, for tests that are not about detection.
var small = Spec{Model: "m", Sites: []Site{{1, "residual", Mean}}, Dim: 3}

func smallDocument(r *rand.Rand, i int) Document {
	d := Document{ID: fmt.Sprint(i), Source: fmt.Sprint("s", r.IntN(3)), Channel: "user", Tokens: 1 + r.IntN(900)}
	if r.IntN(3) == 0 {
		d.Signals = []string{"override", "extraction"}[:1+r.IntN(2)]
	} else if r.IntN(4) == 0 {
		d.Use = Thresholds
	}
	for range 3 * (1 + r.IntN(12)) {
		d.Readings = append(d.Readings, float32(r.NormFloat64()*math.Exp(4*r.NormFloat64())))
	}
	if r.IntN(5) == 0 {
		d.Extra = map[string]float64{Concealment: r.Float64()}
	}
	return d
}

// TestMergeIsOnePass shards documents at random, with duplicates among them, and
// merges the shards in random order and shape, over Write and ReadBuilder.
func TestMergeIsOnePass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		n := rapid.IntRange(0, 120).Draw(t, "documents")
		shards := rapid.IntRange(1, 6).Draw(t, "shards")
		opt := Options{Documents: rapid.IntRange(1, 20).Draw(t, "sample"), Spans: rapid.IntRange(2, 8).Draw(t, "spans")}
		newBuilder := func() *Builder {
			b, err := NewBuilder(small, opt)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		one := newBuilder()
		parts := make([]*Builder, shards)
		for i := range parts {
			parts[i] = newBuilder()
		}
		docs := make([]Document, n)
		absolute := map[groupKey]*[3]float64{} // Σ|x| by channel
		for i := range docs {
			docs[i] = smallDocument(r, i)
			if i > 0 && r.IntN(20) == 0 { // the same name with other contents
				docs[i].ID, docs[i].Source = docs[i-1].ID, docs[i-1].Source
			}
			if err := one.Add(docs[i]); err != nil {
				t.Fatal(err)
			}
			key, _ := one.check(&docs[i])
			if absolute[key] == nil {
				absolute[key] = new([3]float64)
			}
			for j, x := range docs[i].Readings {
				absolute[key][j%3] += math.Abs(float64(x))
			}
		}
		for _, i := range r.Perm(n) {
			if err := parts[r.IntN(shards)].Add(docs[i]); err != nil {
				t.Fatal(err)
			}
		}
		for len(parts) > 1 {
			i := r.IntN(len(parts) - 1)
			from := parts[i+1]
			if r.IntN(2) == 0 {
				var buf bytes.Buffer
				if err := from.Write(&buf); err != nil {
					t.Fatal(err)
				}
				var err error
				if from, err = ReadBuilder(buf.Bytes(), Options{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := parts[i].Merge(from); err != nil {
				t.Fatal(err)
			}
			parts = slices.Delete(parts, i+1, i+2)
		}
		merged := parts[0]
		if merged.Digest() != one.Digest() || merged.Documents() != one.Documents() {
			t.Fatalf("merged: %d documents %s, one pass: %d, %s", merged.Documents(), merged.Digest(), one.Documents(), one.Digest())
		}
		if diff := cmp.Diff(one.keys(), merged.keys(), cmp.AllowUnexported(groupKey{})); diff != "" {
			t.Fatal(diff)
		}
		for key, g := range one.groups {
			m := merged.groups[key]
			if diff := cmp.Diff(g.sample, m.sample, cmp.AllowUnexported(record{})); diff != "" {
				t.Fatalf("samples differ (-one pass +merged): %s", diff)
			}
			if g.documents != m.documents || g.readings != m.readings {
				t.Fatalf("counts: %d %d, want %d %d", m.documents, m.readings, g.documents, g.readings)
			}
			for j := range g.sum {
				// Both sums are within n·2⁻⁵³·Σ|x| of the exact one.
				if bound := 2 * float64(g.readings) * 0x1p-53 * absolute[key][j]; math.Abs(g.sum[j]-m.sum[j]) > bound {
					t.Fatalf("sum %v, want %v within %v", m.sum[j], g.sum[j], bound)
				}
				if bound := 2 * float64(g.readings) * 0x1p-53 * g.square[j]; math.Abs(g.square[j]-m.square[j]) > bound {
					t.Fatalf("sum of squares %v, want %v within %v", m.square[j], g.square[j], bound)
				}
			}
		}
	})
}

// TestMergedCodebook fits one pass and merged shards: the same bytes but for the
// last bits of moments, which here do not show.
func TestMergedCodebook(t *testing.T) {
	w := newWorld(4)
	docs := w.corpus(6, 60, 2)
	opt := Options{MinCell: 50, Documents: 40}
	one := build(t, w.spec, docs, opt)
	a, b := build(t, w.spec, nil, opt), build(t, w.spec, nil, opt)
	for i := range docs {
		if err := []*Builder{a, b}[i%3%2].Add(docs[len(docs)-1-i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Merge(b); err != nil {
		t.Fatal(err)
	}
	var out [2]bytes.Buffer
	for i, b := range []*Builder{one, a} {
		b.opt.Threads = 1 + 2*i // must not matter either
		c, err := b.Fit(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(&out[i]); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(out[0].Bytes(), out[1].Bytes()) {
		t.Error("one pass and merged shards give other codebooks")
	}
}

// TestThresholdIsPValue: log-odds ≥ threshold and p ≤ rate are one test, on
// tables with ties and thinning, and the count is never below the true one.
func TestThresholdIsPValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		n := rapid.SampledFrom([]int{1, 2, 10, 199, 600, 5000}).Draw(t, "n")
		grain := rapid.SampledFrom([]float64{1e-6, 0.1, 10}).Draw(t, "grain")
		scores := make([]float32, n)
		for i := range scores {
			scores[i] = float32(math.Round(r.NormFloat64()/grain) * grain)
		}
		tb := newTable(0, "", anyStratum, slices.Clone(scores))
		if err := tb.check(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(scores)
		query := append([]float32{float32(math.Inf(-1)), -100, 100}, scores[n/2:]...)
		for _, s := range query {
			lo, _ := slices.BinarySearch(scores, s)
			exact, got := n-lo, tb.count(s)
			if got < exact || float64(got) > float64(exact)*1.0051+1e-9 || exact <= exactTop && got != exact {
				t.Fatalf("count(%v) = %d, want %d", s, got, exact)
			}
		}
		for range 20 {
			rate := math.Exp(-r.Float64() * 9)
			at, ok := tb.threshold(rate)
			if ok != (rate >= 1/float64(n+1)) {
				t.Fatalf("threshold(%v) of %d: ok %v", rate, n, ok)
			}
			for _, s := range append(query, at, math.Nextafter32(at, float32(math.Inf(-1)))) {
				if ok && (s >= at) != (tb.p(s) <= rate) && !math.IsInf(float64(s), 0) {
					t.Fatalf("score %v: p %v, rate %v, threshold %v", s, tb.p(s), rate, at)
				}
			}
		}
	})
}

func TestThresholds(t *testing.T) {
	w, c := fitted()
	s := NewScorer(c)
	for _, rate := range []float64{0.1, 0.05, 0.02} {
		for i := range 200 {
			d := w.document("clean1", fmt.Sprint("x", i), nil, "document", 1+i%12, 3)
			a := assess(t, s, d)
			at, n, err := c.Threshold("document", d.Tokens, rate)
			if err != nil || n != a.N {
				t.Fatalf("Threshold(%v) = %d documents, %v; the assessment says %d", rate, n, err, a.N)
			}
			if (a.LogOdds >= at) != (a.PValue <= rate) {
				t.Fatalf("log-odds %v, threshold %v, p %v, rate %v", a.LogOdds, at, a.PValue, rate)
			}
		}
	}
	_, n, err := c.Threshold("user", 100, 1e-9)
	if !errors.Is(err, ErrRate) || n == 0 {
		t.Errorf("Threshold at 1e-9 = n %d, %v, want ErrRate", n, err)
	}
	for _, rate := range []float64{0, -1, 1.1, math.NaN()} {
		if _, _, err := c.Threshold("user", 100, rate); !errors.Is(err, ErrRate) {
			t.Errorf("Threshold at %v: %v, want ErrRate", rate, err)
		}
	}
	if _, n, err = c.Threshold("no such channel", 100, 0.1); err != nil || n < c.minCell {
		t.Errorf("unknown channel: n %d, %v, want its stratum's", n, err)
	}
}

// TestRecalibrate moves clean traffic: old thresholds break their promise, new
// ones keep it, other channels and the scores themselves stay.
func TestRecalibrate(t *testing.T) {
	w, c := fitted()
	shifted := func(i int) Document {
		d := w.document("traffic", fmt.Sprint(i), nil, "user", 4+i%8, 9)
		width := w.spec.Width()
		for j := range d.Readings { // half way to an attack
			for k, v := range w.planted["override"] {
				d.Readings[j] += float32(w.mix[j%width][k] * v * 2 * (1 + 999*float64(class(j%width == 3))))
			}
		}
		return d
	}
	i := 0
	next := func() (Document, bool) {
		i++
		return shifted(i - 1), i <= 600
	}
	fresh, err := c.Recalibrate(next, Options{Command: "recalibrate", Date: "2026-01-03"})
	if err != nil {
		t.Fatal(err)
	}
	old, now := NewScorer(c), NewScorer(fresh)
	var before, after []float64
	for i := range 1000 {
		d := shifted(10000 + i)
		a, b := assess(t, old, d), assess(t, now, d)
		if a.LogOdds != b.LogOdds {
			t.Fatal("recalibration changed a score")
		}
		before, after = append(before, a.PValue), append(after, b.PValue)
	}
	slices.Sort(before)
	slices.Sort(after)
	t.Logf("p ≤ 5 %%: %.3f before, %.3f after", below(before, 0.05), below(after, 0.05))
	if below(before, 0.05) < 0.15 || below(after, 0.05) > 0.05+3.3*math.Sqrt(0.05*0.95*(1.0/1000+1.0/300)) {
		t.Errorf("p ≤ 5 %%: %.3f before, %.3f after; want far above and about 5 %%", below(before, 0.05), below(after, 0.05))
	}
	d := w.document("clean1", "d", nil, "document", 5, 3)
	if a, b := assess(t, old, d), assess(t, now, d); a.PValue != b.PValue || a.N != b.N {
		t.Error("recalibration of one channel changed another")
	}
	var buf bytes.Buffer
	if err := fresh.Write(&buf); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(buf.Bytes()); err != nil {
		t.Fatal(err)
	}
	few := 0
	_, err = c.Recalibrate(func() (Document, bool) { few++; return shifted(few), few < 10 }, Options{})
	if !errors.Is(err, ErrTooFew) {
		t.Errorf("recalibration with 9 documents: %v, want ErrTooFew", err)
	}
}

func TestCheck(t *testing.T) {
	_, c := fitted()
	if err := c.Check("m", "t", "f32"); err != nil {
		t.Error(err)
	}
	for _, v := range [][3]string{{"x", "t", "f32"}, {"m", "", "f32"}, {"m", "t", "int8"}} {
		if err := c.Check(v[0], v[1], v[2]); !errors.Is(err, ErrMismatch) {
			t.Errorf("Check(%q) = %v, want ErrMismatch", v, err)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	good := Document{ID: "i", Source: "s", Tokens: 3, Readings: []float32{1, 2, 3}}
	b := build(t, small, nil, Options{})
	for name, change := range map[string]func(*Document){
		"no id":                 func(d *Document) { d.ID = "" },
		"no source":             func(d *Document) { d.Source = "" },
		"no tokens":             func(d *Document) { d.Tokens = 0 },
		"no readings":           func(d *Document) { d.Readings = nil },
		"part of a row":         func(d *Document) { d.Readings = make([]float32, 4) },
		"signal twice":          func(d *Document) { d.Signals = []string{"a", "a"} },
		"signal name":           func(d *Document) { d.Signals = []string{"a b"} },
		"channel name":          func(d *Document) { d.Channel = "a\nb" },
		"use":                   func(d *Document) { d.Use = 9 },
		"attack for thresholds": func(d *Document) { d.Use, d.Signals = Thresholds, []string{"a"} },
		"extra":                 func(d *Document) { d.Extra = map[string]float64{"x": math.NaN()} },
		"NaN":                   func(d *Document) { d.Readings = []float32{1, float32(math.NaN()), 1} },
		"infinite":              func(d *Document) { d.Readings = []float32{1, float32(math.Inf(-1)), 1} },
		"long":                  func(d *Document) { d.ID = strings.Repeat("x", maxString+1) },
	} {
		d := good
		change(&d)
		if err := b.Add(d); !errors.Is(err, ErrDocument) && !errors.Is(err, ErrReading) {
			t.Errorf("%s: Add = %v, want ErrDocument or ErrReading", name, err)
		}
	}
	if b.Documents() != 0 || len(b.groups) != 0 {
		t.Error("a refused document was counted")
	}
	if err := b.Add(good); err != nil {
		t.Error(err)
	}
}

func TestFitRefuses(t *testing.T) {
	w := newWorld(4)
	if _, err := build(t, w.spec, nil, Options{}).Fit(context.Background(), nil); !errors.Is(err, ErrTooFew) {
		t.Errorf("Fit of nothing: %v, want ErrTooFew", err)
	}
	docs := w.corpus(4, 40, 2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := build(t, w.spec, docs, Options{}).Fit(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Fit cancelled: %v", err)
	}
	if err := build(t, w.spec, nil, Options{}).Merge(build(t, small, nil, Options{})); !errors.Is(err, ErrSpec) {
		t.Errorf("Merge of other readings: %v, want ErrSpec", err)
	}
}

// TestFitEdges fits what is awkward: one clean source, one attack source of a
// signal, a dead channel, documents for thresholds alone, an extra, no channel.
func TestFitEdges(t *testing.T) {
	w := newWorld(5)
	var docs []Document
	for i := range 120 {
		d := w.document("clean", fmt.Sprint(i), nil, "", 1+i%9, 1)
		if i%2 == 0 {
			d.Extra = map[string]float64{Concealment: 0.1}
		}
		docs = append(docs, d, w.document("late", fmt.Sprint(i), nil, "tool", 1+i%9, 1))
		docs[len(docs)-1].Use = Thresholds
	}
	for i := range 40 {
		d := w.document("attack", fmt.Sprint(i), []string{"override"}, "", 1+i%9, 1)
		docs = append(docs, d)
		d = w.document("hidden", fmt.Sprint(i), []string{Concealment}, "", 1+i%9, 1)
		d.Extra = map[string]float64{Concealment: 0.5 + float64(i)/80}
		docs = append(docs, d)
	}
	for _, d := range docs {
		for i := 5; i < len(d.Readings); i += w.spec.Width() {
			d.Readings[i] = 7
		}
	}
	c, err := build(t, w.spec, docs, Options{MinCell: 100}).Fit(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Signals(), []string{"override", Concealment}; !slices.Equal(got, want) {
		t.Fatalf("Signals() = %q, want %q", got, want)
	}
	if got, want := c.origin.Omitted, []string{"jailbreak", "extraction"}; !slices.Equal(got, want) {
		t.Errorf("Omitted = %q, want %q", got, want)
	}
	if c.inverse[5] != 0 {
		t.Errorf("a dead channel has inverse scale %v", c.inverse[5])
	}
	s := NewScorer(c)
	d := w.document("new", "1", nil, "tool", 1, 1)
	plain := assess(t, s, d)
	d.Extra = map[string]float64{Concealment: 1}
	hidden := assess(t, s, d)
	if hidden.LogOdds < plain.LogOdds+3 || c.Signals()[hidden.Deciding] != Concealment || len(hidden.Terms) != 0 || hidden.Base != hidden.Signals[1].LogOdds {
		t.Errorf("with concealment %+v, without %+v", hidden, plain)
	}
	if plain.N < 100 {
		t.Errorf("channel of thresholds alone: n = %d", plain.N)
	}
}

// TestNovelty: readings far off in a direction that no signal knows are novel and
// no more hostile for it.
func TestNovelty(t *testing.T) {
	w, c := fitted()
	s := NewScorer(c)
	d := w.document("clean3", "n", nil, "user", 6, 1)
	before := assess(t, s, d)
	r := rand.New(rand.NewPCG(3, 3))
	width := w.spec.Width()
	off := make([]float32, width)
	for i := range off {
		off[i] = float32(6*r.NormFloat64()) / c.inverse[i]
	}
	for i := range d.Readings {
		d.Readings[i] += off[i%width]
	}
	after := assess(t, s, d)
	if after.Novelty.PValue > 0.01 || before.Novelty.PValue < 0.02 {
		t.Errorf("novelty p %v, before %v", after.Novelty.PValue, before.Novelty.PValue)
	}
}

func TestScorerRefuses(t *testing.T) {
	w, c := fitted()
	s := NewScorer(c)
	x := w.document("a", "b", nil, "user", 1, 1).Readings
	var e Evidence
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, at := range []int{0, 1, len(x) - 1} {
			y := slices.Clone(x)
			y[at] = float32(bad)
			if err := s.Reading(y, &e); !errors.Is(err, ErrReading) {
				t.Errorf("Reading with %v at %d: %v, want ErrReading", bad, at, err)
			}
		}
	}
	for i := range x {
		x[i] = math.MaxFloat32
	}
	if err := s.Reading(x, &e); err != nil {
		t.Error(err)
	}
	var a Assessment
	if err := s.Document("user", 1, nil, nil, &a); !errors.Is(err, ErrDocument) {
		t.Errorf("Document without spans: %v", err)
	}
	if err := s.Document("user", 10, []Evidence{e}, nil, &a); err != nil || !finite(a.LogOdds) || !(a.PValue > 0 && a.PValue <= 1) {
		t.Errorf("the largest floats: %+v, %v", a, err)
	}
}

// TestAgree: a lone high span counts half, two neighbours whole.
func TestAgree(t *testing.T) {
	for _, v := range []struct {
		e             []float32
		want          float64
		span, partner int
	}{
		{[]float32{3}, 3, 0, 0},
		{[]float32{-1, 5}, 2, 1, 0},
		{[]float32{0, 8, 0, 5, 5.5, 0}, 5.25, 4, 3},
		{[]float32{9, 8, 0}, 8.5, 0, 1},
	} {
		if e, s, p := agree(v.e); e != v.want || s != v.span || p != v.partner {
			t.Errorf("agree(%v) = %v, %d, %d, want %v, %d, %d", v.e, e, s, p, v.want, v.span, v.partner)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	w, c := fitted()
	s := NewScorer(c)
	d := w.document("a", "b", []string{"override"}, "user", 8, 1)
	e := make([]Evidence, 8)
	extra := map[string]float64{Concealment: 0.5}
	var a Assessment
	width := w.spec.Width()
	if n := testing.AllocsPerRun(20, func() {
		for i := range e {
			if err := s.Reading(d.Readings[i*width:(i+1)*width], &e[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Document("user", d.Tokens, e, extra, &a); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a document, want none", n)
	}
}

// TestDensity: a distribution function that reaches from 0 to 1, densities that
// integrate to 1 and fall outward beyond the knots, ratios within bounds, for
// values with ties, gaps, heavy tails, one point.
func TestDensity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		shape := rapid.SampledFrom([]string{"normal", "heavy", "gap", "ties", "point"}).Draw(t, "shape")
		n := rapid.IntRange(1, 3000).Draw(t, "n")
		sample := func() (v []weighted) {
			for range n {
				x := r.NormFloat64()
				switch shape {
				case "heavy":
					x /= 0.01 + r.Float64()
				case "gap":
					x = x/10 + float64(r.IntN(2)*20)
				case "ties":
					x = math.Round(x)
				case "point":
					x = 3
				}
				v = append(v, weighted{x, 0.1 + r.Float64()})
			}
			return v
		}
		f := fitDistribution(sample())
		m := len(f.x) - 1
		last := math.Inf(-1)
		var area, pl float64
		// Each piece between knots on its own: widths differ by a thousand.
		ends := slices.Concat([]float64{f.x[0] - 40/f.slope[0]}, f.x, []float64{f.x[m] + 40/f.slope[1]})
		const steps = 2000
		for k, from := range ends[:len(ends)-1] {
			h := (ends[k+1] - from) / steps
			for i := range steps {
				x := from + (float64(i)+0.5)*h
				g, log := f.at(x)
				if g < last-1e-9 {
					t.Fatalf("distribution function falls at %v", x)
				}
				if i > 0 && (k == 0 && log < pl || k == len(ends)-2 && log > pl) {
					t.Fatalf("density rises outward at %v", x)
				}
				last, pl = g, log
				area += h * math.Exp(log)
			}
		}
		// The floor in gaps and the steps of this sum cost a little.
		if area < 0.97 || area > 1.05 {
			t.Fatalf("density integrates to %v", area)
		}
		d := fitDensity(sample(), sample(), false)
		if err := d.check(); err != nil {
			t.Fatal(err)
		}
		if end := gridPoints - 1; math.Abs(float64(d.ratio[end]-d.ratio[end-5])) > 1e-2 || math.Abs(float64(d.ratio[0]-d.ratio[5])) > 1e-2 {
			t.Fatalf("ratio changes where nothing was seen: %v … %v", d.ratio[:6], d.ratio[end-5:])
		}
		for _, x := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 0, 1e30, -1e30, d.lo, d.lo + d.step*float32(len(d.benign)-1)} {
			if v := d.llr(x); !(v >= -maxRatio && v <= maxRatio) {
				t.Fatalf("llr(%v) = %v", x, v)
			}
			if p := d.upper(x); !(p >= 0 && p <= 1) {
				t.Fatalf("upper(%v) = %v", x, p)
			}
		}
	})
}

// TestLogistic: a known model comes back; a feature that speaks against attacks
// gets no weight.
func TestLogistic(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const n = 40000
	var x, w []float64
	var y []bool
	for range n {
		a, b := r.NormFloat64(), r.NormFloat64()
		p := 1 / (1 + math.Exp(-(1.5*a - 0.7*b)))
		x, w, y = append(x, a, b, r.NormFloat64()), append(w, 1), append(y, r.Float64() < p)
	}
	beta, bias := logistic(x, 3, y, w, 1e-6)
	if math.Abs(beta[0]-1.4) > 0.15 || beta[1] != 0 || beta[2] > 0.03 || math.Abs(bias) > 0.05 {
		t.Errorf("logistic = %v, %v, want about [1.4 0 0], 0", beta, bias)
	}
	// Separable data end at what the penalty allows.
	beta, bias = logistic([]float64{-1, -2, 3, 4}, 1, []bool{false, false, true, true}, []float64{1, 1, 1, 1}, 0.01)
	if !(beta[0] > 0.5 && beta[0] < 10 && finite(bias)) {
		t.Errorf("separable: %v, %v", beta, bias)
	}
}

func TestHalf(t *testing.T) {
	for i := range 1 << 16 { // every binary16 comes back
		h := uint16(i)
		if h&0x7c00 == 0x7c00 {
			continue
		}
		if got := toHalf(halfTable()[h]); got != h {
			t.Fatalf("toHalf(%v) = %#04x, want %#04x", halfTable()[h], got, h)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 100000 { // and everything else goes to a nearest one
		x := float32(r.NormFloat64() * math.Exp(10*r.NormFloat64()-5))
		got := float64(halfTable()[toHalf(x)])
		if bound := max(math.Abs(float64(x))*0x1p-11, 0x1p-25); math.Abs(got-float64(x)) > bound && math.Abs(float64(x)) < 65504 {
			t.Fatalf("toHalf(%v) = %v, want within %v", x, got, bound)
		}
	}
	if halfTable()[toHalf(1e9)] != 65504 || halfTable()[toHalf(-1e9)] != -65504 {
		t.Error("toHalf does not saturate")
	}
}

// poison changes a good file: its metadata, JSON header and tensors by name.
func poison(t testing.TB, good []byte, change func(meta map[string]string, header map[string]any, tensors map[string]*safetensors.Tensor)) []byte {
	f, err := safetensors.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	meta := map[string]string{}
	for k, v := range f.Metadata() {
		meta[k] = v
	}
	tensors := map[string]*safetensors.Tensor{}
	for _, name := range f.Names() {
		v, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		v.Data, v.Shape = slices.Clone(v.Data), slices.Clone(v.Shape)
		tensors[name] = &v
	}
	var header map[string]any
	if err := json.Unmarshal([]byte(meta["codebook"]), &header); err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprint(header)
	change(meta, header, tensors)
	if fmt.Sprint(header) != before {
		js, err := json.Marshal(header)
		if err != nil {
			t.Fatal(err)
		}
		meta["codebook"] = string(js)
	}
	var list []safetensors.Tensor
	for _, v := range tensors {
		list = append(list, *v)
	}
	var out bytes.Buffer
	if err := safetensors.Write(&out, list, meta); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func setFloat(v *safetensors.Tensor, i int, x float64) {
	binary.LittleEndian.PutUint32(v.Data[4*i:], math.Float32bits(float32(x)))
}

func TestPoisoned(t *testing.T) {
	_, c := fitted()
	var buf bytes.Buffer
	if err := c.Write(&buf); err != nil {
		t.Fatal(err)
	}
	good := buf.Bytes()
	type (
		meta    = map[string]string
		header  = map[string]any
		tensors = map[string]*safetensors.Tensor
	)
	first := func(h header, key string) header { return h[key].([]any)[0].(header) }
	for _, v := range []struct {
		name   string
		want   error
		change func(meta, header, tensors)
	}{
		{"another format", ErrFormat, func(m meta, _ header, _ tensors) { m["format"] = "gguf" }},
		{"no version", ErrFormat, func(m meta, _ header, _ tensors) { delete(m, "version") }},
		{"newer version", ErrVersion, func(m meta, _ header, _ tensors) { m["version"] = "3" }},
		{"no spec", ErrMissing, func(m meta, _ header, _ tensors) { delete(m, "spec") }},
		{"broken JSON", ErrFormat, func(m meta, _ header, _ tensors) { m["codebook"] = "{" }},
		{"unknown field", ErrFormat, func(_ meta, h header, _ tensors) { h["extra_weight"] = 1 }},
		{"more JSON", ErrFormat, func(m meta, _ header, _ tensors) { m["spec"] += "{}" }},
		{"huge dim", ErrBound, func(m meta, _ header, _ tensors) {
			m["spec"] = strings.Replace(m["spec"], `"dim":24`, `"dim":1152921504606846976`, 1)
		}},
		{"other dim", ErrShape, func(m meta, _ header, _ tensors) { m["spec"] = strings.Replace(m["spec"], `"dim":24`, `"dim":12`, 1) }},
		{"unknown pool", ErrBound, func(m meta, _ header, _ tensors) { m["spec"] = strings.Replace(m["spec"], `"mean"`, `"first"`, 1) }},
		{"no signals", ErrBound, func(_ meta, h header, _ tensors) { h["signals"] = []any{} }},
		{"signal twice", ErrBound, func(_ meta, h header, _ tensors) { first(h, "signals")["name"] = "jailbreak" }},
		{"negative weight", ErrBound, func(_ meta, h header, _ tensors) { first(h, "signals")["weights"].([]any)[0] = -0.5 }},
		{"huge weight", ErrBound, func(_ meta, h header, _ tensors) { first(h, "signals")["weights"].([]any)[0] = 1e300 }},
		{"a weight too many", ErrShape, func(_ meta, h header, _ tensors) {
			s := first(h, "signals")
			s["weights"] = append(s["weights"].([]any), 1)
		}},
		{"rising spectrum", ErrMonotone, func(_ meta, h header, _ tensors) { first(h, "signals")["spectrum"] = []any{1, 2} }},
		{"negative slope", ErrBound, func(_ meta, h header, _ tensors) { first(h, "signals")["document"].(header)["slope"] = -1 }},
		{"negative length term", ErrBound, func(_ meta, h header, _ tensors) { h["novelty"].(header)["length"] = -1 }},
		{"falling curve", ErrMonotone, func(_ meta, h header, _ tensors) {
			h["extras"] = []any{header{"name": "x", "curve": header{"x": []any{0, 1}, "y": []any{1, 0}}}}
		}},
		{"empty curve", ErrShape, func(_ meta, h header, _ tensors) { h["extras"] = []any{header{"name": "x", "curve": header{}}} }},
		{"negative grid", ErrBound, func(_ meta, h header, _ tensors) { h["grid"] = -1 }},
		{"negative outside", ErrBound, func(_ meta, h header, _ tensors) { h["outside"] = -1 }},
		{"table of nothing", ErrBound, func(_ meta, h header, _ tensors) { first(h, "tables")["score"] = "mystery" }},
		{"same cell twice", ErrMonotone, func(_ meta, h header, _ tensors) {
			v := h["tables"].([]any)
			for _, key := range []string{"score", "channel", "stratum"} {
				v[1].(header)[key] = v[0].(header)[key]
			}
		}},
		{"negative entries", ErrBound, func(_ meta, h header, _ tensors) { first(h, "tables")["entries"] = -5 }},
		{"entries overflow", ErrBound, func(_ meta, h header, _ tensors) {
			for _, v := range h["tables"].([]any) {
				v.(header)["entries"] = 1 << 60
			}
		}},
		{"other n", ErrBound, func(_ meta, h header, _ tensors) { first(h, "tables")["n"] = 1000000 }},
		{"no calibration", ErrShape, func(_ meta, h header, _ tensors) { h["tables"] = []any{} }},
		{"min_cell", ErrBound, func(_ meta, h header, _ tensors) { h["min_cell"] = 0 }},
		{"missing tensor", ErrMissing, func(_ meta, _ header, v tensors) { delete(v, "basis") }},
		{"dtype", ErrShape, func(_ meta, _ header, v tensors) { v["center"].DType = safetensors.I32 }},
		{"NaN in basis", ErrNotFinite, func(_ meta, _ header, v tensors) { setFloat(v["basis"], 5, math.NaN()) }},
		{"infinite centre", ErrNotFinite, func(_ meta, _ header, v tensors) { setFloat(v["center"], 5, math.Inf(1)) }},
		{"huge basis", ErrBound, func(_ meta, _ header, v tensors) { setFloat(v["basis"], 5, 1e30) }},
		{"negative scale", ErrBound, func(_ meta, _ header, v tensors) { setFloat(v["inverse_scale"], 5, -1) }},
		{"grid that does not advance", ErrBound, func(_ meta, _ header, v tensors) { setFloat(v["density.grid"], 1, 0) }},
		{"NaN in grid", ErrNotFinite, func(_ meta, _ header, v tensors) { setFloat(v["density.grid"], 0, math.NaN()) }},
		{"infinite density", ErrNotFinite, func(_ meta, _ header, v tensors) { setFloat(v["density.attack"], 9, math.Inf(-1)) }},
		{"huge density", ErrBound, func(_ meta, _ header, v tensors) { setFloat(v["density.benign"], 9, -1e9) }},
		{"falling distribution", ErrMonotone, func(_ meta, _ header, v tensors) { setFloat(v["density.tail"], 0, 9000) }},
		{"calibration order", ErrMonotone, func(_ meta, _ header, v tensors) { setFloat(v["calibration.score"], 0, 1e9) }},
		{"calibration NaN", ErrNotFinite, func(_ meta, _ header, v tensors) { setFloat(v["calibration.score"], 3, math.NaN()) }},
		{"calibration count", ErrMonotone, func(_ meta, _ header, v tensors) {
			copy(v["calibration.above"].Data[4:8], v["calibration.above"].Data[:4])
		}},
		{"exemplar NaN", ErrNotFinite, func(_ meta, _ header, v tensors) { setFloat(v["exemplars"], 0, math.NaN()) }},
	} {
		_, err := Read(poison(t, good, v.change))
		if !errors.Is(err, v.want) {
			t.Errorf("%s: Read = %v, want %v", v.name, err, v.want)
		}
	}
	for _, n := range []int{0, 1, 7, 8, 100, len(good) / 2, len(good) - 1} {
		if _, err := Read(good[:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("first %d bytes: Read = %v, want ErrFormat", n, err)
		}
	}
	if _, err := Read(poison(t, good, func(meta, header, tensors) {})); err != nil {
		t.Errorf("unpoisoned: %v", err)
	}
}

// tiny is a fitted codebook of few bytes, for fuzzing.
func tiny(t testing.TB) []byte {
	r := rand.New(rand.NewPCG(4, 4))
	b := build(t, small, nil, Options{MinCell: 20, Exemplars: 4, Signals: []string{"override"}, Coordinates: 1})
	for i := range 200 {
		d := Document{ID: fmt.Sprint(i), Source: fmt.Sprint("s", i%6), Channel: "user", Tokens: 40}
		if i%3 == 0 {
			d.Signals = []string{"override"}
		}
		for range 6 {
			d.Readings = append(d.Readings, float32(r.NormFloat64())+float32(class(i%3 == 0)))
		}
		if err := b.Add(d); err != nil {
			t.Fatal(err)
		}
	}
	c, err := b.Fit(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := c.Write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Fuzz with -fuzzminimizetime 20x: the default spends its minutes on shrinking
// headers byte by byte.

// FuzzRead: whatever is accepted can be scored with, described, and written
// again to the same meaning.
func FuzzRead(f *testing.F) {
	good := tiny(f)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(poison(f, good, func(_ map[string]string, _ map[string]any, v map[string]*safetensors.Tensor) {
		setFloat(v["basis"], 0, 9e5)
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Read(data)
		if err != nil {
			return
		}
		s := NewScorer(c)
		w := c.spec.Width()
		e := make([]Evidence, 3)
		for i := range e {
			x := make([]float32, w)
			for j := range x {
				x[j] = []float32{0, 1, -math.MaxFloat32}[(i+j)%3]
			}
			if err := s.Reading(x, &e[i]); err != nil {
				t.Fatal(err)
			}
		}
		var a Assessment
		if err := s.Document("user", 100, e, nil, &a); err != nil {
			t.Fatal(err)
		}
		if !finite(a.LogOdds) || !(a.PValue > 0 && a.PValue <= 1) || !(a.Novelty.PValue > 0) {
			t.Fatalf("assessment %+v", a)
		}
		c.Describe()
		var buf bytes.Buffer
		if err := c.Write(&buf); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(buf.Bytes()); err != nil {
			t.Fatalf("own bytes: %v", err)
		}
	})
}

func FuzzReadBuilder(f *testing.F) {
	r := rand.New(rand.NewPCG(4, 4))
	b := build(f, small, nil, Options{Documents: 3, Spans: 3})
	for i := range 20 {
		if err := b.Add(smallDocument(r, i)); err != nil {
			f.Fatal(err)
		}
	}
	var buf bytes.Buffer
	if err := b.Write(&buf); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ReadBuilder(data, Options{})
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := b.Write(&buf); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadBuilder(buf.Bytes(), Options{}); err != nil {
			t.Fatalf("own bytes: %v", err)
		}
	})
}

func BenchmarkReading(b *testing.B) {
	// Width 2048, three signals of four coordinates, as nano has.
	c := &Codebook{spec: Spec{Sites: make([]Site, 8), Dim: 256}, outside: 12}
	r := rand.New(rand.NewPCG(1, 1))
	for range 24 * 2048 {
		c.basis = append(c.basis, float32(r.NormFloat64())/40)
	}
	x := make([]float32, 2048)
	for i := range x {
		x[i] = float32(r.NormFloat64())
		c.center, c.inverse = append(c.center, 0), append(c.inverse, 1)
	}
	var v []weighted
	for range 1000 {
		v = append(v, weighted{r.NormFloat64(), 1})
	}
	for i := range 13 {
		c.curves = append(c.curves, fitDensity(v, v, false))
		if i%4 == 0 && i < 12 {
			c.signals = append(c.signals, signal{first: i, k: 4, weights: []float64{1, 1, 1, 1}})
		}
	}
	s := NewScorer(c)
	var e Evidence
	for b.Loop() {
		if err := s.Reading(x, &e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
}
