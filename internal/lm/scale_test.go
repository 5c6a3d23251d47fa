package lm

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

// TestScale measures how far float32 log-probabilities of a model of SmolLM2-135M's
// shape are from float64 ones, on random bf16 weights with a channel of the residual
// stream planted at some 2·10⁴, as the real model has. It is where the tolerance of
// doctor's comparison comes from, takes a minute and 2 GB, and runs if ALKNET_LONG
// is set: ALKNET_LONG=1 go test -run TestScale -v ./internal/lm
func TestScale(t *testing.T) {
	if os.Getenv("ALKNET_LONG") == "" {
		t.Skip("set ALKNET_LONG=1 to run it")
	}
	c, err := ParseConfig([]byte(`{"model_type":"llama","hidden_size":576,"intermediate_size":1536,"num_hidden_layers":30,"num_attention_heads":9,
		"num_key_value_heads":3,"vocab_size":49152,"max_position_embeddings":8192,"rms_norm_eps":1e-5,"rope_theta":100000,"tie_word_embeddings":true}`))
	if err != nil {
		t.Fatal(err)
	}
	const massive, channel = 2e4, 5
	tensors := checkpoint(c, safetensors.F32, 1)
	for i, x := range tensors {
		v, err := x.AppendFloat32(nil)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case x.Name == "model.embed_tokens.weight":
			for j := range v {
				v[j] *= 0.15 // logits of a few units, as trained models have
				if j%c.Hidden == channel {
					v[j] = massive
				}
			}
		case len(x.Shape) == 1: // a norm lifts the other channels out of its shadow, as trained ones do
			blocks := float64(c.Layers)
			fmt.Sscanf(x.Name, "model.layers.%g.", &blocks)
			for j := range v {
				v[j] *= float32(massive / math.Sqrt(float64(c.Hidden)) / math.Sqrt(0.15*0.15+2*blocks))
			}
			v[channel] = 0.02
			if x.Name == "model.norm.weight" {
				for j := range v {
					v[j] *= 6 // spreads the logits as in trained models
				}
				v[channel] = 0 // it would add 10⁴ to every logit, which no model does
			}
		}
		tensors[i].DType, tensors[i].Data = safetensors.BF16, safetensors.BF16FromFloat32(v)
	}
	name := filepath.Join(t.TempDir(), "model.safetensors")
	if err := safetensors.WriteFile(name, tensors, nil); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := Load(c, f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ids := []int32{504, 3575, 282, 4649, 314, 260, 7042, 28, 253}
	ref := newReference(t, c, f)
	ref.forward(ids)
	last := Tap{c.Layers, Residual}
	state := ref.taps[last][len(ids)-1]
	_, want := ref.logits(state)
	logProbs := func(x []float64) []float64 {
		most, sum := slices.Max(x), 0.0
		for _, v := range x {
			sum += math.Exp(v - most)
		}
		y := make([]float64, len(x))
		for i, v := range x {
			y[i] = v - most - math.Log(sum)
		}
		return y
	}
	want = logProbs(want)
	order := make([]int, len(want))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if want[a] > want[b] {
			return -1
		}
		return 1
	})
	t.Logf("log-probabilities of the five best tokens: %.3f to %.3f; planted channel at the end: %.0f", want[order[0]], want[order[4]], state[channel])
	for _, impl := range kernel.Implementations() {
		restore, err := kernel.Use(impl)
		if err != nil {
			t.Fatal(err)
		}
		r := m.NewRun()
		if err := r.Forward(context.Background(), nil, ids, []int{len(ids)}, []Tap{last}); err != nil {
			t.Fatal(err)
		}
		logits := m.Logits(nil, r.Hidden(0)[(len(ids)-1)*c.Hidden:])
		restore()
		wide := make([]float64, len(logits))
		for i, x := range logits {
			wide[i] = float64(x)
		}
		got, worst, all := logProbs(wide), 0.0, 0.0
		for k, i := range order {
			d := math.Abs(got[i] - want[i])
			if all = max(all, d); k < 5 {
				worst = max(worst, d)
			}
		}
		t.Logf("%s: log-probabilities of the five best tokens differ by up to %.1e, of all by %.1e", impl, worst, all)
		if !(worst <= 1e-4) { // doctor allows 100 times as much
			t.Errorf("%s: %.1e, want at most 1e-4", impl, worst)
		}
	}
}
