package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// attentionCase is one call of Attend and all that it sees.
type attentionCase struct {
	format           Format
	dim, group       int
	heads, head      int
	prefix, own      int // keys before the sequence, and of it
	q0, queries      int // position within the sequence
	window           int
	scale            float32
	q, k, v          []float32 // (own, group, dim), (prefix+own, heads, dim) twice
	expected, terms  []float64 // (queries, group, dim), and the same over absolute values
	stride           int
	memory           []float32
	prefixKV, ownKV  KV
	prefixBase, from int // first key of ownKV
}

func newAttentionCase(r *rand.Rand, f Format, dim, group, heads, prefix, own, window int, size float64) *attentionCase {
	c := &attentionCase{
		format: f, dim: dim, group: group, heads: heads, head: heads - 1, prefix: prefix, own: own,
		queries: own, window: window, scale: float32(1 / math.Sqrt(float64(dim))),
		q: make([]float32, own*group*dim), k: make([]float32, (prefix+own)*heads*dim), v: make([]float32, (prefix+own)*heads*dim),
		stride: group*dim + 5,
	}
	fill(r, c.q, size)
	fill(r, c.k, size)
	fill(r, c.v, 1)
	return c
}

// fillKV stores keys first to first+n at their positions from base on.
func (c *attentionCase) fillKV(kv *KV, base, first, n int) {
	for p := first; p < first+n; p++ {
		for h := range c.heads {
			at := (p*c.heads + h) * c.dim
			kv.Set(h, p-base, slices.Clone(c.k[at:][:c.dim]), slices.Clone(c.v[at:][:c.dim]))
		}
	}
}

func (c *attentionCase) newKV(n int) *KV {
	kv := new(KV)
	memory := make([]float32, KVSize(c.format, c.heads, c.dim, n))
	for i := range memory {
		memory[i] = canary // nothing unset may reach a result
	}
	kv.Reset(memory, c.format, c.heads, c.dim, n)
	return kv
}

// attend runs queries q0 to q1, those before the sequence in a KV of their own.
func (c *attentionCase) attend(a *Attention, q0, q1 int) []float32 {
	base := c.prefix / PanelColumns * PanelColumns
	var prefix *KV
	if c.prefix > 0 {
		prefix = c.newKV(c.prefix)
		c.fillKV(prefix, 0, 0, c.prefix)
	}
	own := c.newKV(c.prefix - base + c.own)
	for p := base; p < c.prefix; p++ {
		own.Copy(p-base, prefix, p)
	}
	c.fillKV(own, base, c.prefix, c.own)
	return c.run(a, prefix, own, base, q0, q1)
}

// whole runs queries q0 to q1 with all keys in one KV.
func (c *attentionCase) whole(a *Attention, q0, q1 int) []float32 {
	kv := c.newKV(c.prefix + c.own)
	c.fillKV(kv, 0, 0, c.prefix+c.own)
	return c.run(a, nil, kv, 0, q0, q1)
}

func (c *attentionCase) run(a *Attention, prefix, own *KV, base, q0, q1 int) []float32 {
	width := c.group * c.dim
	q, intact := guarded((q1-q0-1)*c.stride+width, q0%16)
	for i := range q {
		q[i] = 7 // between the rows
	}
	for i := q0; i < q1; i++ {
		copy(q[(i-q0)*c.stride:], c.q[i*width:][:width])
	}
	a.Attend(q, c.stride, Span{First: c.prefix + q0, Queries: q1 - q0, Group: c.group, Window: c.window, Head: c.head}, c.scale, prefix, own, base)
	if !intact() {
		panic("Attend wrote outside its queries")
	}
	var out []float32
	for i := range q1 - q0 {
		out = append(out, q[i*c.stride:][:width]...)
		for j := i*c.stride + width; j < min(len(q), (i+1)*c.stride); j++ {
			if q[j] != 7 {
				panic("Attend wrote between its queries")
			}
		}
	}
	return out
}

// want computes queries q0 to q1 in float64, and the size of their terms.
func (c *attentionCase) want(q0, q1 int) (want, size []float64) {
	for i := q0; i < q1; i++ {
		for g := range c.group {
			q := c.q[(i*c.group+g)*c.dim:][:c.dim]
			end := c.prefix + i + 1
			begin := 0
			if c.window > 0 {
				begin = max(0, end-c.window)
			}
			var weights []float64
			most, sum := math.Inf(-1), 0.0
			for p := begin; p < end; p++ {
				s := 0.0
				for j, x := range c.k[(p*c.heads+c.head)*c.dim:][:c.dim] {
					s += float64(q[j]) * float64(x)
				}
				s *= float64(c.scale)
				weights = append(weights, s)
				most = max(most, s)
			}
			for p, s := range weights {
				weights[p] = math.Exp(s - most)
				sum += weights[p]
			}
			for j := range c.dim {
				s, abs := 0.0, 0.0
				for p, w := range weights {
					x := w / sum * float64(c.v[((begin+p)*c.heads+c.head)*c.dim+j])
					s, abs = s+x, abs+math.Abs(x)
				}
				want, size = append(want, s), append(size, abs)
			}
		}
	}
	return want, size
}

// attentionBound is the NMSE allowed against float64, for scores of a few units.
// Observed: 9.6e-15 and 3.1e-6, the latter an error of 0.18 %.
var attentionBound = map[Format]float64{Float32: 1e-13, BFloat16: 1e-5}

// TestAttention compares with float64, and any cut of the queries with all of them at
// once, and keys behind a prefix with keys in one piece: those to the last bit.
func TestAttention(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		worst := map[Format]float64{}
		for i, s := range []struct{ dim, group, heads, prefix, own, window int }{
			{64, 3, 2, 0, 1, 0},
			{64, 3, 1, 0, 70, 0},
			{64, 3, 2, 1, 130, 0},
			{64, 1, 1, 33, 300, 0},
			{64, 2, 1, 300, 40, 0},
			{32, 2, 1, 256, 257, 0},
			{2, 70, 1, 5, 9, 0},
			{96, 1, 2, 64, 40, 0},
			{40, 2, 1, 31, 65, 0},
			{130, 1, 1, 3, 35, 0},
			{64, 3, 1, 0, 600, 7},
			{16, 4, 1, 40, 600, 100},
			{16, 1, 1, 513, 300, 290},
		} {
			if raceEnabled && s.own > 100 {
				continue
			}
			for _, f := range []Format{Float32, BFloat16} {
				c := newAttentionCase(newRand(i), f, s.dim, s.group, s.heads, s.prefix, s.own, s.window, 1)
				var a Attention
				got := c.attend(&a, 0, c.own)
				e := nmse(got, first(c.want(0, c.own)), second(c.want(0, c.own)))
				if worst[f] = max(worst[f], e); !(e <= attentionBound[f]) {
					t.Errorf("%+v, format %d: NMSE %g, want at most %g", s, f, e, attentionBound[f])
				}
				if whole := c.whole(&a, 0, c.own); !slices.Equal(whole, got) {
					t.Errorf("%+v, format %d: a prefix changes bits", s, f)
				}
				var cut []float32
				for q0, step := 0, 1; q0 < c.own; q0, step = q0+step, step*2+1 {
					cut = append(cut, c.attend(&a, q0, min(q0+step, c.own))...)
				}
				if !slices.Equal(cut, got) {
					t.Errorf("%+v, format %d: a cut of the queries changes bits", s, f)
				}
			}
		}
		t.Logf("NMSE %.2g in float32, %.2g in bfloat16", worst[Float32], worst[BFloat16])
	})
}

func first[A, B any](a A, _ B) A  { return a }
func second[A, B any](_ A, b B) B { return b }

// TestAttentionAgrees: AVX2 and AVX-512 give the same bits, with pairs and without.
func TestAttentionAgrees(t *testing.T) {
	names := Implementations()
	if len(names) < 3 {
		t.Skipf("needs two assembly implementations, this machine has %v", names)
	}
	for _, f := range []Format{Float32, BFloat16} {
		for _, window := range []int{0, 50} {
			c := newAttentionCase(newRand(1), f, 64, 3, 1, 9, 300, window, 1.5)
			var got [][]float32
			for _, name := range names[1:] {
				restore, _ := Use(name)
				got = append(got, c.attend(new(Attention), 0, c.own))
				restore()
			}
			for i := range got {
				if !sameBits(got[0], got[i]) {
					t.Errorf("format %d, window %d: %v and %v differ", f, window, names[1], names[1+i])
				}
			}
		}
	}
}

// TestAttentionFarScores: scores too far apart for one exponential, growing and
// shrinking from block to block, and one key that outweighs all others.
func TestAttentionFarScores(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for _, f := range []Format{Float32, BFloat16} {
			for name, size := range map[string]func(key int) float32{
				"growing":   func(key int) float32 { return float32(key / 8) },
				"shrinking": func(key int) float32 { return float32((600 - key) / 8) },
				"sink":      func(key int) float32 { return map[bool]float32{true: 256}[key == 0] },
				"late":      func(key int) float32 { return map[bool]float32{true: 256}[key == 500] },
			} {
				c := newAttentionCase(newRand(2), f, 16, 2, 1, 0, 600, 0, 1)
				for i := range c.q {
					c.q[i] = 1
				}
				for p := range c.own {
					for j := range c.dim {
						c.k[p*c.dim+j] = size(p)
					}
				}
				want, terms := c.want(0, c.own)
				// The scores are exact; only the weights are rounded.
				if e := nmse(c.attend(new(Attention), 0, c.own), want, terms); !(e <= attentionBound[f]) {
					t.Errorf("%s, format %d: NMSE %g, want at most %g", name, f, e, attentionBound[f])
				}
			}
		}
	})
}

// TestAttentionNaN: a NaN makes NaN of the queries that see it, and of no earlier
// block.
func TestAttentionNaN(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for _, f := range []Format{Float32, BFloat16} {
			c := newAttentionCase(newRand(3), f, 16, 1, 1, 0, 600, 0, 1)
			c.k[300*c.dim] = float32(math.NaN())
			got := c.attend(new(Attention), 0, c.own)
			for i := range c.own {
				if isNaN := got[i*c.dim] != got[i*c.dim]; isNaN != (i >= 300) {
					t.Fatalf("format %d: query %d of a NaN at key 300 is %v", f, i, got[i*c.dim])
				}
			}
		}
	})
}

// TestPairs holds rounding and products of pairs against their definitions, bit by
// bit, with values of all sizes, at all lengths, and canaries around them.
func TestPairs(t *testing.T) {
	r := newRand(4)
	any32 := func() float32 {
		for {
			if x := math.Float32frombits(r.Uint32()); x == x && math.Abs(float64(x)) >= 0x1p-126 {
				return x
			}
		}
	}
	eachImplementation(t, func(t *testing.T) {
		for n := range 258 {
			x, intact := guarded(n, n%16)
			for i := range x {
				x[i] = any32()
			}
			if n > 2 {
				x[0], x[n/2] = float32(math.Inf(-1)), float32(math.NaN())
			}
			want := slices.Clone(x)
			roundGeneric(want)
			wantPairs := make([]uint32, n/2)
			pairGeneric(wantPairs, x)
			if n%2 == 0 {
				y, intact := guarded(n/2, n%16)
				pair(words(y), x)
				if !slices.Equal(words(y), wantPairs) && n > 0 || !intact() {
					t.Fatalf("length %d: pair = %#x, want %#x", n, words(y), wantPairs)
				}
			}
			round(x)
			if !sameBits(x, want) || !intact() {
				t.Fatalf("length %d: round = %v, want %v", n, x, want)
			}
		}
		for rows := 1; rows <= maxTileRows; rows++ {
			for depth := 1; depth < 70; depth += 1 + depth/9 {
				lda, ldc := depth+rows%3, PanelColumns+rows%5
				make2 := func(n int) []uint32 {
					x := make([]float32, 2*n)
					fill(r, x, 1)
					y := make([]uint32, n)
					pairGeneric(y, x)
					return y
				}
				a, b := make2((rows-1)*lda+depth), make2(depth*PanelColumns)
				for _, add := range []bool{false, true} {
					c, intact := guarded((rows-1)*ldc+PanelColumns, rows)
					fill(r, c, 1)
					want := slices.Clone(c)
					tilePairsGeneric(want, ldc, a, lda, rows, depth, b, add)
					tilePairs(c, ldc, a, lda, rows, depth, b, add)
					if !sameBits(c, want) || !intact() {
						t.Fatalf("%d rows, %d pairs, add %v: products of pairs differ from the definition", rows, depth, add)
					}
				}
			}
		}
	})
}

// TestWeigh holds powers and their sum against float64 at all lengths, and the two
// widths against each other.
func TestWeigh(t *testing.T) {
	const bound = 6e-6 // relative error of a weight and of the sum; observed: 5.4e-6
	bits := map[string][]float32{}
	eachImplementation(t, func(t *testing.T) {
		r, worst := newRand(6), 0.0
		var all []float32
		for n := 1; n < 258; n++ {
			x, intact := guarded(n, n%16)
			fill(r, x, 20)
			before := float32(r.NormFloat64() * 30)
			most := max(before, slices.Max(x))
			want, sum := make([]float64, n), 0.0
			for i, v := range x {
				want[i] = math.Exp2(float64(max(v-most, -126)))
				sum += want[i]
			}
			gotMost, gotSum := weigh(x, before)
			if gotMost != most || !intact() {
				t.Fatalf("length %d: the largest is %g, want %g", n, gotMost, most)
			}
			worst = max(worst, math.Abs(float64(gotSum)-sum)/sum)
			for i, v := range x {
				worst = max(worst, math.Abs(float64(v)-want[i])/want[i])
			}
			all = append(append(all, x...), gotMost, gotSum)
		}
		t.Logf("relative error %.2g", worst)
		if worst > bound {
			t.Errorf("relative error %g, want at most %g", worst, bound)
		}
		bits[Implementation()] = all
		x := []float32{1, float32(math.NaN()), 3}
		if _, sum := weigh(x, 0); sum == sum {
			t.Errorf("the sum of weights with a NaN is %g", sum)
		}
	})
	if a, b := bits["avx2"], bits["avx512"]; a != nil && b != nil && !sameBits(a, b) {
		t.Error("avx2 and avx512 differ")
	}
}

// TestRoundBF16 has the cases of IEEE rounding by hand.
func TestRoundBF16(t *testing.T) {
	for _, c := range []struct{ in, want uint32 }{
		{0x3f800000, 0x3f80},
		{0x3f808000, 0x3f80},
		{0x3f808001, 0x3f81},
		{0x3f818000, 0x3f82},
		{0x3f817fff, 0x3f81},
		{0x80000000, 0x8000},
		{0x00000001, 0},
		{0x807fffff, 0x8000},
		{0x00800000, 0x0080},
		{0x7f7fffff, 0x7f80},
		{0xff800000, 0xff80},
		{0x7f800001, 0x7fc0},
		{0xffffffff, 0xffff},
	} {
		if got := bf16(math.Float32frombits(c.in)); got != c.want {
			t.Errorf("bf16(%#x) = %#x, want %#x", c.in, got, c.want)
		}
	}
}

// TestKVFormats: the same keys read the same, whether they are kept as pairs or not.
func TestKVFormats(t *testing.T) {
	if !pairsAreFast() {
		t.Skip("this processor keeps no pairs")
	}
	c := newAttentionCase(newRand(5), BFloat16, 64, 3, 2, 37, 200, 0, 1)
	want := c.attend(new(Attention), 0, c.own)
	kv := c.newKV(c.prefix + c.own)
	c.fillKV(kv, 0, 0, c.prefix+c.own)
	restore, _ := Use("generic") // on pairs that were set by assembly
	defer restore()
	got := c.run(new(Attention), nil, kv, 0, 0, c.own)
	var w []float64
	for _, x := range want {
		w = append(w, float64(x))
	}
	// The exponential differs in the last bit, and then may be rounded to the next
	// bfloat16. Observed: 6e-8.
	if e := nmse(got, w, w); e > 1e-6 {
		t.Errorf("generic code on pairs: NMSE %g against assembly", e)
	}
}

func TestAttendRefuses(t *testing.T) {
	var kv KV
	kv.Reset(make([]float32, KVSize(Float32, 1, 4, 40)), Float32, 1, 4, 40)
	var a Attention
	q := make([]float32, 8)
	for name, f := range map[string]func(){
		"odd dimension": func() { new(KV).Reset(make([]float32, 1000), BFloat16, 1, 3, 10) },
		"memory":        func() { new(KV).Reset(make([]float32, 1000), Float32, 1, 4, 40) },
		"head":          func() { kv.Set(1, 0, q[:4], q[4:]) },
		"key":           func() { kv.Set(0, 64, q[:4], q[4:]) },
		"length":        func() { kv.Set(0, 0, q[:3], q[4:]) },
		"span":          func() { a.Attend(q, 4, Span{First: 63, Queries: 2, Group: 1}, 1, nil, &kv, 0) },
		"base":          func() { a.Attend(q, 4, Span{First: 8, Queries: 1, Group: 1}, 1, nil, &kv, 8) },
		"no prefix":     func() { a.Attend(q, 4, Span{First: 32, Queries: 1, Group: 1}, 1, nil, &kv, 32) },
		"queries":       func() { a.Attend(q, 4, Span{Queries: 3, Group: 1}, 1, nil, &kv, 0) },
	} {
		if !panics(f) {
			t.Errorf("%s: no panic with the package name", name)
		}
	}
}

// FuzzAttention compares every implementation with float64.
func FuzzAttention(f *testing.F) {
	f.Add(uint8(1), uint8(31), uint8(2), uint16(33), uint16(70), uint16(0), int64(1))
	f.Add(uint8(0), uint8(3), uint8(69), uint16(0), uint16(5), uint16(3), int64(2))
	f.Add(uint8(1), uint8(64), uint8(0), uint16(300), uint16(300), uint16(280), int64(3))
	f.Fuzz(func(t *testing.T, format, halfDim, group uint8, prefix, own, window uint16, seed int64) {
		c := newAttentionCase(newRand(int(seed)), Format(format%2), 2*(int(halfDim)%80+1), int(group)%80+1, 1,
			int(prefix)%600, int(own)%400+1, int(window)%700, 1)
		q0 := max(0, c.own-20)
		want, terms := c.want(q0, c.own)
		for _, name := range Implementations() {
			restore, _ := Use(name)
			got := c.attend(new(Attention), q0, c.own)
			restore()
			if e := nmse(got, want, terms); !(e <= 3*attentionBound[c.format]) {
				t.Errorf("%s: NMSE %g", name, e)
			}
		}
	})
}

// BenchmarkAttention is one head of keys of SmolLM2-135M over a whole sequence.
func BenchmarkAttention(b *testing.B) {
	const dim, group = 64, 3
	for _, name := range Implementations() {
		for _, f := range []Format{Float32, BFloat16} {
			for _, n := range []int{64, 512, 2048} {
				b.Run(fmt.Sprintf("%s/%s/%d", name, [...]string{"f32", "bf16"}[f], n), func(b *testing.B) {
					restore, _ := Use(name)
					defer restore()
					c := newAttentionCase(newRand(1), f, dim, group, 1, 0, n, 0, 1)
					kv := c.newKV(n)
					c.fillKV(kv, 0, 0, n)
					var a Attention
					b.ReportAllocs()
					for b.Loop() {
						// What was attended to is of the size of queries, and so may be one.
						a.Attend(c.q, dim*group, Span{Queries: n, Group: group}, c.scale, nil, kv, 0)
					}
					b.ReportMetric(float64(b.N)*2*dim*group*float64(n)*float64(n+1)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
		}
	}
}
