package codebook

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

// TestDiscriminant: along the first coordinate of every signal more is more, clean
// readings have about unit variance, and no other coordinate goes beyond maxRatio.
func TestDiscriminant(t *testing.T) {
	_, c := fitted()
	for _, sg := range c.signals {
		d := &c.curves[sg.first]
		for i := 1; i < len(d.ratio); i++ {
			if d.ratio[i] < d.ratio[i-1]-1e-3 { // densities are rounded to float32
				t.Fatalf("%s: ratio of the discriminant falls from %v to %v", sg.name, d.ratio[i-1], d.ratio[i])
			}
		}
		if low, high := d.upper(-1), d.upper(1); math.Abs(low-0.84) > 0.1 || math.Abs(high-0.16) > 0.1 {
			t.Errorf("%s: %.2f and %.2f of clean readings lie above -1 and 1, want about 0.84 and 0.16", sg.name, low, high)
		}
		for k := 1; k < sg.k; k++ {
			for _, r := range c.curves[sg.first+k].ratio {
				if math.Abs(float64(r)) > maxRatio {
					t.Fatalf("%s: coordinate %d has a ratio of %v, want at most %d", sg.name, k, r, maxRatio)
				}
			}
		}
	}
}

// TestMinimise: a stretched quadratic and a logistic loss have the
// minimum that calculus gives.
func TestMinimise(t *testing.T) {
	x, err := minimise(t.Context(), make([]float64, 3), func(x, g []float64) float64 {
		var l float64
		for i, v := range x {
			a, c := math.Pow(30, float64(i)), float64(i)-0.5
			g[i] = a * (v - c)
			l += a / 2 * (v - c) * (v - c)
		}
		return l
	})
	if err != nil || math.Abs(x[0]+0.5) > 1e-3 || math.Abs(x[1]-0.5) > 1e-3 || math.Abs(x[2]-1.5) > 1e-3 {
		t.Errorf("minimise = %v, %v, want [-0.5 0.5 1.5]", x, err)
	}
	// ½ ln(1+e⁻ˣ)·3 + ½ ln(1+eˣ): the minimum is at ln 3.
	if x, err = minimise(t.Context(), []float64{-20}, func(x, g []float64) float64 {
		p := 1 / (1 + math.Exp(-x[0]))
		g[0] = (p - 3*(1-p)) / 2
		return (softplus(x[0]) + 3*softplus(-x[0])) / 2
	}); err != nil || math.Abs(x[0]-math.Log(3)) > 1e-3 {
		t.Errorf("minimise = %v, %v, want ln 3", x, err)
	}
}

// TestFirstVersion: a file of version 1 has ratios within maxRatio, whatever its
// densities say, and keeps them when it is written again.
func TestFirstVersion(t *testing.T) {
	_, c := fitted()
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	first := bytes.Replace(b.Bytes(), []byte(`"version":"2"`), []byte(`"version":"1"`), 1)
	if bytes.Equal(first, b.Bytes()) {
		t.Fatal("the version was not found in the file")
	}
	largest := func(data []byte) (r float64) {
		c, err := Read(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range c.curves {
			for _, v := range d.ratio {
				r = max(r, math.Abs(float64(v)))
			}
		}
		return r
	}
	if r := largest(b.Bytes()); r < maxRatio+1 {
		t.Fatalf("the largest ratio of version 2 is %v: nothing to compare", r)
	}
	if r := largest(first); r > maxRatio {
		t.Errorf("the largest ratio of version 1 is %v, want at most %d", r, maxRatio)
	}
	old, err := Read(first)
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := old.Write(&again); err != nil {
		t.Fatal(err)
	}
	if r := largest(again.Bytes()); r > maxRatio || !strings.Contains(again.String(), `"version":"2"`) {
		t.Errorf("written again the largest ratio is %v, want at most %d", r, maxRatio)
	}
}
