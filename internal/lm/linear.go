package lm

import (
	"fmt"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
)

// Arithmetic is how a model multiplies by its matrices. Everything else, norms,
// attention and the residual stream, is float32 either way.
type Arithmetic uint8

const (
	// F32 multiplies in float32 with the weights as they are.
	F32 Arithmetic = iota
	// Int8 multiplies in eight bits with 32-bit sums: weights have a scale for each output,
	// activations one for each token ([kernel.Int8Matrix]). Faster, half the memory of
	// bfloat16, and near float32 but not equal to it.
	Int8
)

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

// mulSwiGLU computes c = silu(gate)·up for the two halves of a gated projection
// and n rows of x. c has room for both halves.
func (l *linear) mulSwiGLU(s *scratch, c, x []float32, n int) {
	if l.int8 != nil {
		_, outputs := l.int8.Dims()
		l.int8.MulSwiGLU(c, outputs, s.quantize(l.int8, x, n), 0, outputs)
		return
	}
	l.mul(s, c, x, n)
	_, both := l.f32.Dims()
	for i := range n {
		gate, up := c[i*both:][:both/2], c[i*both+both/2:][:both/2]
		kernel.SwiGLU(c[i*both/2:][:both/2], gate, up) // never beyond gate
	}
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
