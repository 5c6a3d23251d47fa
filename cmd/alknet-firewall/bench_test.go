package main

import (
	"math"
	"testing"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
	"github.com/alkimiadev/alknet-firewall/internal/lm"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		times []float64
		want  spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{4, 1}, spread{2.5, 1, 4}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{8, 1, 3, 2}, spread{2.5, 1, 8}},
	} {
		if got := spreadOf(c.times); got != c.want {
			t.Errorf("spreadOf(%v) = %v, want %v", c.times, got, c.want)
		}
	}
}

// TestOperations counts SmolLM2-135M as its paper does: 106.17 million weights in
// the blocks, and attention to one half of the tokens.
func TestOperations(t *testing.T) {
	c, err := lm.ParseConfig([]byte(shapes["smollm2-135m"]))
	if err != nil {
		t.Fatal(err)
	}
	weights := 30. * (576*576*2 + 576*192*2 + 3*576*1536)
	if math.Abs(weights-106.17e6) > 0.01e6 {
		t.Fatalf("%v weights, want 106.17 million", weights)
	}
	for _, n := range []int{1, 32, 512} {
		// Every token attends to itself and to those before it, once for the
		// scores and once for the sum.
		pairs := 0.
		for i := range n {
			pairs += float64(i + 1)
		}
		want := 2*weights*float64(n) + 30*2*2*576*pairs
		if got := operations(c, 30, n); math.Abs(got-want) > 1e-9*want {
			t.Errorf("operations of %d tokens = %g, want %g", n, got, want)
		}
	}
	if got, want := operations(c, 15, 32), operations(c, 30, 32)/2; got != want {
		t.Errorf("operations of half the layers = %g, want %g", got, want)
	}
}

// TestPeakMeasure: two measurements never lower the peak.
func TestPeakMeasure(t *testing.T) {
	var p benchPeak
	p.measure(1)
	if (p.F32GOps > 0) != (kernel.PeakF32(1) > 0) || (p.Int8GOps > 0) != (kernel.PeakInt8(1) > 0) {
		t.Fatalf("peak %+v, want something where the kernels have a loop for it", p)
	}
	p.F32GOps, p.Int8GOps = 1e9, 1e9
	p.measure(1)
	if p.F32GOps != 1e9 || p.Int8GOps != 1e9 {
		t.Errorf("peak %+v, want what it was", p)
	}
}
