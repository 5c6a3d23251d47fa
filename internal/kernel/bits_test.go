package kernel

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"testing"
)

// exact fills x with values that every processor makes alike: small fractions, of
// both signs.
func exact(x []float32, seed uint32) {
	for i := range x {
		seed = seed*1664525 + 1013904223 // Numerical Recipes' generator
		x[i] = float32(int32(seed)>>12) / (1 << 17)
	}
}

// TestBitsAcrossProcessors: the assembly of every processor gives the same bits. The
// digests were taken from AVX-512 on 2026-11-24.
func TestBitsAcrossProcessors(t *testing.T) {
	const k, n, rows = 301, 70, 13
	a, w := make([]float32, rows*k), make([]float32, n*k)
	exact(a, 1)
	exact(w, 2)
	for i, v := range w { // exact in bfloat16
		w[i] = math.Float32frombits(math.Float32bits(v) &^ 0xffff)
	}
	tests := []struct {
		name string
		want uint64
		run  func() []float32
	}{
		{"Mul", 0x884ca83f752038bb, func() []float32 {
			c := make([]float32, rows*n)
			Pack(func(j int, dst []float32) { copy(dst, w[j*k:]) }, k, n).Mul(c, a, rows)
			return c
		}},
		{"Mul of bfloat16", 0x884ca83f752038bb, func() []float32 {
			c := make([]float32, rows*n)
			PackBF16(func(j int, dst []uint16) {
				for i := range dst {
					dst[i] = uint16(math.Float32bits(w[j*k+i]) >> 16)
				}
			}, k, n).Mul(c, a, rows)
			return c
		}},
		{"DotRows", 0x311d9341194703b2, func() []float32 {
			dst := make([]float32, rows)
			DotRows(dst, a[:k], w, k)
			return dst
		}},
		{"AxpyRows", 0x495d3de4dca8233a, func() []float32 {
			y := make([]float32, k)
			AxpyRows(y, a[:rows], w, k)
			return y
		}},
		{"RMSNorm", 0x01d0e6ba017bfa39, func() []float32 {
			y := make([]float32, k)
			RMSNorm(y, a[:k], w[:k], 1e-5)
			return y
		}},
		{"Softmax", 0x1a15d6f468bc0454, func() []float32 {
			y := append([]float32(nil), a[:k]...)
			softmax(y)
			return y
		}},
		{"SwiGLU", 0xf0323c8c18726652, func() []float32 {
			y := make([]float32, k)
			SwiGLU(y, a[:k], w[:k])
			return y
		}},
		{"LayerNorm", 0xbc72d6d6b7db214c, func() []float32 {
			y := make([]float32, k)
			LayerNorm(y, a[:k], w[:k], w[k:2*k], 1e-5)
			return y
		}},
		{"GELU", 0xddca03b535343d89, func() []float32 {
			y := append([]float32(nil), a[:k]...)
			GELU(y)
			return y
		}},
		{"GELUTanh", 0xab5fb2cac41258fd, func() []float32 {
			y := append([]float32(nil), a[:k]...)
			GELUTanh(y)
			return y
		}},
		{"Rope", 0xd7b1a131eb96dfe1, func() []float32 {
			y := append([]float32(nil), a[:120]...)
			Rope(y, w[:60], w[60:120])
			return y
		}},
	}
	for _, name := range Implementations()[1:] { // generic code does not ask for fused products
		restore, err := Use(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range tests {
			h := fnv.New64a()
			binary.Write(h, binary.LittleEndian, test.run())
			if got := h.Sum64(); got != test.want {
				t.Errorf("%s, %s: digest %#x, want %#x", name, test.name, got, test.want)
			}
		}
		restore()
	}
}
