package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// shapes are the products of SmolLM2-135M's and of nano's blocks: K inputs, N
// outputs.
var shapes = []struct{ k, n int }{
	{576, 576}, {576, 192}, {576, 1536}, {1536, 576}, // SmolLM2-135M
	{256, 256}, {256, 704}, {704, 256}, // nano
}

// BenchmarkMul walks through as many matrices as a model of 30 blocks has, so that
// the weights come from where they would come in a forward pass.
func BenchmarkMul(b *testing.B) {
	for _, name := range Implementations()[1:] {
		for _, kind := range []string{"f32", "bf16"} {
			for _, s := range shapes {
				ms := make([]*Matrix, 1+(32<<20)/(s.k*s.n*4))
				for i := range ms {
					ms[i] = randomMatrix(kind, s.k, s.n)
				}
				for _, rows := range []int{1, 4, 12, 32, 128, 512} {
					b.Run(fmt.Sprintf("%s/%s/K=%d,N=%d/M=%d", name, kind, s.k, s.n, rows), func(b *testing.B) {
						restore, _ := Use(name)
						defer restore()
						a, c := make([]float32, rows*s.k), make([]float32, rows*s.n)
						for i := range a {
							a[i] = rand.Float32() - 0.5
						}
						b.ReportAllocs()
						i := 0
						for b.Loop() {
							ms[i%len(ms)].Mul(c, a, rows)
							i++
						}
						b.ReportMetric(2*float64(s.k*s.n*rows)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
						b.ReportMetric(0, "ns/op")
					})
				}
			}
		}
	}
}

func randomMatrix(kind string, k, n int) *Matrix {
	if kind == "bf16" {
		return PackBF16(func(_ int, dst []uint16) {
			for i := range dst {
				dst[i] = uint16(0x3f00 + rand.IntN(0x80) + rand.IntN(2)<<15)
			}
		}, k, n)
	}
	return Pack(func(_ int, dst []float32) {
		for i := range dst {
			dst[i] = rand.Float32() - 0.5
		}
	}, k, n)
}
