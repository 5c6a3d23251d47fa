package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// An operation describes one vector operation over buffers of lengths that follow
// from n.
type operation struct {
	name string
	// lens are the lengths of the buffers; the first outs of them are written.
	lens func(n int) []int
	outs int
	run  func(b [][]float32)
	// want computes the same, plainly, in float64.
	want func(b [][]float64)
	// cancels: want is a sum of products whose terms may cancel. The same over the
	// absolute values of the buffers is then what the error is measured by.
	cancels bool
	// bound of the NMSE; beside each is the largest that TestVectorOperations observed
	// in any implementation.
	bound float64
}

const testRows = 7 // of DotRows and AxpyRows: groups of 4, 2 and 1

func equalLens(buffers int) func(int) []int {
	return func(n int) []int {
		l := make([]int, buffers)
		for i := range l {
			l[i] = n
		}
		return l
	}
}

// strided returns the length of testRows rows of n with a stride of n+3.
func strided(n int) int { return (testRows-1)*(n+3) + n }

var operations = []operation{
	{
		name: "Dot", outs: 1, cancels: true, bound: 1e-13, // 1.4e-14
		lens: func(n int) []int { return []int{1, n, n} },
		run:  func(b [][]float32) { b[0][0] = Dot(b[1], b[2]) },
		want: func(b [][]float64) { b[0][0] = dot64(b[1], b[2]) },
	},
	{
		name: "DotRows", outs: 1, cancels: true, bound: 1e-13, // 3.6e-15
		lens: func(n int) []int { return []int{testRows, n, strided(n)} },
		run:  func(b [][]float32) { DotRows(b[0], b[1], b[2], len(b[1])+3) },
		want: func(b [][]float64) {
			n := len(b[1])
			for i := range b[0] {
				b[0][i] = dot64(b[1], b[2][i*(n+3):][:n])
			}
		},
	},
	{
		name: "Axpy", outs: 1, cancels: true, bound: 1e-13, // 2.7e-15
		lens: func(n int) []int { return []int{n, n, 1} },
		run:  func(b [][]float32) { Axpy(b[0], b[2][0], b[1]) },
		want: func(b [][]float64) {
			for i := range b[0] {
				b[0][i] += b[2][0] * b[1][i]
			}
		},
	},
	{
		name: "AxpyRows", outs: 1, cancels: true, bound: 1e-13, // 6.3e-15
		lens: func(n int) []int { return []int{n, testRows, strided(n)} },
		run:  func(b [][]float32) { AxpyRows(b[0], b[1], b[2], len(b[0])+3) },
		want: func(b [][]float64) {
			n := len(b[0])
			for i, w := range b[1] {
				for j := range n {
					b[0][j] += w * b[2][i*(n+3)+j]
				}
			}
		},
	},
	{
		name: "Add", outs: 1, cancels: true, bound: 1e-13, // 2.2e-15
		lens: equalLens(2),
		run:  func(b [][]float32) { Add(b[0], b[1]) },
		want: func(b [][]float64) {
			for i := range b[0] {
				b[0][i] += b[1][i]
			}
		},
	},
	{
		name: "RMSNorm", outs: 1, bound: 1e-13, // 1.5e-14
		lens: equalLens(3),
		run:  func(b [][]float32) { RMSNorm(b[0], b[1], b[2], 1e-5) },
		want: func(b [][]float64) {
			inv := 1 / math.Sqrt(dot64(b[1], b[1])/float64(len(b[1]))+float64(float32(1e-5)))
			for i := range b[0] {
				b[0][i] = b[1][i] * inv * b[2][i]
			}
		},
	},
	{
		name: "LayerNorm", outs: 1, bound: 1e-11, // 9.5e-13, at length 2, where the values may be close
		lens: equalLens(4),
		run:  func(b [][]float32) { LayerNorm(b[0], b[1], b[2], b[3], 1e-5) },
		want: func(b [][]float64) {
			n, mean, variance := float64(len(b[1])), 0.0, 0.0
			for _, v := range b[1] {
				mean += v / n
			}
			for _, v := range b[1] {
				variance += (v - mean) * (v - mean) / n
			}
			for i, v := range b[1] {
				b[0][i] = (v-mean)/math.Sqrt(variance+float64(float32(1e-5)))*b[2][i] + b[3][i]
			}
		},
	},
	{
		name: "Softmax", outs: 1, bound: 1e-13, // 5.9e-14
		lens: equalLens(1),
		run:  func(b [][]float32) { softmax(b[0]) },
		want: func(b [][]float64) {
			m, sum := math.Inf(-1), 0.0
			for _, v := range b[0] {
				m = max(m, v)
			}
			for i := range b[0] {
				b[0][i] = math.Exp(b[0][i] - m)
				sum += b[0][i]
			}
			for i := range b[0] {
				b[0][i] /= sum
			}
		},
	},
	{
		name: "SwiGLU", outs: 1, bound: 1e-13, // 1.6e-14
		lens: equalLens(3),
		run:  func(b [][]float32) { SwiGLU(b[0], b[1], b[2]) },
		want: func(b [][]float64) {
			for i := range b[0] {
				b[0][i] = b[1][i] / (1 + math.Exp(-b[1][i])) * b[2][i]
			}
		},
	},
	{
		name: "GELU", outs: 1, bound: 1e-12, // 1.4e-13
		lens: equalLens(1),
		run:  func(b [][]float32) { GELU(b[0]) },
		want: func(b [][]float64) {
			for i, v := range b[0] {
				b[0][i] = v * math.Erfc(-v/math.Sqrt2) / 2
			}
		},
	},
	{
		name: "GELUTanh", outs: 1, bound: 1e-12, // 3.8e-13
		lens: equalLens(1),
		run:  func(b [][]float32) { GELUTanh(b[0]) },
		want: func(b [][]float64) {
			for i, v := range b[0] {
				b[0][i] = v / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
			}
		},
	},
	{
		name: "Multiply", outs: 1, bound: 1e-13, // 2.4e-15
		lens: equalLens(2),
		run:  func(b [][]float32) { Multiply(b[0], b[1]) },
		want: func(b [][]float64) {
			for i := range b[0] {
				b[0][i] *= b[1][i]
			}
		},
	},
	{
		name: "Rope", outs: 1, cancels: true, bound: 1e-13, // 9.2e-15
		lens: func(n int) []int { return []int{2 * n, n, n} },
		run:  func(b [][]float32) { Rope(b[0], b[1], b[2]) },
		want: func(b [][]float64) {
			n := len(b[1])
			for i := range n {
				x, y := b[0][i], b[0][n+i]
				b[0][i] = x*b[1][i] - y*b[2][i]
				b[0][n+i] = y*b[1][i] + x*b[2][i]
			}
		},
	},
}

func dot64(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// buffers makes the guarded buffers of an operation, each at an offset of its own.
func (o operation) buffers(n, offset int) (b [][]float32, intact func() bool) {
	var checks []func() bool
	for i, l := range o.lens(n) {
		x, check := guarded(l, (offset+5*i)%16)
		b, checks = append(b, x), append(checks, check)
	}
	return b, func() bool {
		for _, check := range checks {
			if !check() {
				return false
			}
		}
		return true
	}
}

func widen(b [][]float32) [][]float64 {
	w := make([][]float64, len(b))
	for i := range b {
		w[i] = make([]float64, len(b[i]))
		for j, v := range b[i] {
			w[i][j] = float64(v)
		}
	}
	return w
}

// expect returns what o makes of buffers b, in float64, and the size of the terms.
func (o operation) expect(b [][]float32) (want, size []float64) {
	w := widen(b)
	if o.cancels {
		abs := widen(b)
		for _, x := range abs {
			for i, v := range x {
				x[i] = math.Abs(v)
			}
		}
		o.want(abs)
		o.want(w)
		return w[0], abs[0]
	}
	o.want(w)
	return w[0], w[0]
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

// TestVectorOperations runs lengths 0 to 257 at all alignments: the result against
// float64, the canaries, and the inputs, which must be what they were.
func TestVectorOperations(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for _, o := range operations {
			r := newRand(1)
			worst := 0.0
			step := 1
			if raceEnabled {
				step = 11
			}
			for n := range 258 {
				for offset := 0; offset < 16; offset += step {
					b, intact := o.buffers(n, offset)
					for _, x := range b {
						fill(r, x, 3)
					}
					want, size := o.expect(b)
					inputs := widen(b[o.outs:])
					o.run(b)
					if !intact() {
						t.Fatalf("%s: length %d, offset %d: wrote outside its buffers", o.name, n, offset)
					}
					for i, in := range inputs {
						if !sameBits(narrow(in), b[o.outs+i]) {
							t.Fatalf("%s: length %d, offset %d: wrote to an input", o.name, n, offset)
						}
					}
					e := nmse(b[0], want, size)
					if worst = max(worst, e); e > o.bound {
						t.Fatalf("%s: length %d, offset %d: NMSE %g, want at most %g", o.name, n, offset, e, o.bound)
					}
				}
			}
			t.Logf("%s: NMSE %.2g", o.name, worst)
		}
	})
}

// TestVectorOperationsInPlace lets the output be an input where that is allowed.
func TestVectorOperationsInPlace(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for n := range 70 {
			r := newRand(n)
			x, y, apart := make([]float32, n), make([]float32, n), make([]float32, n)
			fill(r, x, 1)
			fill(r, y, 1)
			for name, f := range map[string]func(dst, x []float32){
				"RMSNorm":     func(dst, x []float32) { RMSNorm(dst, x, y, 1e-6) },
				"LayerNorm":   func(dst, x []float32) { LayerNorm(dst, x, y, y, 1e-6) },
				"SwiGLU gate": func(dst, x []float32) { SwiGLU(dst, x, y) },
				"SwiGLU up":   func(dst, x []float32) { SwiGLU(dst, y, x) },
			} {
				f(apart, x)
				in := append([]float32(nil), x...)
				f(in, in)
				if !sameBits(in, apart) {
					t.Errorf("%s: length %d: in place differs", name, n)
				}
			}
		}
	})
}

// TestVectorSpecialValues puts NaN and infinities at each place of short vectors.
// In float64 they give the same NaN and infinities, or finite values.
func TestVectorSpecialValues(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	quiet := math.Float32frombits(0xffc00001) // a NaN with a payload and a sign
	eachImplementation(t, func(t *testing.T) {
		for _, o := range operations {
			for _, n := range []int{1, 7, 16, 17, 33, 47, 70} {
				for _, v := range []float32{nan, quiet, inf, -inf} {
					for which := range o.lens(n) {
						for at := range o.lens(n)[which] {
							b, intact := o.buffers(n, at)
							for _, x := range b {
								fill(newRand(at), x, 1)
							}
							b[which][at] = v
							want, size := o.expect(b)
							o.run(b)
							if e := nmse(b[0], want, size); e > o.bound || !intact() {
								t.Fatalf("%s: length %d, %v at %d of buffer %d: NMSE %g, got %v, want %v",
									o.name, n, v, at, which, e, b[0], want)
							}
						}
					}
				}
			}
		}
	})
}

// softmax is what attention makes of a row of scores that fits in one block.
func softmax(x []float32) {
	if len(x) > 0 {
		multiply(x, 1/expSum(x, maximum(x)))
	}
}

func TestSoftmaxMasks(t *testing.T) {
	inf := float32(math.Inf(1))
	eachImplementation(t, func(t *testing.T) {
		for n := 2; n < 100; n++ {
			x := make([]float32, n)
			for i := range x {
				x[i] = -inf
			}
			x[n/2] = -1e30
			softmax(x)
			for i, v := range x {
				if want := float32(0); i != n/2 && v != want || i == n/2 && v != 1 {
					t.Fatalf("length %d: masked softmax = %v at %d", n, v, i)
				}
			}
		}
		// Far values vanish, near ones share.
		x := []float32{1e30, 0, -1e30, 1e30}
		softmax(x)
		if want := []float32{.5, 0, 0, .5}; !sameBits(x, want) {
			t.Errorf("Softmax = %v, want %v", x, want)
		}
	})
}

func TestSwiGLUFar(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for _, test := range []struct{ gate, want float32 }{
			{-1e30, 0}, {-200, 0}, {-89, 0}, {0, 0}, {88, 88}, {89, 89}, {200, 200}, {1e30, 1e30},
		} {
			dst := make([]float32, 19)
			gate, up := make([]float32, 19), make([]float32, 19)
			for i := range gate {
				gate[i], up[i] = test.gate, 1
			}
			SwiGLU(dst, gate, up)
			for _, v := range dst {
				if v != test.want {
					t.Fatalf("SwiGLU(%g, 1) = %g, want %g", test.gate, v, test.want)
				}
			}
		}
	})
}

// TestExpError holds the relative error that the documentation of expSumGeneric states,
// over the whole range of the exponential. Observed: 8.1e-8 generic, 8.3e-8 with FMA.
func TestExpError(t *testing.T) {
	const bound = 1e-7
	eachImplementation(t, func(t *testing.T) {
		worst, at := 0.0, float32(0)
		x := make([]float32, 1024)
		arg := make([]float32, len(x))
		for v := float32(0); v > expLow; {
			n := 0
			for n < len(x) && v > expLow {
				arg[n], x[n] = v, v
				v -= max(5e-5, -v*1e-6)
				n++
			}
			expSum(x[:n], 0)
			for i, got := range x[:n] {
				want := math.Exp(float64(arg[i]))
				if e := math.Abs(float64(got)-want) / want; e > worst {
					worst, at = e, arg[i]
				}
			}
		}
		t.Logf("relative error %.3g at %g", worst, at)
		if worst > bound {
			t.Errorf("relative error of exp(%g) is %g, want at most %g", at, worst, bound)
		}
	})
}

// TestGELUError holds the errors that the documentation of GELU states, and those of
// GELUTanh: relative to the value as far as that is a normal float32. Both come from
// rounding the exponent of the exponential, which grows with x² or more.
func TestGELUError(t *testing.T) {
	gelus := []struct {
		name       string
		f          func([]float32)
		want       func(x float64) float64
		near, tail float64 // bounds for x > -4, and for the tail divided by x²
	}{
		// Observed: 4.9e-7 and 3.8e-8.
		{"GELU", GELU, func(x float64) float64 { return x * math.Erfc(-x/math.Sqrt2) / 2 }, 1e-6, 1e-7},
		// Observed: 1.1e-6 and 1.3e-7.
		{"GELUTanh", GELUTanh, func(x float64) float64 {
			return x / (1 + math.Exp(-2*math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}, 2e-6, 3e-7},
	}
	eachImplementation(t, func(t *testing.T) {
		for _, g := range gelus {
			near, tail := 0.0, 0.0
			for v := -40.0; v < 40; v += 1e-3 {
				x := [1]float32{float32(v)}
				want := g.want(float64(x[0]))
				g.f(x[:])
				if math.Abs(want) < 0x1p-110 {
					if math.Abs(float64(x[0])) > 0x1p-110 {
						t.Fatalf("%s(%g) = %g, want %g", g.name, v, x[0], want)
					}
					continue
				}
				e := math.Abs(float64(x[0])-want) / math.Abs(want)
				if v > -4 {
					near = max(near, e)
				} else {
					tail = max(tail, e/(v*v))
				}
			}
			t.Logf("%s: relative error %.2g, tail %.2g·x²", g.name, near, tail)
			if near > g.near || tail > g.tail {
				t.Errorf("%s: relative error %.2g, tail %.2g·x², want at most %g and %g", g.name, near, tail, g.near, g.tail)
			}
		}
	})
}

// TestLayerNormMean: a mean far above the deviations, as massive activations make it,
// costs no digits but those that the values have lost already.
func TestLayerNormMean(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		x, ones, zeros := make([]float32, 576), make([]float32, 576), make([]float32, 576)
		for i := range x {
			x[i], ones[i] = 1e4+float32(i%2), 1
		}
		LayerNorm(x, x, ones, zeros, 0)
		for i, v := range x {
			if want := float32(i%2)*2 - 1; math.Abs(float64(v-want)) > 1e-5 {
				t.Fatalf("value %d = %g, want %g", i, v, want)
			}
		}
	})
}

// TestVectorWidthsAgree: AVX2 and AVX-512 give the same bits.
func TestVectorWidthsAgree(t *testing.T) {
	names := Implementations()
	if len(names) < 3 {
		t.Skipf("needs two assembly implementations, this machine has %v", names)
	}
	for _, o := range operations {
		for n := range 258 {
			var results [][]float32
			for _, name := range names[1:] {
				restore, _ := Use(name)
				b, _ := o.buffers(n, n%16)
				for i, x := range b {
					fill(newRand(n+i), x, 5)
				}
				o.run(b)
				results = append(results, b[0])
				restore()
			}
			if !sameBits(results[0], results[1]) {
				t.Fatalf("%s: length %d: %v = %v and %v differ", o.name, n, names[1:], results[0], results[1])
			}
		}
	}
}

func TestVectorLengths(t *testing.T) {
	two, three := make([]float32, 2), make([]float32, 3)
	for name, f := range map[string]func(){
		"Dot":             func() { Dot(two, three) },
		"DotRows":         func() { DotRows(two, two, three, 2) },
		"DotRows stride":  func() { DotRows(two, two, three, 1) },
		"Axpy":            func() { Axpy(two, 1, three) },
		"AxpyRows":        func() { AxpyRows(two, two, three, 2) },
		"Add":             func() { Add(two, three) },
		"RMSNorm":         func() { RMSNorm(two, three, three, 0) },
		"RMSNorm weight":  func() { RMSNorm(two, two, three, 0) },
		"LayerNorm":       func() { LayerNorm(two, three, three, three, 0) },
		"LayerNorm bias":  func() { LayerNorm(two, two, two, three, 0) },
		"Multiply":        func() { Multiply(two, three) },
		"SwiGLU":          func() { SwiGLU(two, two, three) },
		"Rope odd length": func() { Rope(three, two[:1], two[:1]) },
		"Rope sin":        func() { Rope(two, two[:1], two) },
	} {
		if !panics(f) {
			t.Errorf("%s with wrong lengths did not panic with the package name", name)
		}
	}
}

// FuzzVector compares every implementation with the generic one on lengths,
// alignments and values that the fuzzer picks.
func FuzzVector(f *testing.F) {
	f.Add(uint8(0), uint16(5), uint8(3), int64(1), float32(1))
	f.Add(uint8(5), uint16(33), uint8(1), int64(2), float32(1e4))
	f.Add(uint8(6), uint16(257), uint8(15), int64(3), float32(30))
	f.Add(uint8(7), uint16(64), uint8(0), int64(4), float32(100))
	f.Fuzz(func(t *testing.T, op uint8, length uint16, offset uint8, seed int64, scale float32) {
		o := operations[int(op)%len(operations)]
		n := int(length) % 2000
		s := math.Abs(float64(scale))
		if !(s <= 1e6) {
			s = 1
		}
		var want, size []float64
		for _, name := range Implementations() {
			restore, _ := Use(name)
			b, intact := o.buffers(n, int(offset))
			r := rand.New(rand.NewPCG(uint64(seed), 2))
			for _, x := range b {
				fill(r, x, s)
			}
			if want == nil {
				_, size = o.expect(b)
			}
			o.run(b)
			restore()
			if !intact() {
				t.Fatalf("%s, %s: length %d: wrote outside its buffers", o.name, name, n)
			}
			if want == nil {
				want = widen(b[:1])[0]
			}
			if e := nmse(b[0], want, size); e > 100*o.bound {
				t.Errorf("%s, %s: length %d, scale %g: NMSE %g against generic", o.name, name, n, s, e)
			}
		}
	})
}

func BenchmarkVector(b *testing.B) {
	for _, name := range Implementations() {
		for _, o := range operations {
			n := map[string]int{"Rope": 32, "DotRows": 64, "AxpyRows": 64, "SwiGLU": 1536, "GELU": 1536, "GELUTanh": 1536, "Softmax": 512}[o.name]
			if n == 0 {
				n = 576
			}
			b.Run(fmt.Sprintf("%s/%s/%d", name, o.name, n), func(b *testing.B) {
				restore, _ := Use(name)
				defer restore()
				bufs, _ := o.buffers(n, 0)
				bytes := 0
				for i, x := range bufs {
					fill(newRand(i), x, .01)
					bytes += 4 * len(x)
				}
				b.SetBytes(int64(bytes))
				b.ReportAllocs()
				for b.Loop() {
					o.run(bufs)
				}
			})
		}
	}
}
