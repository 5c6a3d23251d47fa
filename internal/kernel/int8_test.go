package kernel

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// An int8Case is a product in eight bits and everything that its reference needs.
type int8Case struct {
	k, n, rows int
	gated      bool
	w          []float32 // (outputs, k)
	bias       []float32 // (outputs) or nil
	a          []float32 // (rows, k)
	m          *Int8Matrix
	q          Int8Rows
}

func newInt8Case(t testing.TB, seed, k, n, rows int, gated, bias bool) *int8Case {
	r := newRand(seed)
	c := &int8Case{k: k, n: n, rows: rows, gated: gated}
	outputs := n
	if gated {
		outputs *= 2
	}
	c.w, c.a = make([]float32, outputs*k), make([]float32, rows*k)
	fill(r, c.w, 1/math.Sqrt(float64(max(1, k))))
	fill(r, c.a, 1)
	if bias {
		c.bias = make([]float32, outputs)
		fill(r, c.bias, 1)
	}
	if k > 20 { // Rows with outliers, few and many, and one with too many.
		for i := range rows {
			for l := range []int{0, 0, 1, 3, maxOutliers, maxOutliers + 1, k / 5}[i%7] {
				c.a[i*k+(l*k/7+i*l*l)%k] = float32(math.Copysign(float64(100*k*(l%11+1)), r.NormFloat64()))
			}
		}
	}
	c.pack(t)
	return c
}

func (c *int8Case) pack(t testing.TB) {
	t.Helper()
	pack := PackInt8
	if c.gated {
		pack = PackInt8Gated
	}
	var err error
	if c.m, err = pack(func(j int, dst []float32) { copy(dst, c.w[j*c.k:][:c.k]) }, c.bias, c.k, c.n); err != nil {
		t.Fatal(err)
	}
	c.quantize()
}

func (c *int8Case) quantize() {
	c.q.Reset(c.rows, c.k)
	for i := range c.rows {
		c.q.Set(i, c.a[i*c.k:][:c.k])
	}
}

// reference is the definition once more, without panels, groups or offsets, from the floats on.
// It returns outputs n0 to n1 of every row.
func (c *int8Case) reference(before []float32, ldc, n0, n1 int, e epilogue) []float32 {
	type row struct {
		q     []int
		scale float32
		out   map[int]float32
		order []int // of out
	}
	sum := func(x []float32, without map[int]float32) float32 { // of magnitudes
		var sums [32]float32
		for i, v := range x {
			if _, ok := without[i]; !ok {
				sums[i%32] += float32(math.Abs(float64(v)))
			}
		}
		for _, h := range []int{16, 8, 4, 2, 1} {
			for i := range h {
				sums[i] += sums[i+h]
			}
		}
		return sums[0]
	}
	quantized := func(x []float32, outliers bool) row {
		y := row{q: make([]int, len(x)), out: map[int]float32{}}
		if s := float64(sum(x, nil)); math.IsNaN(s) || math.IsInf(s, 0) {
			y.scale = float32(math.NaN())
			return y
		}
		order := make([]int, len(x)) // places, the largest value first
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(i, j int) int {
			return int(sign(math.Abs(float64(x[j])) - math.Abs(float64(x[i]))))
		})
		for outliers && len(y.out) < maxOutliers {
			// One round: those beyond the limit of the row as it is now.
			limit, found := outlierRatio*(sum(x, y.out)/float32(len(x))), len(y.out)
			for _, i := range order {
				if _, ok := y.out[i]; !ok && len(y.out) < maxOutliers && float32(math.Abs(float64(x[i]))) > limit {
					y.out[i] = x[i]
					y.order = append(y.order, i)
				}
			}
			if len(y.out) == found {
				break
			}
		}
		most := float32(0)
		for i, v := range x {
			if _, ok := y.out[i]; !ok {
				most = max(most, float32(math.Abs(float64(v))))
			}
		}
		if most < 0x1p-100 {
			return y
		}
		y.scale = most / 127
		s := 127 / most
		for i, v := range x {
			if _, ok := y.out[i]; !ok {
				y.q[i] = int(math.RoundToEven(float64(v * s)))
			}
		}
		return y
	}
	outputs := len(c.w) / max(1, c.k)
	if c.k == 0 {
		outputs = c.n
		if c.gated {
			outputs *= 2
		}
	}
	w := make([]row, outputs)
	for j := range w {
		w[j] = quantized(c.w[j*c.k:][:c.k], false)
	}
	var got []float32
	for i := range c.rows {
		a := quantized(c.a[i*c.k:][:c.k], true)
		linear := func(j int) float32 {
			s := 0
			for p, v := range a.q {
				s += v * w[j].q[p]
			}
			x := float32(float32(s) * a.scale)
			extra := float32(0)
			for _, p := range a.order {
				extra += float32(a.out[p] * float32(w[j].q[p]))
			}
			b := float32(0)
			if c.bias != nil {
				b = c.bias[j]
			}
			return float32(float32(x+extra)*w[j].scale) + b
		}
		for j := n0; j < n1; j++ {
			y := linear(j)
			switch e {
			case addProduct:
				y = before[i*ldc+j] + y
			case gateProduct:
				y = float32(y/(1+expUnfused(max(expLow, min(expHigh, -y))))) * linear(c.n+j)
			}
			got = append(got, y)
		}
	}
	return got
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}

// run multiplies into a guarded c and compares with the reference, bit for bit.
func (c *int8Case) run(ldc, offset, n0, n1 int, e epilogue) error {
	dst, intact := guarded(max(0, c.rows-1)*ldc+min(1, c.rows)*c.n, offset)
	r := newRand(c.rows)
	for i := range c.rows {
		fill(r, dst[i*ldc:][:c.n], 1)
	}
	before := slices.Clone(dst)
	c.m.mul(dst, ldc, &c.q, n0, n1, e)
	want := slices.Clone(before)
	got := c.reference(before, ldc, n0, n1, e)
	for i := range c.rows {
		copy(want[i*ldc+n0:][:n1-n0], got[i*(n1-n0):])
	}
	for i := range dst {
		if !sameBits(dst[i:i+1], want[i:i+1]) {
			return fmt.Errorf("c[%d][%d] = %v, want %v", i/ldc, i%ldc, dst[i], want[i])
		}
	}
	if !intact() {
		return errors.New("wrote outside c")
	}
	return nil
}

// TestInt8Mul lets each of the three lengths run from 0 to 257 while the others are
// small, at all alignments, with strides that leave gaps, and demands the very
// bits of the definition.
func TestInt8Mul(t *testing.T) {
	type shape struct{ k, n, rows int }
	var tests []shape
	for l := range 258 {
		tests = append(tests, shape{l, 5, 3}, shape{l, 37, 2}, shape{7, l, 2}, shape{6, 40, l})
	}
	for rows := range 40 { // every height of a tile, and how heights are mixed
		tests = append(tests, shape{17, 64, rows}, shape{64, 33, rows})
	}
	tests = append(tests, shape{1537, 35, 17}, shape{5000, 33, 8})
	if raceEnabled {
		tests = []shape{{100, 70, 30}} // the reference is too slow under the detector
	}
	cases := map[int]*int8Case{}
	eachImplementation(t, func(t *testing.T) {
		for i, s := range tests {
			e := epilogue(i % 3)
			c := cases[i]
			if c == nil {
				c = newInt8Case(t, i, s.k, s.n, s.rows, e == gateProduct, i%2 == 0)
				cases[i] = c
			}
			c.quantize()
			if err := c.run(s.n+i%5, i%16, 0, s.n, e); err != nil {
				t.Fatalf("%+v, epilogue %d: %v", s, e, err)
			}
		}
	})
}

// TestInt8MulRange cuts outputs at every place where they may be cut.
func TestInt8MulRange(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		const k, n, rows = 41, 150, 17
		for e := range epilogue(3) {
			c := newInt8Case(t, 1, k, n, rows, e == gateProduct, true)
			step := c.m.width()
			for n0 := 0; n0 < n; n0 += step {
				for n1 := n0; n1 < n+step; n1 += step {
					if err := c.run(n+2, n0%16, n0, min(n1, n), e); err != nil {
						t.Fatalf("epilogue %d, %d to %d: %v", e, n0, n1, err)
					}
				}
			}
		}
	})
}

// TestInt8Error holds quantised products against products in float64: what eight bits
// cost on values of a normal distribution, and that outliers do not raise it.
func TestInt8Error(t *testing.T) {
	const k, n, rows = 576, 96, 20
	for _, planted := range []int{0, 1, 8, maxOutliers} {
		c := newInt8Case(t, 1, k, n, rows, false, false)
		r := newRand(2)
		fill(r, c.a, 1)
		for i := range rows {
			for l := range planted {
				c.a[i*k+(l*71+i)%k] = 500 * float32(1+l)
			}
		}
		c.quantize()
		got := make([]float32, rows*n)
		c.m.Mul(got, n, &c.q, 0, n)
		// What the outliers themselves contribute is exact but for the weights: take it out.
		var num, den float64
		for i := range rows {
			for j := range n {
				var want, out float64
				for p, v := range c.a[i*k:][:k] {
					if abs(v) > 100 {
						w := float64(c.weight(j, p))
						out += float64(v) * w
						continue
					}
					want += float64(v) * float64(c.w[j*k+p])
				}
				d := float64(got[i*n+j]) - out - want
				num += d * d
				den += want * want
			}
		}
		// Observed: 1.2e-4 without and with outliers.
		if e := num / den; !(e < 2.5e-4) {
			t.Errorf("%d outliers: NMSE %.2g, want at most 2.5e-4", planted, e)
		} else {
			t.Logf("%d outliers: NMSE %.2g", planted, e)
		}
	}
}

// weight returns what the matrix holds for output j and input p.
func (c *int8Case) weight(j, p int) float32 {
	b := c.m.panels[j/PanelColumns*c.m.panelBytes():][(p/4*PanelColumns+j%PanelColumns)*4+p%4]
	return float32(int(b)-128) * c.m.scales[j]
}

// TestInt8Rows: special rows have the values that Set promises.
func TestInt8Rows(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	eachImplementation(t, func(t *testing.T) {
		const k, n = 50, 40
		c := newInt8Case(t, 1, k, n, 8, false, false)
		for i, v := range []float32{nan, inf, -inf, math.MaxFloat32} {
			for p := range k {
				c.a[i*k+p] = 1
			}
			c.a[i*k+i] = v
			c.a[i*k+k-1-i] = v
		}
		clear(c.a[4*k:][:k])
		for p := range k {
			c.a[5*k+p] = 0x1p-101
			c.a[6*k+p] = 1e30
			c.a[7*k+p] = -math.SmallestNonzeroFloat32
		}
		c.quantize()
		got := make([]float32, 8*n)
		c.m.Mul(got, n, &c.q, 0, n)
		for i := range 8 {
			for j, v := range got[i*n:][:n] {
				switch {
				case i < 4 && v == v:
					t.Fatalf("row %d, output %d = %v, want NaN", i, j, v)
				case (i == 4 || i == 5 || i == 7) && v != 0:
					t.Fatalf("row %d, output %d = %v, want 0", i, j, v)
				case i == 6 && (v == 0 || math.IsInf(float64(v), 0) || v != v):
					t.Fatalf("row %d, output %d = %v, want a number", i, j, v)
				}
			}
		}
		if err := c.run(n, 0, 0, n, storeProduct); err != nil {
			t.Error(err)
		}
	})
}

func TestPackInt8Errors(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat32} {
			_, err := PackInt8(func(n int, dst []float32) {
				for i := range dst {
					dst[i] = 1
				}
				if n == 33 {
					dst[0], dst[7] = float32(v), float32(v)
				}
			}, nil, 20, 40)
			if !errors.Is(err, ErrWeights) {
				t.Errorf("with %v: error %v, want ErrWeights", v, err)
			}
		}
		if _, err := PackInt8(nil, nil, maxInt8K+1, 0); !errors.Is(err, ErrWeights) {
			t.Errorf("too many inputs: error %v, want ErrWeights", err)
		}
	})
	// Weights of 1e38 and of denormal size are in range.
	for _, v := range []float32{1e38, 1e-44} {
		c := newInt8Case(t, 1, 2, 3, 2, false, false)
		for i := range c.w {
			c.w[i] = v
		}
		c.pack(t)
		if err := c.run(3, 0, 0, 3, storeProduct); err != nil {
			t.Errorf("weights of %v: %v", v, err)
		}
	}
}

func TestInt8Memory(t *testing.T) {
	c := newInt8Case(t, 1, 10, 33, 2, false, false)
	if got, want := c.m.Bytes(), 64*12+2*64*4; got != want {
		t.Errorf("Bytes() = %d, want %d", got, want)
	}
	if k, n := c.m.Dims(); k != 10 || n != 33 {
		t.Errorf("Dims() = %d, %d, want 10, 33", k, n)
	}
}

func TestInt8AllocatesNothing(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		c, g := newInt8Case(t, 1, 64, 70, 33, false, true), newInt8Case(t, 1, 64, 70, 33, true, true)
		dst := make([]float32, 33*70)
		if n := testing.AllocsPerRun(100, func() {
			c.quantize()
			c.m.Mul(dst, 70, &c.q, 0, 70)
			c.m.MulAdd(dst, 70, &c.q, 32, 70)
			g.m.MulSwiGLU(dst, 70, &c.q, 0, 70)
		}); n > 0 {
			t.Errorf("%v allocations, want none", n)
		}
	})
}

// TestInt8Concurrently shares rows, matrix and result among goroutines that take
// columns of their own.
func TestInt8Concurrently(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		const k, n, rows = 60, 130, 50
		c := newInt8Case(t, 1, k, n, rows, false, true)
		want, got := make([]float32, rows*n), make([]float32, rows*n)
		c.m.Mul(want, n, &c.q, 0, n)
		var wg sync.WaitGroup
		for j := 0; j < n; j += 64 {
			wg.Go(func() { c.m.Mul(got, n, &c.q, j, min(j+64, n)) })
		}
		wg.Wait()
		if !sameBits(got, want) {
			t.Error("goroutines together differ from one")
		}
	})
}

func TestInt8Misuse(t *testing.T) {
	c, g := newInt8Case(t, 1, 4, 70, 3, false, true), newInt8Case(t, 1, 4, 70, 3, true, true)
	x := make([]float32, 300)
	var other Int8Rows
	other.Reset(3, 5)
	for name, f := range map[string]func(){
		"short c":           func() { c.m.Mul(x[:209], 70, &c.q, 0, 70) },
		"narrow ldc":        func() { c.m.Mul(x, 69, &c.q, 0, 70) },
		"outputs outside":   func() { c.m.Mul(x, 71, &c.q, 0, 71) },
		"outputs turned":    func() { c.m.Mul(x, 70, &c.q, 32, 0) },
		"cut in a panel":    func() { c.m.Mul(x, 70, &c.q, 0, 33) },
		"other rows":        func() { c.m.Mul(x, 70, &other, 0, 70) },
		"gated product":     func() { c.m.MulSwiGLU(x, 70, &c.q, 0, 70) },
		"product of gated":  func() { g.m.Mul(x, 70, &c.q, 0, 70) },
		"short row":         func() { c.q.Set(0, x[:3]) },
		"row outside":       func() { c.q.Set(3, x[:4]) },
		"negative rows":     func() { other.Reset(-1, 3) },
		"too many inputs":   func() { other.Reset(1, maxInt8K+1) },
		"short bias":        func() { PackInt8(nil, x[:2], 3, 3) },
		"short gated bias":  func() { PackInt8Gated(nil, x[:3], 3, 3) },
		"shape out of hand": func() { PackInt8(nil, nil, 1, math.MaxInt/4) },
	} {
		if name == "row outside" {
			if !panicsAtAll(f) {
				t.Errorf("%s: no panic", name)
			}
		} else if !panics(f) {
			t.Errorf("%s: no panic with the package name", name)
		}
	}
}

func panicsAtAll(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}

// FuzzInt8 compares every implementation with the reference, on shapes and on raw activations
// that the fuzzer picks.
func FuzzInt8(f *testing.F) {
	f.Add(int64(1), uint16(8), uint8(8), uint8(1), uint8(0), []byte(nil))
	f.Add(int64(2), uint16(64), uint8(96), uint8(29), uint8(1), []byte{0, 0, 0x80, 0x7f, 1, 2, 3, 4})
	f.Add(int64(3), uint16(801), uint8(33), uint8(70), uint8(2), []byte{0xff, 0xff, 0x7f, 0x7f})
	f.Fuzz(func(t *testing.T, seed int64, k uint16, n, rows, e uint8, raw []byte) {
		c := newInt8Case(t, int(seed), int(k)%2000, int(n), int(rows), e%3 == uint8(gateProduct), seed%2 == 0)
		for i := 0; i+4 <= len(raw) && len(c.a) > 0; i += 4 {
			bits := uint32(raw[i]) | uint32(raw[i+1])<<8 | uint32(raw[i+2])<<16 | uint32(raw[i+3])<<24
			c.a[(i/4*37)%len(c.a)] = math.Float32frombits(bits)
		}
		for _, name := range Implementations() {
			restore, _ := Use(name)
			c.quantize()
			err := c.run(c.n+int(rows)%3, int(k)%16, 0, c.n, epilogue(e%3))
			restore()
			if err != nil {
				t.Errorf("%s: K=%d N=%d rows=%d, epilogue %d: %v", name, c.k, c.n, c.rows, e%3, err)
			}
		}
	})
}

// int8Shapes are the products of SmolLM2-135M's and of nano's blocks, as the int8
// path makes them: queries, keys and values together, and gates with what they gate.
var int8Shapes = []struct {
	k, n  int
	gated bool
}{
	{576, 960, false}, {576, 576, false}, {576, 1536, true}, {1536, 576, false}, // SmolLM2-135M
	{256, 512, false}, {256, 256, false}, {256, 704, true}, {704, 256, false}, // nano
}

// BenchmarkInt8 goes round among matrices of 16 MiB in all, as BenchmarkMul does, and
// counts the quantisation of the activations with the product.
func BenchmarkInt8(b *testing.B) {
	for _, name := range Implementations() {
		for _, s := range int8Shapes {
			outputs := s.n
			if s.gated {
				outputs *= 2
			}
			var cases []*int8Case
			for _, rows := range []int{1, 14, 32, 128, 512} {
				b.Run(fmt.Sprintf("%s/K=%d,N=%d/M=%d", name, s.k, outputs, rows), func(b *testing.B) {
					restore, _ := Use(name)
					defer restore()
					for len(cases) <= (16<<20)/(s.k*outputs) {
						cases = append(cases, newInt8Case(b, len(cases), s.k, s.n, 0, s.gated, false))
					}
					a, c := make([]float32, rows*s.k), make([]float32, rows*s.n)
					fill(rand.New(rand.NewPCG(1, 1)), a, 1)
					var q Int8Rows
					e := storeProduct
					if s.gated {
						e = gateProduct
					}
					b.ReportAllocs()
					i := 0
					for b.Loop() {
						q.Reset(rows, s.k)
						for l := range rows {
							q.Set(l, a[l*s.k:][:s.k])
						}
						cases[i%len(cases)].m.mul(c, s.n, &q, 0, s.n, e)
						i++
					}
					b.ReportMetric(2*float64(s.k*outputs*rows)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GOP/s")
				})
			}
		}
	}
}
