package main

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
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

// TestGoldensAreTheFiles: the figures in the source are those of the files that they
// were taken from, and the tokenizer that they belong to gives the ids.
func TestGoldensAreTheFiles(t *testing.T) {
	read := func(name string, v any) []byte {
		data, err := os.ReadFile(filepath.Join("../../../shared/models/smollm2", name))
		if err != nil {
			t.Skipf("the reference files are not here: %v", err)
		}
		if v != nil {
			if err := json.Unmarshal(data, v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		return data
	}
	var base struct {
		Prompts []struct {
			IDs  []int32      `json:"token_ids"`
			Top5 [][2]float64 `json:"top5"`
		}
	}
	read("smollm2-135m-base.llamacpp-f32.json", &base)
	var want []promptScores
	for _, p := range base.Prompts {
		s := promptScores{ids: p.IDs}
		for _, x := range p.Top5 {
			s.scores = append(s.scores, tokenScore{int32(x[0]), x[1]})
		}
		want = append(want, s)
	}
	if !reflect.DeepEqual(smolLogProbs, want) {
		t.Errorf("smolLogProbs = %v, want %v", smolLogProbs, want)
	}

	var instruct struct {
		Prompts []struct {
			IDs     []int32   `json:"input_ids"`
			Indices []int32   `json:"last_logits_top10_indices"`
			Values  []float64 `json:"last_logits_top10_values"`
		}
	}
	read("goldens.smollm2-135m-instruct.reference.json", &instruct)
	if len(instruct.Prompts) != len(smolLogits) {
		t.Fatalf("%d prompts, want %d", len(smolLogits), len(instruct.Prompts))
	}
	for i, p := range instruct.Prompts {
		got := smolLogits[i]
		if !slices.Equal(got.ids, p.IDs) {
			t.Errorf("prompt %d: ids %v, want %v", i, got.ids, p.IDs)
		}
		for k, s := range got.scores {
			if s.id != p.Indices[k] || math.Abs(s.score-p.Values[k]) > 1e-6 {
				t.Errorf("prompt %d: %v, want %d %v", i, s, p.Indices[k], p.Values[k])
			}
		}
	}

	d := &diagnosis{}
	d.checkTokenizer(&patient{tokenizer: read("tokenizer.json", nil)})
	if d.Checks[0].Result != checkOK || !strings.Contains(d.Checks[0].Detail, "ids of 10 texts") {
		t.Errorf("SmolLM2's tokenizer: %+v", d.Checks[0])
	}
}
