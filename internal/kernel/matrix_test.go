package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

// nmseMul bounds a product against float64, measured by the size of its terms. The
// largest observed over all tests here was 2.0e-14, of generic code.
const nmseMul = 1e-13

// A product is one multiplication with all its buffers guarded.
type product struct {
	k, n, rows     int
	w              []float32 // (n, k)
	a, c           []float32
	lda, ldc       int
	aIntact, check func() bool
}

// newProduct makes weights that are exact in bfloat16, so that both kinds of matrix
// hold the same.
func newProduct(seed, k, n, rows, lda, ldc, offset int) *product {
	r := newRand(seed)
	p := &product{k: k, n: n, rows: rows, lda: lda, ldc: ldc, w: make([]float32, n*k)}
	fill(r, p.w, 1)
	for i, v := range p.w {
		p.w[i] = math.Float32frombits(math.Float32bits(v) &^ 0xffff)
	}
	p.a, p.aIntact = guarded(max(0, rows-1)*lda+min(1, rows)*k, offset)
	p.c, p.check = guarded(max(0, rows-1)*ldc+min(1, rows)*n, (offset+5)%16)
	// What lies between rows is canaries, and stays so.
	for i := range rows {
		fill(r, p.a[i*lda:][:k], 1)
		fill(r, p.c[i*ldc:][:n], 1)
	}
	return p
}

func (p *product) pack(kind string) *Matrix {
	if kind == "bf16" {
		return PackBF16(func(j int, dst []uint16) {
			for i := range dst {
				dst[i] = uint16(math.Float32bits(p.w[j*p.k+i]) >> 16)
			}
		}, p.k, p.n)
	}
	return Pack(func(j int, dst []float32) { copy(dst, p.w[j*p.k:][:p.k]) }, p.k, p.n)
}

// verify compares p.c with the product in float64 of the first k inputs and of
// outputs n0 to n1; before is p.c as it was.
func (p *product) verify(before []float32, k, n0, n1 int, add bool) error {
	var got []float32
	var want, size []float64
	for i := range p.rows {
		for j := range p.ldc {
			at := i*p.ldc + j
			if at >= len(p.c) {
				break
			}
			if j < n0 || j >= n1 {
				if math.Float32bits(p.c[at]) != math.Float32bits(before[at]) {
					return fmt.Errorf("c[%d][%d] was written", i, j)
				}
				continue
			}
			var s, abs float64
			if add {
				s = float64(before[at])
				abs = math.Abs(s)
			}
			for q := range k {
				v := float64(p.a[i*p.lda+q]) * float64(p.w[j*p.k+q])
				s += v
				abs += math.Abs(v)
			}
			got, want, size = append(got, p.c[at]), append(want, s), append(size, abs)
		}
	}
	if !p.check() || !p.aIntact() {
		return fmt.Errorf("wrote outside c")
	}
	if e := nmse(got, want, size); e > nmseMul {
		return fmt.Errorf("NMSE %g, want at most %g", e, nmseMul)
	}
	return nil
}

var kinds = []string{"f32", "bf16"}

// TestMul lets each of the three lengths run from 0 to 257 while the others are
// small, at all alignments, with strides that leave gaps.
func TestMul(t *testing.T) {
	type shape struct{ k, n, rows int }
	var tests []shape
	for l := range 258 {
		tests = append(tests, shape{l, 5, 3}, shape{l, 37, 2}, shape{7, l, 2}, shape{33, l, 13}, shape{6, 40, l})
	}
	for rows := range 40 { // every height of a tile, and how heights are mixed
		tests = append(tests, shape{17, 64, rows}, shape{64, 33, rows})
	}
	for _, k := range []int{767, 768, 769, 1536, 2048, 2049, 5000} { // cuts in k
		tests = append(tests, shape{k, 35, 3}, shape{k, 32, 100})
	}
	tests = append(tests, shape{2000, 40, 200}) // cuts in the rows
	if raceEnabled {
		tests = []shape{{100, 70, 30}} // the reference is too slow under the detector
	}
	eachImplementation(t, func(t *testing.T) {
		for _, kind := range kinds {
			for i, s := range tests {
				p := newProduct(i, s.k, s.n, s.rows, s.k+i%3, s.n+i%5, i%16)
				m := p.pack(kind)
				before := append([]float32(nil), p.c...)
				m.MulRange(p.c, p.ldc, p.a, p.lda, p.rows, 0, p.n)
				if err := p.verify(before, p.k, 0, p.n, false); err != nil {
					t.Fatalf("%s: Mul %+v: %v", kind, s, err)
				}
				copy(before, p.c)
				m.MulAddRange(p.c, p.ldc, p.a, p.lda, p.rows, 0, p.n)
				if err := p.verify(before, p.k, 0, p.n, true); err != nil {
					t.Fatalf("%s: MulAdd %+v: %v", kind, s, err)
				}
			}
		}
	})
}

// TestMulRange cuts outputs and inputs at every place.
func TestMulRange(t *testing.T) {
	step := 1
	if raceEnabled {
		step = 19
	}
	eachImplementation(t, func(t *testing.T) {
		for _, kind := range kinds {
			const k, n, rows = 21, 75, 15
			m := newProduct(1, k, n, rows, k, n, 0).pack(kind)
			for n0 := 0; n0 < n; n0 += step {
				for n1 := n0; n1 <= n; n1 += 1 + n0%3 {
					p := newProduct(1, k, n, rows, k+1, n+2, n0%16)
					before := append([]float32(nil), p.c...)
					m.MulRange(p.c, p.ldc, p.a, p.lda, rows, n0, n1)
					if err := p.verify(before, k, n0, n1, false); err != nil {
						t.Fatalf("%s: MulRange %d to %d: %v", kind, n0, n1, err)
					}
				}
			}
		}
	})
}

// TestMulCutsChangeNothing: the bits of an element depend on no cut of rows, columns
// or inputs, not on the kind of matrix, and not on the width of the registers.
func TestMulCutsChangeNothing(t *testing.T) {
	var first []float32
	firstName := ""
	eachImplementation(t, func(t *testing.T) {
		for _, kind := range kinds {
			for _, s := range []struct{ k, n, rows int }{{50, 70, 110}, {1700, 40, 120}} {
				p := newProduct(3, s.k, s.n, s.rows, s.k, s.n, 0)
				m := p.pack(kind)
				m.Mul(p.c, p.a, s.rows)
				whole := append([]float32(nil), p.c...)
				if s.k == 50 && Implementation() != "generic" {
					if first == nil {
						first, firstName = whole, Implementation()
					} else if !sameBits(whole, first) {
						t.Errorf("%s, %s differs from %s, f32", Implementation(), kind, firstName)
					}
				}
				for i := range s.rows {
					m.Mul(p.c[i*s.n:], p.a[i*s.k:], 1)
				}
				if !sameBits(p.c, whole) {
					t.Errorf("%s: row by row differs from all rows at once", kind)
				}
				for j := range s.n {
					m.MulRange(p.c, s.n, p.a, s.k, s.rows, j, j+1)
				}
				if !sameBits(p.c, whole) {
					t.Errorf("%s: column by column differs from all columns at once", kind)
				}
				clear(p.c)
				half := s.k / 2
				lower := Pack(func(j int, dst []float32) { copy(dst, p.w[j*s.k:]) }, half, s.n)
				upper := Pack(func(j int, dst []float32) { copy(dst, p.w[j*s.k+half:]) }, s.k-half, s.n)
				lower.MulRange(p.c, s.n, p.a, s.k, s.rows, 0, s.n)
				upper.MulAddRange(p.c, s.n, p.a[half:], s.k, s.rows, 0, s.n)
				if !sameBits(p.c, whole) {
					t.Errorf("%s: two halves of the inputs differ from all inputs at once", kind)
				}
			}
		}
	})
}

// TestMulSpecialValues: a NaN or an infinity in a row of activations stays in its
// row, one in a row of weights in its column.
func TestMulSpecialValues(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for _, kind := range kinds {
			for _, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
				const k, n, rows = 37, 45, 100
				p := newProduct(4, k, n, rows, k, n, 0)
				p.w[40*k+11] = v
				p.a[33*k+36] = v
				before := append([]float32(nil), p.c...)
				p.pack(kind).Mul(p.c, p.a, rows)
				if err := p.verify(before, k, 0, n, false); err != nil {
					t.Errorf("%s: with %v: %v", kind, v, err)
				}
			}
		}
	})
}

// TestSet fills a matrix in pieces and compares with one that was packed at once.
func TestSet(t *testing.T) {
	m := new(Matrix)
	for _, s := range []struct{ k, n int }{{70, 90}, {8, 200}, {64, 33}, {3, 3}, {200, 8}} {
		const stride = 205
		x := make([]float32, stride*max(s.k, s.n))
		fill(newRand(s.k), x, 1)
		a, want, got := make([]float32, s.k), make([]float32, s.n), make([]float32, s.n)
		fill(newRand(5), a, 1)

		Pack(func(j int, dst []float32) { copy(dst, x[j*stride:]) }, s.k, s.n).Mul(want, a, 1)
		m.reset(s.k, s.n)
		for j := 0; j < s.n; j += 13 {
			m.setColumns(j, x[j*stride:], stride, min(13, s.n-j))
		}
		m.Mul(got, a, 1)
		if !sameBits(got, want) {
			t.Errorf("%+v: setColumns differs from Pack", s)
		}
	}
}

func TestMatrixMemory(t *testing.T) {
	p := newProduct(1, 10, 33, 1, 10, 33, 0)
	if got, want := p.pack("f32").Bytes(), 10*64*4; got != want {
		t.Errorf("float32: Bytes() = %d, want %d", got, want)
	}
	m := p.pack("bf16")
	if got, want := m.Bytes(), 10*64*2; got != want {
		t.Errorf("bfloat16: Bytes() = %d, want %d", got, want)
	}
	if k, n := m.Dims(); k != 10 || n != 33 {
		t.Errorf("Dims() = %d, %d, want 10, 33", k, n)
	}
}

func TestMulAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector drops pooled memory at random")
	}
	eachImplementation(t, func(t *testing.T) {
		for _, kind := range kinds {
			p := newProduct(1, 64, 70, 110, 64, 70, 0)
			m, s := p.pack(kind), new(Matrix)
			s.reset(64, 70)
			if n := testing.AllocsPerRun(100, func() {
				m.Mul(p.c, p.a, 110)
				m.MulAddRange(p.c, 70, p.a, 64, 5, 3, 69)
				s.reset(64, 60)
				s.setColumns(0, p.a, 64, 60)
				softmax(p.c)
				Dot(p.a, p.a)
				Axpy(p.a, 1, p.a)
				DotRows(p.c[:10], p.a[:64], p.a, 64)
			}); n > 0 {
				t.Errorf("%s: %v allocations, want none", kind, n)
			}
		}
	})
}

// TestMulConcurrently shares one matrix and one result among goroutines that take
// rows and columns of their own. The race detector watches the generic code.
func TestMulConcurrently(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for _, kind := range kinds {
			const k, n, rows = 60, 130, 200
			p := newProduct(1, k, n, rows, k, n, 0)
			m := p.pack(kind)
			m.Mul(p.c, p.a, rows)
			want := append([]float32(nil), p.c...)
			clear(p.c)
			var wg sync.WaitGroup
			for i := 0; i < rows; i += 100 {
				for j := 0; j < n; j += 40 { // panels are cut in two
					wg.Go(func() {
						m.MulRange(p.c[i*n:], n, p.a[i*k:], k, 100, j, min(j+40, n))
					})
				}
			}
			wg.Wait()
			if !sameBits(p.c, want) {
				t.Errorf("%s: goroutines together differ from one", kind)
			}
		}
	})
}

func TestMulMisuse(t *testing.T) {
	p := newProduct(1, 4, 5, 3, 4, 5, 0)
	m, b := p.pack("f32"), p.pack("bf16")
	x := make([]float32, 100)
	for name, f := range map[string]func(){
		"short a":         func() { m.Mul(p.c, p.a[:11], 3) },
		"short c":         func() { m.Mul(p.c[:14], p.a, 3) },
		"negative rows":   func() { m.Mul(p.c, p.a, -1) },
		"more rows":       func() { m.Mul(p.c, p.a, math.MaxInt) },
		"narrow lda":      func() { m.MulRange(x, 5, x, 3, 2, 0, 5) },
		"narrow ldc":      func() { m.MulRange(x, 4, x, 4, 2, 0, 5) },
		"negative lda":    func() { m.MulRange(x, 5, x, -4, 2, 0, 5) },
		"columns outside": func() { m.MulRange(x, 6, x, 4, 2, 0, 6) },
		"columns turned":  func() { m.MulRange(x, 6, x, 4, 2, 3, 2) },
		"set outside":     func() { m.setColumns(4, x, 4, 2) },
		"set short":       func() { m.setColumns(0, x[:5], 4, 2) },
		"set bfloat16":    func() { b.setColumns(0, x, 4, 2) },
		"negative shape":  func() { m.reset(-1, 2) },
		"huge shape":      func() { m.reset(math.MaxInt/8, 64) },
	} {
		if !panics(f) {
			t.Errorf("%s: no panic with the package name", name)
		}
	}
}

// FuzzMul compares every implementation with float64 on shapes, strides and ranges
// that the fuzzer picks.
func FuzzMul(f *testing.F) {
	f.Add(int64(1), uint16(8), uint16(8), uint8(1), uint8(0), uint16(0), uint16(8), false)
	f.Add(int64(2), uint16(64), uint16(96), uint8(13), uint8(3), uint16(31), uint16(65), true)
	f.Add(int64(3), uint16(800), uint16(33), uint8(70), uint8(9), uint16(0), uint16(33), true)
	f.Fuzz(func(t *testing.T, seed int64, k, n uint16, rows, offset uint8, n0, n1 uint16, add bool) {
		p := newProduct(int(seed), int(k)%3000, int(n)%300, int(rows), int(k)%3000+int(offset)%7, int(n)%300+int(offset)%5, int(offset)%16)
		from := int(n0) % (p.n + 1)
		to := from + int(n1)%(p.n-from+1)
		before := append([]float32(nil), p.c...)
		for _, name := range Implementations() {
			for _, kind := range kinds {
				restore, _ := Use(name)
				copy(p.c, before)
				m := p.pack(kind)
				m.mul(p.c, p.ldc, p.a, p.lda, p.rows, p.k, from, to, add)
				restore()
				if err := p.verify(before, p.k, from, to, add); err != nil {
					t.Errorf("%s, %s: K=%d N=%d rows=%d, %d to %d, add %v: %v", name, kind, p.k, p.n, p.rows, from, to, add, err)
				}
			}
		}
	})
}

// shapes are the products of SmolLM2-135M's and of nano's blocks: K inputs, N
// outputs.
var shapes = []struct{ k, n int }{
	{576, 576}, {576, 192}, {576, 1536}, {1536, 576}, // SmolLM2-135M
	{256, 256}, {256, 704}, {704, 256}, // nano
}

// BenchmarkMul goes round among matrices of 32 MiB of float32 in all, so that the
// weights come from beyond the second-level cache, as they do in a forward pass.
func BenchmarkMul(b *testing.B) {
	for _, name := range Implementations() {
		for _, kind := range kinds {
			for _, s := range shapes {
				var ms []*Matrix
				for _, rows := range []int{1, 4, 12, 32, 128, 512} {
					b.Run(fmt.Sprintf("%s/%s/K=%d,N=%d/M=%d", name, kind, s.k, s.n, rows), func(b *testing.B) {
						restore, _ := Use(name)
						defer restore()
						for len(ms) <= (32<<20)/(s.k*s.n*4) {
							ms = append(ms, newProduct(len(ms), s.k, s.n, 0, 0, 0, 0).pack(kind))
						}
						a, c := make([]float32, rows*s.k), make([]float32, rows*s.n)
						fill(rand.New(rand.NewPCG(1, 1)), a, 1)
						b.ReportAllocs()
						i := 0
						for b.Loop() {
							ms[i%len(ms)].Mul(c, a, rows)
							i++
						}
						b.ReportMetric(2*float64(s.k*s.n*rows)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
					})
				}
			}
		}
	}
}

func BenchmarkPack(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			p := newProduct(1, 576, 1536, 0, 0, 0, 0)
			b.SetBytes(int64(4 * len(p.w)))
			for b.Loop() {
				p.pack(kind)
			}
		})
	}
}
