package kernel

import (
	"math"
	"unsafe"
)

// Attention in blocks: the scores of a block of keys, their exponentials and the
// weighted sum of the values, one block after another, with the maximum and the
// sum carried along (Milakov and Gimelshein 2018, arXiv:1805.02867, algorithm 3;
// Dao et al. 2022, arXiv:2205.14135, algorithm 1). No row of scores is ever longer
// than a block.
//
// Blocks begin at multiples of keyBlock, counted from the beginning of the sequence,
// prefix included, and every row is summed by itself in the order of its keys. So
// what a query makes of its keys depends on no other query, on no other sequence
// and on no cut.
//
// # Bfloat16
//
// The same sums with everything that is multiplied rounded to bfloat16: queries,
// keys, values, and the exponentials before they weigh the values (their sum is
// taken before). Products of two bfloat16 are exact in float32, and they are added
// one by one in the order of the index, each sum rounded to float32. That is what
// VDPBF16PS of AVX512_BF16 does with pairs whose lower index stands in the upper
// half, and what fused or unfused float32 arithmetic does, so that products agree
// to the last bit whatever computes them, but for numbers below 2⁻¹²⁶, which
// VDPBF16PS takes for zero. Where it is slow, pairs are not used.
//
// The error is that of the rounding, 0.18 % of the terms (TestAttention), where
// float32 has 10⁻⁷. Attention in 8-bit integers was not built: its weights lose what
// lies below 1/255 of a row's largest, and a first token that takes nine tenths of
// the attention, as small models have, would hide the rest of a long text.

const (
	keyBlock = 256 // keys of a block; a multiple of PanelColumns

	// AttentionRows is how many rows, heads times queries, are scored at once: what
	// a panel of keys is read for.
	AttentionRows = 64
)

// A KV holds the keys and values of one sequence for the heads that share none,
// in the layout that [Attention] reads: a cache that is filled key by key.
// Different keys may be set from different goroutines.
//
// Keys stand in panels of 32, values in panels of 32 of their dimensions:
//
//	f32    keys (heads, n/32, dim, 32), values (heads, dim/32, n, 32)
//	pairs  keys (heads, n/32, dim/2, 32), values (heads, dim/32, n/2, 32)
//
// with n and dim rounded up to 32 where they are divided by it. A pair is two bfloat16 of
// consecutive dimensions (keys) or consecutive keys (values), the lower in the upper
// half.
type KV struct {
	format       Format
	paired       bool
	heads, dim   int
	n            int // keys, rounded up
	keys, values []float32
}

// A Format is the arithmetic of attention.
type Format uint8

// The formats.
const (
	Float32  Format = iota
	BFloat16        // halves the work where the processor multiplies bfloat16 faster than float32
)

// KVSize returns how many values of memory a KV needs.
func KVSize(f Format, heads, dim, keys int) int {
	k, v := kvSize(f == BFloat16 && pairsAreFast(), dim, roundUp(keys))
	return heads * (k + v)
}

// kvSize returns the values of a head's keys and of its values.
func kvSize(paired bool, dim, n int) (keys, values int) {
	if paired {
		return n * dim / 2, n / 2 * roundUp(dim)
	}
	return n * dim, n * roundUp(dim)
}

// Reset makes kv an empty cache for n keys in memory of KVSize values. The
// dimension of a head must be even, as RoPE needs it.
func (kv *KV) Reset(memory []float32, f Format, heads, dim, n int) {
	if heads < 1 || dim < 1 || dim%2 != 0 || n < 0 || len(memory) != KVSize(f, heads, dim, n) {
		panic("kernel: bad KV shape")
	}
	*kv = KV{format: f, paired: f == BFloat16 && pairsAreFast(), heads: heads, dim: dim, n: roundUp(n)}
	k, _ := kvSize(kv.paired, dim, kv.n)
	kv.keys, kv.values = memory[:heads*k], memory[heads*k:]
	if kv.paired && n%2 == 1 {
		// The other half of the last pair is multiplied by zero: it must be a number.
		for h := range heads {
			for j := 0; j < dim; j += PanelColumns {
				clear(kv.value(h, n-1, j))
			}
		}
	}
}

// Clone returns a copy with memory of its own.
func (kv *KV) Clone() KV {
	c := *kv
	c.keys = append([]float32(nil), kv.keys...)
	c.values = append([]float32(nil), kv.values...)
	return c
}

// Bytes returns the memory of keys and values.
func (kv *KV) Bytes() int { return 4 * (len(kv.keys) + len(kv.values)) }

// words are pairs that lie in memory of float32.
func words(x []float32) []uint32 {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(&x[0])), len(x))
}

// halves are the bfloat16 of pairs: on a little-endian machine, as all with pairs
// are, the upper half of word i is halves[2i+1].
func halves(x []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(&x[0])), 2*len(x))
}

// key returns the panel of a key, from its first row on, and the key's column.
func (kv *KV) key(head, key int) (panel []float32, column int) {
	depth := kv.dim
	if kv.paired {
		depth = kv.dim / 2
	}
	at := (head*kv.n + key/PanelColumns*PanelColumns) * depth
	return kv.keys[at:][:PanelColumns*depth], key % PanelColumns
}

// value returns the row of a key, alone or with its pair, in the panel of
// dimension j.
func (kv *KV) value(head, key, j int) []float32 {
	n := kv.n
	if kv.paired {
		n, key = n/2, key/2
	}
	at := head*n*roundUp(kv.dim) + (j/PanelColumns*n+key)*PanelColumns
	return kv.values[at:][:PanelColumns]
}

// Set stores the key and the value (dim each) of one head at position key. What is
// rounded is rounded in place.
func (kv *KV) Set(head, key int, k, v []float32) {
	if head < 0 || head >= kv.heads || key < 0 || key >= kv.n {
		panic("kernel: Set outside the KV")
	}
	checkEqual(len(k), kv.dim)
	checkEqual(len(v), kv.dim)
	panel, column := kv.key(head, key)
	if kv.format == BFloat16 {
		round(v)
	}
	if !kv.paired {
		if kv.format == BFloat16 {
			round(k)
		}
		for i, x := range k {
			panel[i*PanelColumns+column] = x
		}
		for j := 0; j < kv.dim; j += PanelColumns {
			copy(kv.value(head, key, j), v[j:])
		}
		return
	}
	var buf [64]uint32
	dst := words(panel)[column:]
	for len(k) > 0 {
		part := k[:min(len(k), 2*len(buf))]
		pair(buf[:len(part)/2], part)
		for i, w := range buf[:len(part)/2] {
			dst[i*PanelColumns] = w
		}
		k, dst = k[len(part):], dst[min(len(dst), len(part)/2*PanelColumns):]
	}
	for j := 0; j < kv.dim; j += PanelColumns {
		row := halves(kv.value(head, key, j))[1-key%2:]
		for i, x := range v[j:min(j+PanelColumns, kv.dim)] {
			row[2*i] = uint16(math.Float32bits(x) >> 16)
		}
	}
}

// Copy stores what another KV of the same format, heads and dim has at position
// key, at the same column of a panel: positions differ by a multiple of 32.
func (kv *KV) Copy(key int, from *KV, fromKey int) {
	if kv.format != from.format || kv.paired != from.paired || kv.heads != from.heads || kv.dim != from.dim ||
		(key-fromKey)%PanelColumns != 0 || key < 0 || key >= kv.n || fromKey < 0 || fromKey >= from.n {
		panic("kernel: Copy between KVs that differ")
	}
	for h := range kv.heads {
		dst, column := kv.key(h, key)
		src, _ := from.key(h, fromKey)
		for i := column; i < len(dst); i += PanelColumns {
			dst[i] = src[i]
		}
		for j := 0; j < kv.dim; j += PanelColumns {
			dst, src := kv.value(h, key, j), from.value(h, fromKey, j)
			if !kv.paired {
				copy(dst, src)
				continue
			}
			d, s := halves(dst)[1-key%2:], halves(src)[1-key%2:]
			for i := 0; i < len(d); i += 2 {
				d[i] = s[i]
			}
		}
	}
}

// Attention is the scratch of one goroutine.
type Attention struct {
	q, scores, out []float32 // (rows, dim), (rows, keyBlock), (rows, dim rounded up)
	weights        []uint32  // (rows, keyBlock/2)
	most, sum      []float32 // (rows): of the scores so far
}

// Bytes returns the memory of the scratch.
func (a *Attention) Bytes() int {
	return 4 * (cap(a.q) + cap(a.scores) + cap(a.out) + cap(a.weights) + cap(a.most) + cap(a.sum))
}

// Span says what some consecutive queries see. Positions count from the beginning
// of the sequence, prefix included.
type Span struct {
	First   int // position of the first query
	Queries int
	Group   int // heads of queries that share the head of keys
	Window  int // a query sees so many keys, itself included; 0 is all
	Head    int // of the keys
}

// Attend replaces queries by the values that they attend to,
//
//	q ← softmax(scale · q·Kᵀ) · V
//
// where a query sees the keys up to its own position. Query i's heads are q[i*stride:]
// (Group, dim). Keys before position base are prefix's, later ones are kv's, of
// which the first has position base, a multiple of 32; prefix is nil if base is 0.
func (a *Attention) Attend(q []float32, stride int, s Span, scale float32, prefix, kv *KV, base int) {
	width := s.Group * kv.dim
	if s.Queries == 0 {
		return
	}
	if s.First < base || s.First+s.Queries > base+kv.n || s.Group < 1 || s.Window < 0 || s.Head < 0 || s.Head >= kv.heads ||
		base%PanelColumns != 0 || base > 0 && (prefix == nil || prefix.n < base || prefix.paired != kv.paired ||
		prefix.heads != kv.heads || prefix.dim != kv.dim) {
		panic("kernel: Attend outside the keys")
	}
	checkMatrix(q, stride, s.Queries, width)
	step := max(1, AttentionRows/s.Group)
	parts := (s.Queries + step - 1) / step // of almost equal size
	for i := range parts {
		q0, q1 := s.Queries*i/parts, s.Queries*(i+1)/parts
		part := s
		part.First, part.Queries = s.First+q0, q1-q0
		a.block(q[q0*stride:], stride, part, scale, prefix, kv, base)
	}
}

// block is Attend for as many queries as are scored at once.
func (a *Attention) block(q []float32, stride int, s Span, scale float32, prefix, kv *KV, base int) {
	dim, wide, rows := kv.dim, roundUp(kv.dim), s.Queries*s.Group
	a.resize(rows, dim)

	// Rows of queries, scaled, in the format of the keys.
	for i := range s.Queries {
		copy(a.q[i*s.Group*dim:], q[i*stride:][:s.Group*dim])
	}
	x := a.q[:rows*dim]
	if kv.format == BFloat16 {
		scale *= log2E // the weights are powers of two
	}
	multiply(x, scale)
	depth := dim // of a row, in values or pairs
	switch {
	case kv.paired:
		depth = dim / 2
		pair(words(x), x) // in place: what is written was read
	case kv.format == BFloat16:
		round(x)
	}

	begin := 0 // first key that the first query sees
	if s.Window > 0 {
		begin = max(0, s.First+1-s.Window)
	}
	end := s.First + s.Queries // behind the last key that the last query sees
	for first, k0 := true, begin/keyBlock*keyBlock; k0 < end; first, k0 = false, k0+keyBlock {
		k1 := min(k0+keyBlock, end)
		from := max(k0, begin/PanelColumns*PanelColumns)
		for k := from; k < k1; k += PanelColumns {
			// Queries before the panel do not see it.
			skip := max(0, k-s.First) * s.Group
			if k < base {
				panel, _ := prefix.key(s.Head, k)
				a.mul(kv.paired, a.scores[skip*keyBlock+k-k0:], keyBlock, a.q[skip*depth:], depth, rows-skip, depth, panel, false)
			} else {
				panel, _ := kv.key(s.Head, k-base)
				a.mul(kv.paired, a.scores[skip*keyBlock+k-k0:], keyBlock, a.q[skip*depth:], depth, rows-skip, depth, panel, false)
			}
		}
		for i := range rows {
			last := s.First + i/s.Group + 1 // behind the last key of this row
			low := 0
			if s.Window > 0 {
				low = max(0, last-s.Window)
			}
			a.soften(i, dim, max(0, low-k0), min(k1, last)-k0, k1-k0, first, kv)
		}
		weights, ldw, unit := a.scores, keyBlock, 1
		if kv.paired {
			weights, ldw, unit = floats(a.weights), keyBlock/2, 2
		}
		for j := 0; j < dim; j += PanelColumns {
			add, k := !first, from
			if k < base {
				n := min(k1, base) - k
				a.mul(kv.paired, a.out[j:], wide, weights[(k-k0)/unit:], ldw, rows, n/unit, prefix.rows(s.Head, k, n/unit, j), add)
				add, k = true, k+n
			}
			if k < k1 {
				n := (k1 - k + unit - 1) / unit
				a.mul(kv.paired, a.out[j:], wide, weights[(k-k0)/unit:], ldw, rows, n, kv.rows(s.Head, k-base, n, j), add)
			}
		}
	}
	for i := range rows {
		dst := q[i/s.Group*stride+i%s.Group*dim:][:dim]
		copy(dst, a.out[i*wide:])
		multiply(dst, 1/a.sum[i])
	}
}

// rows returns n rows of values, or pairs of them, of dimensions j to j+32.
func (kv *KV) rows(head, key, n, j int) []float32 {
	row := kv.value(head, key, j)
	return row[: n*PanelColumns : cap(row)]
}

// soften turns the scores begin to end of row i into weights, and those around them,
// up to n, into zeros; the sums of the blocks before are rescaled where the maximum
// has grown.
func (a *Attention) soften(i, dim, begin, end, n int, first bool, kv *KV) {
	row := a.scores[i*keyBlock:][:keyBlock]
	even := (n + 1) &^ 1
	if first {
		a.most[i], a.sum[i] = float32(math.Inf(-1)), 0
	}
	if begin >= end {
		begin, end = 0, 0
	}
	clear(row[:begin])
	clear(row[end:even])
	if x := row[begin:end]; len(x) > 0 {
		before, raise, sum := a.most[i], exp, float32(0)
		low := float32(expLow)
		if kv.format == BFloat16 {
			a.most[i], sum = weigh(x, before)
			raise, low = power, -126
		} else {
			a.most[i] = max(before, maximum(x))
			sum = expSum(x, a.most[i])
		}
		if a.most[i] > before && a.sum[i] != 0 {
			shrink := float32(0)
			if d := before - a.most[i]; d >= low {
				shrink = raise(d)
			}
			a.sum[i] *= shrink
			multiply(a.out[i*roundUp(dim):][:dim], shrink)
		}
		a.sum[i] += sum
	}
	switch {
	case kv.paired:
		pair(a.weights[i*keyBlock/2:][:even/2], row[:even])
	case kv.format == BFloat16:
		round(row[begin:end])
	}
}

// mul is c[rows][:32] = (c +) a[rows][:depth] · panel, of values or of pairs.
func (a *Attention) mul(paired bool, c []float32, ldc int, x []float32, ldx, rows, depth int, b []float32, add bool) {
	most := tileRows()
	if paired {
		most = maxTileRows
	}
	tiles := (rows + most - 1) / most
	for t := range tiles {
		i0, i1 := rows*t/tiles, rows*(t+1)/tiles
		if paired {
			tilePairs(c[i0*ldc:], ldc, words(x[i0*ldx:]), ldx, i1-i0, depth, words(b), add)
		} else {
			p := panel{f32: b}
			mulTile(c[i0*ldc:], ldc, x[i0*ldx:], ldx, i1-i0, depth, p, p, t, add)
		}
	}
}

func (a *Attention) resize(rows, dim int) {
	grow := func(x *[]float32, n int) {
		if cap(*x) < n {
			*x = make([]float32, n)
		}
		*x = (*x)[:n]
	}
	grow(&a.q, rows*dim)
	grow(&a.scores, rows*keyBlock)
	grow(&a.out, rows*roundUp(dim))
	grow(&a.most, rows)
	grow(&a.sum, rows)
	if n := rows * keyBlock / 2; cap(a.weights) < n {
		a.weights = make([]uint32, n)
	}
	a.weights = a.weights[:rows*keyBlock/2]
}

// floats is words the other way.
func floats(x []uint32) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(&x[0])), len(x))
}

// weighGeneric sets x[i] = 2^(x[i]-most), where most is the largest of x and of before,
// and returns most and the sum, in 32 partial sums. What is less than 2⁻¹²⁶ becomes
// that. NaN anywhere makes the sum NaN, and may make most anything.
func weighGeneric(x []float32, before float32) (most, sum float32) {
	most = before
	for _, v := range x {
		if v > most {
			most = v
		}
	}
	var s [32]float32
	for i, v := range x {
		x[i] = power(max(v-most, -126))
		s[i%32] += x[i]
	}
	return most, fold(&s)
}

// The polynomial of 2ʳ for |r| <= 1/2 with the least relative error, 5.4e-6, that is
// exact at 0 (Remez exchange, 2026-11). A weight is rounded to 2⁻⁹ afterwards.
const (
	pow1 = 6.931053341e-1
	pow2 = 2.402216778e-1
	pow3 = 5.600578835e-2
	pow4 = 9.676037098e-3
)

// power returns 2ˣ for -126 <= x <= 0 to 6e-6. NaN gives NaN.
func power(x float32) float32 {
	z := x + expMagic
	r := x - (z - expMagic)
	p := float32(pow4)
	p = p*r + pow3
	p = p*r + pow2
	p = p*r + pow1
	p = p*r + 1
	return p * math.Float32frombits(math.Float32bits(z)<<23)
}

// bf16 returns the bits of x rounded to bfloat16: to nearest, ties to even. A NaN
// stays one, and what is below 2⁻¹²⁶ becomes zero.
func bf16(x float32) uint32 {
	b := math.Float32bits(x)
	switch {
	case x != x:
		return b>>16 | 0x40
	case b&0x7f800000 == 0:
		return b >> 16 & 0x8000
	}
	return (b + 0x7fff + b>>16&1) >> 16
}

func roundGeneric(x []float32) {
	for i, v := range x {
		x[i] = math.Float32frombits(bf16(v) << 16)
	}
}

// pairGeneric rounds an even number of values to pairs. dst may begin where x does.
func pairGeneric(dst []uint32, x []float32) {
	for i := range len(x) / 2 {
		dst[i] = bf16(x[2*i])<<16 | bf16(x[2*i+1])
	}
}

// tilePairsGeneric is tileGeneric for pairs.
func tilePairsGeneric(c []float32, ldc int, a []uint32, lda, rows, depth int, b []uint32, add bool) {
	for i := range rows {
		x := a[i*lda:][:depth]
		for j := range PanelColumns {
			s := float32(0)
			if add {
				s = c[i*ldc+j]
			}
			for p, v := range x {
				w := b[p*PanelColumns+j]
				s += math.Float32frombits(v&0xffff0000) * math.Float32frombits(w&0xffff0000)
				s += math.Float32frombits(v<<16) * math.Float32frombits(w<<16)
			}
			c[i*ldc+j] = s
		}
	}
}
