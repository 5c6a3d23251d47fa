package main

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/alkimiadev/alknet-firewall/detector"
	"github.com/alkimiadev/alknet-firewall/internal/lm"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

func loadNano(t *testing.T, edit func(*lm.Config)) *lm.Model {
	t.Helper()
	c, err := lm.ParseConfig(detector.Config())
	if err != nil {
		t.Fatal(err)
	}
	edit(&c)
	w, err := safetensors.Parse(detector.Weights())
	if err != nil {
		t.Fatal(err)
	}
	m, err := lm.Load(c, w, lm.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// nanoScores returns the five best log-probabilities after nano's golden texts, in
// float64 from the golden states: no line of the engine computes them.
func nanoScores(t *testing.T) (prompts []promptScores) {
	t.Helper()
	w, err := safetensors.Parse(detector.Weights())
	if err != nil {
		t.Fatal(err)
	}
	values := func(name string) []float32 {
		x, err := w.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := x.AppendFloat32(nil)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	c, err := lm.ParseConfig(detector.Config())
	if err != nil {
		t.Fatal(err)
	}
	norm, head := values("model.norm.weight"), values("model.embed_tokens.weight")
	for _, g := range nanoGoldens() {
		x := g.Layers[len(g.Layers)-1]
		ss := 0.0
		for _, v := range x {
			ss += v * v
		}
		rms := math.Sqrt(ss/float64(len(x)) + c.NormEps)
		logits := make([]float64, c.Vocab)
		for i := range logits {
			for j, v := range x {
				logits[i] += v / rms * float64(norm[j]) * float64(head[i*len(x)+j])
			}
		}
		sum := 0.0
		for _, l := range logits {
			sum += math.Exp(l)
		}
		p := promptScores{ids: g.IDs}
		for range 5 {
			best := slices.Index(logits, slices.Max(logits))
			p.scores = append(p.scores, tokenScore{int32(best), logits[best] - math.Log(sum)})
			logits[best] = math.Inf(-1)
		}
		prompts = append(prompts, p)
	}
	return prompts
}

// TestReferenceCatches: a right model is far inside the tolerance of log-probabilities,
// and slightly wrong ones are outside: the reason why the tolerance is what it is.
func TestReferenceCatches(t *testing.T) {
	prompts := nanoScores(t)
	ctx := context.Background()
	worst, err := compareScores(ctx, loadNano(t, func(*lm.Config) {}), prompts, true)
	if err != nil || !(worst < maxLogProbError/100) {
		t.Errorf("the right model differs by %.2g (%v), want less than %.2g", worst, err, maxLogProbError/100)
	}
	t.Logf("right: %.1e", worst)
	for name, edit := range map[string]func(*lm.Config){
		"another model's rope theta": func(c *lm.Config) { c.Rope.Theta *= 10 },
		"a norm epsilon 100 times":   func(c *lm.Config) { c.NormEps *= 100 },
		"attention to 8 tokens only": func(c *lm.Config) { c.Window = 8 },
	} {
		worst, err := compareScores(ctx, loadNano(t, edit), prompts, true)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1e", name, worst)
		if worst < maxLogProbError {
			t.Errorf("%s: differs by %.2g only, which passes", name, worst)
		}
	}
}
