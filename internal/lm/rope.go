package lm

import (
	"fmt"
	"math"
)

// Rope says how positions rotate queries and keys (Su et al. 2021,
// arXiv:2104.09864): pair i of a head turns by position·frequency(i), with
// frequency(i) = Theta^(-2i/RotaryDim), changed for longer contexts by Type.
type Rope struct {
	Theta float64
	// Type is one of
	//
	//	default  as above
	//	linear   frequencies divided by Factor (position interpolation, arXiv:2306.15595)
	//	dynamic  as default: its frequencies change only beyond the context
	//	         that this package allows
	//	llama3   frequencies with wavelengths over Original/LowFreq divided by
	//	         Factor, those under Original/HighFreq kept, blended between
	Type              string
	Factor            float64 // linear, llama3: at least 1
	LowFreq, HighFreq float64 // llama3
	Original          int     // llama3: context before the extension, in tokens
}

// parseRope reads the three ways in which config.json says it: rope_theta alone,
// with rope_scaling, or within rope_parameters (transformers 5).
func parseRope(f configFile, theta float64) (Rope, error) {
	s := f.RopeScaling
	if f.RopeParameters != nil {
		if s != nil {
			return Rope{}, fmt.Errorf("%w: both rope_scaling and rope_parameters", ErrConfig)
		}
		s = f.RopeParameters
	}
	if s != nil && (s.Full != nil || s.Sliding != nil) {
		return Rope{}, fmt.Errorf("%w: rope_parameters for each type of layers", ErrUnsupported)
	}
	return s.rope(or(f.RopeTheta, theta)), nil
}

// rope returns what s says, whose theta is the given one unless s has its own. A nil s
// is the default.
func (s *ropeFile) rope(theta float64) Rope {
	if s == nil {
		return Rope{Theta: theta, Type: "default"}
	}
	r := Rope{Theta: or(s.Theta, theta), Type: or(s.RopeType, or(s.Type, "default"))}
	switch r.Type {
	case "linear":
		r.Factor = or(s.Factor, 0)
	case "llama3":
		r.Factor = or(s.Factor, 0)
		r.LowFreq, r.HighFreq = or(s.LowFreqFactor, 0), or(s.HighFreqFactor, 0)
		r.Original = or(s.OriginalPositions, 0)
	}
	return r
}

func (r Rope) validate() error {
	if !(r.Theta >= 1) || !finite(r.Theta) {
		return fmt.Errorf("%w: rope_theta is %g, want 1 or more", ErrConfig, r.Theta)
	}
	switch r.Type {
	case "default", "dynamic":
		return nil
	case "linear", "llama3":
		if !(r.Factor >= 1) || !finite(r.Factor) {
			return fmt.Errorf("%w: rope factor is %g, want 1 or more", ErrConfig, r.Factor)
		}
	default:
		return fmt.Errorf("%w: rope_type %.40q, want default, linear, dynamic or llama3", ErrUnsupported, r.Type)
	}
	if r.Type == "llama3" {
		if !(r.LowFreq > 0 && r.HighFreq > r.LowFreq) || !finite(r.HighFreq) {
			return fmt.Errorf("%w: rope low_freq_factor %g and high_freq_factor %g, want 0 < low < high", ErrConfig, r.LowFreq, r.HighFreq)
		}
		if r.Original < 1 || r.Original > maxPositions {
			return fmt.Errorf("%w: rope original_max_position_embeddings is %d, want 1 to %d", ErrConfig, r.Original, maxPositions)
		}
	}
	return nil
}

// frequencies returns the angle, in radians, by which each pair of a head turns
// from one position to the next.
func (r Rope) frequencies(rotaryDim int) []float64 {
	f := make([]float64, rotaryDim/2)
	for i := range f {
		f[i] = math.Pow(r.Theta, -float64(2*i)/float64(rotaryDim))
		switch r.Type {
		case "linear":
			f[i] /= r.Factor
		case "llama3":
			// transformers, modeling_rope_utils.py, _compute_llama3_parameters
			turns := float64(r.Original) * f[i] / (2 * math.Pi) // within the original context
			switch {
			case turns < r.LowFreq:
				f[i] /= r.Factor
			case turns <= r.HighFreq:
				smooth := (turns - r.LowFreq) / (r.HighFreq - r.LowFreq)
				f[i] = (1-smooth)*f[i]/r.Factor + smooth*f[i]
			}
		}
	}
	return f
}

// turns are the rotations of the first positions: (positions, rotaryDim/2) each.
type turns struct{ cos, sin []float32 }

// extend adds positions until there are n.
func (t *turns) extend(frequencies []float64, n int) {
	for at := len(t.cos); at < n*len(frequencies); at++ {
		pos, i := at/len(frequencies), at%len(frequencies)
		sin, cos := math.Sincos(float64(pos) * frequencies[i])
		t.cos, t.sin = append(t.cos, float32(cos)), append(t.sin, float32(sin))
	}
}
