package detector_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/detector"
	"github.com/alkimiadev/alknet-firewall/internal/lm"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
	"github.com/alkimiadev/alknet-firewall/internal/tokenizer"
)

// TestGoldens compares ids and hidden states of nano with those that
// train/reference.py computed in float64 with nothing but numpy: tokenizer and
// engine against an independent implementation, on the weights that ship.
func TestGoldens(t *testing.T) {
	data, err := os.ReadFile("testdata/goldens.json")
	if err != nil {
		t.Fatal(err)
	}
	var goldens struct {
		Texts []struct {
			Text   string      `json:"text"`
			IDs    []int32     `json:"ids"`    // with <|endoftext|> before and <|close|> after
			Layers [][]float64 `json:"layers"` // last position: embeddings, then after each block
		} `json:"texts"`
	}
	if err := json.Unmarshal(data, &goldens); err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(detector.Tokenizer())
	if err != nil {
		t.Fatal(err)
	}
	config, err := lm.ParseConfig(detector.Config())
	if err != nil {
		t.Fatal(err)
	}
	weights, err := safetensors.Parse(detector.Weights())
	if err != nil {
		t.Fatal(err)
	}
	model, err := lm.Load(config, weights, lm.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	var taps []lm.Tap
	for l := range config.Layers + 1 {
		taps = append(taps, lm.Tap{Layer: l, Stream: lm.Residual})
	}
	if len(goldens.Texts) == 0 {
		t.Fatal("no goldens")
	}
	run := model.NewRun()
	for i, g := range goldens.Texts {
		var e tokenizer.Encoding
		if err := tok.EncodeTemplate(&e, "<|endoftext|>"+g.Text+"<|close|>"); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.IDs, g.IDs) {
			t.Errorf("text %d: ids %v, want %v", i, e.IDs, g.IDs)
			continue
		}
		if err := run.Forward(context.Background(), nil, e.IDs, []int{len(e.IDs)}, taps); err != nil {
			t.Fatal(err)
		}
		for l := range taps {
			states := run.Hidden(l)
			last := states[len(states)-config.Hidden:]
			if err := relative(last, g.Layers[l]); err > 1e-4 { // 3e-6 was seen
				t.Errorf("text %d, layer %d: relative error %.2g", i, l, err)
			}
		}
	}
}

// relative returns |a-b| / |b|.
func relative(a []float32, b []float64) float64 {
	var d, n float64
	for i := range b {
		d += (float64(a[i]) - b[i]) * (float64(a[i]) - b[i])
		n += b[i] * b[i]
	}
	return math.Sqrt(d / n)
}

// TestSize: nano has at most 16 MB, as promised.
func TestSize(t *testing.T) {
	n := len(detector.Config()) + len(detector.Tokenizer()) + len(detector.Weights()) + len(detector.Codebook())
	if n > 16<<20 {
		t.Errorf("the embedded detector has %d bytes", n)
	}
	if _, err := codebook.Read(detector.Codebook()); err != nil {
		t.Error(err)
	}
}
