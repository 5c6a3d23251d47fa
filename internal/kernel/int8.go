package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

const (
	// int8Range is the largest quantised value; -128 is not used, so that the
	// range is symmetric and |a|·|w| of a pair of products fits in int16.
	int8Range = 127

	// int8Offset is added to the weights where they lie. VPDPBUSD multiplies
	// unsigned by signed bytes, and its broadcast operand, the activations, is the
	// signed one.
	int8Offset = 128

	// int8Group is how many consecutive inputs of a column lie side by side: what
	// VPDPBUSD and SDOT add up in one 32-bit lane.
	int8Group = 4

	// maxInt8K is the most inputs: a sum of 2¹⁷ products of at most 127² stays below
	// 2³¹. On the way sums may wrap around, by the offset, and wrap back.
	maxInt8K = 1 << 17

	// maxInt8Rows is the most rows that any micro-kernel takes at once.
	maxInt8Rows = 14

	// int8Tiny is the magnitude below which all of a row counts as zero, so that
	// 127/int8Tiny is finite.
	int8Tiny = 0x1p-100
)

// Outliers: see [Int8Rows.Set].
//
// Measured on nano (docs/adr/0013-int8.md): the normalised error of its last states
// is 3.8e-4 with none, 1.7e-4 with 8 of them, 1.5e-4 with 16 or with 32; a ratio of 12
// costs 2 % of that, one of 4 saves 10 % and sets values aside in every row.
const (
	maxOutliers  = 16 // of a row
	outlierRatio = 8  // times the row's mean magnitude
)

// ErrWeights is what PackInt8 returns for weights that have no eight-bit form.
var ErrWeights = errors.New("weights cannot be quantised")

// Int8Matrix is a weight matrix in eight bits, with a bias: K values in, N values
// out. Each output has a scale of its own, so that its largest weight is ±127. It
// is immutable and may be used from any number of goroutines.
//
// Columns are kept in panels of 32 as in [Matrix], and a panel is K/4 groups (K
// rounded up) of 128 bytes: byte 4·j+p of group g is the weight of column j for
// input 4·g+p, plus 128. So a 32-bit lane holds four consecutive inputs of one
// column, which is what the dot product instructions of x86-64 (VPDPBUSD) and of
// arm64 (SDOT, after the offset is taken off by flipping the top bit) work on. What
// is beyond K or N is a zero, 128. The layout does not depend on the implementation.
//
// The matrix takes a little more than K·N bytes: [Int8Matrix.Bytes].
type Int8Matrix struct {
	k, n   int
	groups int       // ⌈K/4⌉
	gated  bool      // a panel has 16 gates, then the 16 values that they gate, and makes 16 outputs
	panels []byte    // (panels, groups, 32, 4)
	scales []float32 // (panels, 32): what a weight of 1 stands for
	bias   []float32 // (panels, 32)
}

// PackInt8 quantises a matrix of K=k inputs and N=n outputs. Like [Pack] it calls
// rows(i, dst) once for each output i, in order. bias has n values, or is nil. A row
// that has a NaN or an infinity, or whose magnitudes sum beyond float32, is an
// [ErrWeights], as are too many inputs (2¹⁷).
func PackInt8(rows func(n int, dst []float32), bias []float32, k, n int) (*Int8Matrix, error) {
	return packInt8(rows, bias, k, n, false)
}

// PackInt8Gated is PackInt8 for the two halves of a gated MLP, which go through
// [Int8Matrix.MulSwiGLU] together: outputs 0 to n of rows and bias are the gates,
// outputs n to 2n what they gate. The matrix has N=n outputs.
func PackInt8Gated(rows func(n int, dst []float32), bias []float32, k, n int) (*Int8Matrix, error) {
	return packInt8(rows, bias, k, n, true)
}

func packInt8(rows func(n int, dst []float32), bias []float32, k, n int, gated bool) (*Int8Matrix, error) {
	checkShape(k, 2*n)
	if k > maxInt8K {
		return nil, fmt.Errorf("kernel: %w: %d inputs, at most %d", ErrWeights, k, maxInt8K)
	}
	outputs := n
	if gated {
		outputs = 2 * n
	}
	if bias != nil {
		checkEqual(len(bias), outputs)
	}
	m := &Int8Matrix{k: k, n: n, groups: (k + int8Group - 1) / int8Group, gated: gated}
	panels := (n + m.width() - 1) / m.width()
	m.panels = make([]byte, panels*m.panelBytes())
	m.scales = make([]float32, panels*PanelColumns)
	m.bias = make([]float32, panels*PanelColumns)
	row := make([]float32, k)
	q := make([]int8, roundQ(k))
	if k%int8Group != 0 || n%m.width() != 0 { // there is padding
		for i := range m.panels {
			m.panels[i] = int8Offset
		}
	}
	// rows wants its calls in order: of a gated matrix, first all the gates.
	for i := range outputs {
		rows(i, row)
		at := i // column, panels included
		if gated {
			half := i % n
			at = half/16*PanelColumns + half%16 + i/n*16
		}
		if bias != nil {
			m.bias[at] = bias[i]
		}
		if k == 0 {
			continue
		}
		most, sum := magnitudes(row)
		if !(sum <= math.MaxFloat32) {
			return nil, fmt.Errorf("kernel: %w: output %d has a value that is not finite, or values too large to add", ErrWeights, i)
		}
		if most < int8Tiny {
			clear(q)
		} else {
			quantize(q, row, int8Range/most)
			m.scales[at] = most / int8Range
		}
		lane := m.panels[at/PanelColumns*m.panelBytes()+at%PanelColumns*int8Group:]
		for g := range m.groups {
			x := (*[int8Group]int8)(q[g*int8Group:])
			v := uint32(uint8(x[0])) | uint32(uint8(x[1]))<<8 | uint32(uint8(x[2]))<<16 | uint32(uint8(x[3]))<<24
			binary.LittleEndian.PutUint32(lane[g*int8Group*PanelColumns:], v^0x80808080)
		}
	}
	return m, nil
}

// width is the number of outputs of a panel.
func (m *Int8Matrix) width() int {
	if m.gated {
		return PanelColumns / 2
	}
	return PanelColumns
}

func (m *Int8Matrix) panelBytes() int { return m.groups * int8Group * PanelColumns }

// Dims returns the number of inputs K and of outputs N.
func (m *Int8Matrix) Dims() (k, n int) { return m.k, m.n }

// Bytes returns the memory that m holds.
func (m *Int8Matrix) Bytes() int { return len(m.panels) + 4*(len(m.scales)+len(m.bias)) }

// Int8Rows are rows of activations in eight bits, each with a scale of its own: the
// left side of products with an [Int8Matrix]. It belongs to one goroutine while
// rows are set, and may be read by many then. It allocates in Reset only.
type Int8Rows struct {
	rows, k, stride int
	q               []int8    // (rows, stride); zeros from K on to whole groups
	scales          []float32 // (rows): what a 1 stands for
	starts          []int32   // (rows): -int8Offset·Σq, which takes the weights' offset out of each sum
	outliers        []outlier // (rows, maxOutliers)
	counts          []int     // (rows): outliers of the row
	rest            []float32 // (K): a row without its outliers
	beyond          []uint16  // (K/16): which of its values are beyond a limit
}

// outlier is a value that is multiplied in float32. The assembly knows its layout.
type outlier struct {
	k int32
	v float32
}

// Reset makes room for rows rows of k values. What the rows hold is unspecified
// until Set has written them. It reuses memory.
func (r *Int8Rows) Reset(rows, k int) {
	if rows < 0 || k < 0 || k > maxInt8K || rows > math.MaxInt/(2*maxInt8K) {
		panic("kernel: bad shape of rows")
	}
	// An odd number of cache lines: rows do not fall on one set of the cache.
	stride := (k+63)/64 | 1
	r.rows, r.k, r.stride = rows, k, 64*stride
	r.q = slices.Grow(r.q[:0], rows*r.stride)[:rows*r.stride]
	r.scales = slices.Grow(r.scales[:0], rows)[:rows]
	r.starts = slices.Grow(r.starts[:0], rows)[:rows]
	r.outliers = slices.Grow(r.outliers[:0], rows*maxOutliers)[:rows*maxOutliers]
	r.counts = slices.Grow(r.counts[:0], rows)[:rows]
	r.rest = slices.Grow(r.rest[:0], k)[:k]
	r.beyond = slices.Grow(r.beyond[:0], (k+15)/16)[:(k+15)/16]
}

// Bytes returns the memory that r holds.
func (r *Int8Rows) Bytes() int {
	return cap(r.q) + 4*(cap(r.scales)+cap(r.starts)+cap(r.rest)) + 8*cap(r.counts) + 8*cap(r.outliers)
}

// Set quantises x (K values) as row i: q = x·127/m rounded to the nearest integer,
// and to the even one of two, where m is the largest magnitude.
//
// Outliers are set aside first: the values of more than 8 times the mean magnitude,
// and again, once they are gone, those of more than 8 times what the mean is then,
// up to 16 in all, the largest first. Their products are made in float32. Language
// models have massive activations (Sun et al. 2024, arXiv:2402.17762), and with one
// scale they would leave no digits to all other values.
//
// A row that has a NaN or an infinity, or whose magnitudes sum beyond float32, gives
// products that are NaN. A row whose m is less than 2⁻¹⁰⁰ counts as zeros.
func (r *Int8Rows) Set(i int, x []float32) {
	checkEqual(len(x), r.k)
	q := r.q[i*r.stride:][:r.stride]
	r.scales[i], r.starts[i], r.counts[i] = 0, 0, 0
	if r.k == 0 {
		return
	}
	most, sum := magnitudes(x)
	if !(sum <= math.MaxFloat32) {
		clear(q)
		r.scales[i] = float32(math.NaN())
		return
	}
	if most > outlierRatio*(sum/float32(r.k)) {
		x, most = r.setAside(i, x, most, sum)
	}
	if most < int8Tiny {
		clear(q)
		return
	}
	r.starts[i] = -int8Offset * quantize(q, x, int8Range/most)
	r.scales[i] = most / int8Range
}

// setAside takes the outliers out of row i, whose largest magnitude is most and
// whose magnitudes add up to sum. It returns what is left and its largest magnitude.
func (r *Int8Rows) setAside(i int, x []float32, most, sum float32) (rest []float32, left float32) {
	rest = r.rest
	copy(rest, x)
	all := r.outliers[i*maxOutliers:][:maxOutliers:maxOutliers]
	n := 0
	for n < maxOutliers {
		limit := outlierRatio * (sum / float32(r.k))
		if most <= limit {
			break
		}
		// The largest ones beyond the limit in falling order, of equal ones the first.
		// There are fewer than K/outlierRatio, for they alone would exceed the sum.
		list := all[n:n]
		exceeding(r.beyond, rest, limit)
		for at, word := range r.beyond {
			for ; word != 0; word &= word - 1 {
				k := at*16 + bits.TrailingZeros16(word)
				o := outlier{int32(k), rest[k]}
				l := len(list)
				for ; l > 0 && abs(o.v) > abs(list[l-1].v); l-- {
				}
				if len(list) < cap(list) {
					list = append(list, outlier{})
				}
				if l < len(list) {
					copy(list[l+1:], list[l:])
					list[l] = o
				}
			}
		}
		for _, o := range list {
			rest[o.k] = 0
		}
		n += len(list)
		most, sum = magnitudes(rest)
	}
	r.counts[i] = n
	return rest, most
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// Mul computes outputs n0 to n1 of all rows: c[i*ldc+j] for n0 <= j < n1 is
//
//	(float32(Σ_p q[i][p]·w[j][p])·scale[i] + Σ_outliers v·float32(w[j][k]))·scale[j] + bias[j]
//
// with the first sum in integers, exactly, and every other operation in float32,
// in this order, rounded one by one. So all implementations agree to the last bit.
// n0 is a multiple of 32, and n1 is one or is N. Several goroutines may share c as
// long as their columns differ. The matrix must not be gated.
func (m *Int8Matrix) Mul(c []float32, ldc int, a *Int8Rows, n0, n1 int) {
	m.mul(c, ldc, a, n0, n1, storeProduct)
}

// MulAdd adds what Mul computes to c.
func (m *Int8Matrix) MulAdd(c []float32, ldc int, a *Int8Rows, n0, n1 int) {
	m.mul(c, ldc, a, n0, n1, addProduct)
}

// MulSwiGLU is Mul for a gated matrix: where Mul would compute a gate g and a value
// u, it writes
//
//	g / (1 + exp(-g)) * u
//
// as in [SwiGLU], but without fused multiplications, so that all implementations
// agree to the last bit. n0 is a multiple of 16, and n1 is one or is N.
func (m *Int8Matrix) MulSwiGLU(c []float32, ldc int, a *Int8Rows, n0, n1 int) {
	m.mul(c, ldc, a, n0, n1, gateProduct)
}

// What becomes of a product.
type epilogue uint8

const (
	storeProduct epilogue = iota
	addProduct
	gateProduct
)

func (m *Int8Matrix) mul(c []float32, ldc int, a *Int8Rows, n0, n1 int, e epilogue) {
	width := m.width()
	switch {
	case m.gated != (e == gateProduct):
		panic("kernel: product does not fit a gated matrix")
	case a.k != m.k:
		panic("kernel: rows do not fit the matrix")
	case n0 < 0 || n1 < n0 || n1 > m.n || n0%width != 0 || n1%width != 0 && n1 != m.n:
		panic("kernel: bad range of outputs")
	case a.rows == 0 || n0 == n1:
		return
	}
	checkMatrix(c, ldc, a.rows, n1)
	var (
		sums  [maxInt8Rows * PanelColumns]int32
		extra [maxInt8Rows * PanelColumns]float32
		side  [maxInt8Rows * PanelColumns]float32
	)
	height := int8TileRows()
	tiles := (a.rows + height - 1) / height
	for j0 := n0; j0 < n1; j0 += width {
		panel := m.panels[j0/width*m.panelBytes():][:m.panelBytes()]
		next := panel
		if j0+width < n1 {
			next = m.panels[(j0/width+1)*m.panelBytes():][:m.panelBytes()]
		}
		t := int8Tile{
			scales: (*[PanelColumns]float32)(m.scales[j0/width*PanelColumns:]),
			bias:   (*[PanelColumns]float32)(m.bias[j0/width*PanelColumns:]),
			sums:   sums[:], e: e,
		}
		for tile := range tiles {
			// Tiles of almost equal height, as in mulPanel.
			i0, i1 := a.rows*tile/tiles, a.rows*(tile+1)/tiles
			t.rowScales = a.scales[i0:i1]
			if m.groups > 0 {
				sumTile(sums[:], a.q[i0*a.stride:], a.stride, a.starts[i0:i1], m.groups, panel, next)
			} else {
				clear(sums[:])
			}
			t.extra = nil
			for i := i0; i < i1; i++ {
				n := a.counts[i]
				if n > 0 && t.extra == nil {
					t.extra = extra[:]
					clear(extra[:])
				}
				if n > 0 {
					multiplyOutliers((*[PanelColumns]float32)(extra[(i-i0)*PanelColumns:]), panel, a.outliers[i*maxOutliers:][:n])
				}
			}
			if j0+width <= n1 {
				t.c, t.ldc = c[i0*ldc+j0:], ldc
				t.finish()
				continue
			}
			// A part of the panel only: whole rows go to one side, the part to c.
			t.c, t.ldc = side[:], PanelColumns
			for i := i0; i < i1 && e == addProduct; i++ {
				copy(side[(i-i0)*PanelColumns:], c[i*ldc:][j0:n1])
			}
			t.finish()
			for i := i0; i < i1; i++ {
				copy(c[i*ldc:][j0:n1], side[(i-i0)*PanelColumns:])
			}
		}
	}
}

// int8Tile is a tile of integer sums on its way to c.
type int8Tile struct {
	c            []float32 // (rows, ldc)
	ldc          int
	sums         []int32   // (rows, 32)
	extra        []float32 // (rows, 32), what outliers add; nil for nothing
	rowScales    []float32 // (rows)
	scales, bias *[PanelColumns]float32
	e            epilogue
}

// finishGeneric is what every epilogue computes.
func (t *int8Tile) finishGeneric() {
	for i, rowScale := range t.rowScales {
		var y [PanelColumns]float32
		for j := range y {
			x := float32(t.sums[i*PanelColumns+j]) * rowScale
			if t.extra != nil {
				x = float32(x) + t.extra[i*PanelColumns+j]
			}
			y[j] = float32(x*t.scales[j]) + t.bias[j]
		}
		c := t.c[i*t.ldc:]
		switch t.e {
		case storeProduct:
			copy(c, y[:])
		case addProduct:
			for j, v := range y {
				c[j] += v
			}
		case gateProduct:
			for j, g := range y[:PanelColumns/2] {
				e := expUnfused(max(expLow, min(expHigh, -g)))
				c[j] = float32(g/(1+e)) * y[j+PanelColumns/2]
			}
		}
	}
}

// sumTileGeneric is what every micro-kernel computes: the integer products of up to
// maxInt8Rows rows of a with one panel.
//
//	sums[i*32+j] = starts[i] + Σ_p a[i*lda+p] * panel[p/4][j][p%4]
//
// or, which is the same, the sum of a[i*lda+p] * (panel[p/4][j][p%4] - 128) alone.
func sumTileGeneric(sums []int32, a []int8, lda int, starts []int32, groups int, panel []byte) {
	for i, start := range starts {
		for j := 0; j < PanelColumns; j += 4 {
			s0, s1, s2, s3 := start, start, start, start
			for g := range groups {
				x := (*[int8Group]int8)(a[i*lda+g*int8Group:])
				w := (*[4 * int8Group]byte)(panel[(g*PanelColumns+j)*int8Group:])
				x0, x1, x2, x3 := int32(x[0]), int32(x[1]), int32(x[2]), int32(x[3])
				s0 += x0*int32(w[0]) + x1*int32(w[1]) + x2*int32(w[2]) + x3*int32(w[3])
				s1 += x0*int32(w[4]) + x1*int32(w[5]) + x2*int32(w[6]) + x3*int32(w[7])
				s2 += x0*int32(w[8]) + x1*int32(w[9]) + x2*int32(w[10]) + x3*int32(w[11])
				s3 += x0*int32(w[12]) + x1*int32(w[13]) + x2*int32(w[14]) + x3*int32(w[15])
			}
			copy(sums[i*PanelColumns+j:], []int32{s0, s1, s2, s3})
		}
	}
}

// multiplyOutliersGeneric adds up the products of one row's outliers with a panel:
//
//	extra[j] = Σ_l list[l].v * (panel[k/4][j][k%4] - 128), where k is list[l].k
func multiplyOutliersGeneric(extra *[PanelColumns]float32, panel []byte, list []outlier) {
	clear(extra[:])
	for _, o := range list {
		group := panel[o.k/int8Group*int8Group*PanelColumns:]
		for j := range extra {
			w := float32(int32(group[j*int8Group+int(o.k)%int8Group]) - int8Offset)
			extra[j] += float32(o.v * w)
		}
	}
}

// magnitudesGeneric returns the largest of |x| and their sum in 32 partial sums. If
// one is NaN, so is the sum, and most is anything.
func magnitudesGeneric(x []float32) (most, sum float32) {
	var s [32]float32
	for i, v := range x {
		v = abs(v)
		if v > most {
			most = v
		}
		s[i%32] += v
	}
	return most, fold(&s)
}

// exceedingGeneric sets bit i%16 of beyond[i/16] if |x[i]| > limit, and clears the others.
func exceedingGeneric(beyond []uint16, x []float32, limit float32) {
	clear(beyond)
	for i, v := range x {
		if abs(v) > limit {
			beyond[i/16] |= 1 << (i % 16)
		}
	}
}

// quantizeGeneric sets q[i] = x[i]*s, rounded, for values whose product is
// at most 127 then, and returns the sum of q. It writes zeros up to the next
// multiple of 16 values.
func quantizeGeneric(q []int8, x []float32, s float32) (sum int32) {
	clear(q[len(x):roundQ(len(x))])
	for i, v := range x {
		n := int8(math.RoundToEven(float64(v * s)))
		q[i] = n
		sum += int32(n)
	}
	return sum
}

// roundQ rounds a number of quantised values up to what quantize writes.
func roundQ(n int) int { return (n + 15) &^ 15 }

// expUnfused is exp with every product rounded, on every processor.
func expUnfused(x float32) float32 {
	z := float32(x*log2E) + expMagic
	n := z - expMagic
	r := x - float32(n*ln2High)
	r -= float32(n * ln2Low)
	p := float32(exp0)
	p = float32(p*r) + exp1
	p = float32(p*r) + exp2
	p = float32(p*r) + exp3
	p = float32(p*r) + exp4
	p = float32(p*r) + exp5
	p = float32(p*float32(r*r)) + r
	p++
	return float32(p * math.Float32frombits(math.Float32bits(z)<<23))
}
