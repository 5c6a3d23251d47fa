package lm

import (
	"fmt"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
)

// Arithmetic is how a model multiplies. Everything else, norms, exponentials and the
// residual stream, is float32 either way.
type Arithmetic uint8

const (
	// F32 multiplies in float32, by the weights as they are.
	F32 Arithmetic = iota
	// Int8 multiplies by the weights in eight bits with 32-bit sums: weights have a scale
	// for each output, activations one for each token ([kernel.Int8Matrix]). Attention,
	// which has no weights, multiplies in bfloat16 ([kernel.BFloat16]). Faster, half the
	// memory of bfloat16, and near float32 but not equal to it.
	Int8
)

// attention is the format in which attention multiplies.
func (a Arithmetic) attention() kernel.Format {
	if a == Int8 {
		return kernel.BFloat16
	}
	return kernel.Float32
}

// String returns the name that codebooks and settings use: "f32" or "int8".
func (a Arithmetic) String() string {
	switch a {
	case F32:
		return "f32"
	case Int8:
		return "int8"
	}
	return fmt.Sprintf("arithmetic(%d)", uint8(a))
}

// ParseArithmetic is the inverse of [Arithmetic.String].
func ParseArithmetic(name string) (Arithmetic, error) {
	for _, a := range []Arithmetic{F32, Int8} {
		if a.String() == name {
			return a, nil
		}
	}
	return 0, fmt.Errorf("lm: no arithmetic %.20q, want f32 or int8", name)
}

// linear is a projection with its bias: W·x + b. One of its matrices is nil.
type linear struct {
	f32  *kernel.Matrix
	bias []float32          // of f32: (outputs) or nil
	int8 *kernel.Int8Matrix // with its bias
}

// outputs returns the width of what mul makes.
func (l *linear) outputs() (n int) {
	if l.int8 != nil {
		_, n = l.int8.Dims()
	} else {
		_, n = l.f32.Dims()
	}
	return n
}

func (l *linear) bytes() int {
	if l.int8 != nil {
		return l.int8.Bytes()
	}
	return l.f32.Bytes() + 4*len(l.bias)
}

// mul computes c = x·Wᵀ + b for n rows of x.
func (l *linear) mul(s *scratch, c, x []float32, n int) {
	if l.int8 != nil {
		_, outputs := l.int8.Dims()
		l.int8.Mul(c, outputs, s.quantize(l.int8, x, n), 0, outputs)
		return
	}
	l.f32.Mul(c, x, n)
	addBias(c, l.bias, n)
}

// mulActivate computes c = activation(x·Wᵀ + b) for n rows of x. c has room for all
// outputs, though only half of them come out of a gated activation.
func (l *linear) mulActivate(a Activation, s *scratch, c, x []float32, n int) {
	if l.int8 != nil && a == SwiGLU {
		_, outputs := l.int8.Dims()
		l.int8.MulSwiGLU(c, outputs, s.quantize(l.int8, x, n), 0, outputs)
		return
	}
	l.mul(s, c, x, n)
	switch a {
	case SwiGLU:
		gate(c, l.outputs()/2, n, kernel.SwiGLU)
	case GEGLU:
		gate(c, l.outputs()/2, n, geglu)
	case GELU:
		kernel.GELU(c[:n*l.outputs()])
	case GELUTanh:
		kernel.GELUTanh(c[:n*l.outputs()])
	}
}

// gate replaces n rows (2*width), gates first, by n rows (width).
func gate(x []float32, width, n int, f func(dst, gate, up []float32)) {
	for i := range n {
		f(x[i*width:][:width], x[2*i*width:][:width], x[(2*i+1)*width:][:width]) // never beyond the gate
	}
}

// geglu computes dst = gelu(gate)·up. It overwrites gate.
func geglu(dst, gate, up []float32) {
	kernel.GELUTanh(gate)
	kernel.Multiply(gate, up)
	copy(dst, gate)
}

// quantize makes n rows of inputs of m of x.
func (s *scratch) quantize(m *kernel.Int8Matrix, x []float32, n int) *kernel.Int8Rows {
	k, _ := m.Dims()
	s.rows.Reset(n, k)
	for i := range n {
		s.rows.Set(i, x[i*k:][:k])
	}
	return &s.rows
}

// addBias adds bias to each of n rows; nil is none.
func addBias(x, bias []float32, n int) {
	for i := range n {
		if len(bias) > 0 {
			kernel.Add(x[i*len(bias):][:len(bias)], bias)
		}
	}
}
