package kernel

import (
	"math"
	"sync"
)

const (
	// PanelColumns is the number of columns of a panel. Column ranges that begin
	// and end at its multiples run fastest.
	PanelColumns = 32

	// lanes of a bfloat16 panel row: two columns each.
	panelLanes = PanelColumns / 2

	// maxTileRows is the most rows that any micro-kernel takes at once.
	maxTileRows = 12

	// blockBytes is how much of a (float32) stays in the second-level cache, 2 MB
	// on the servers and 1 MB or more on the desktops of the last years, while the
	// panels pass by.
	blockBytes = 768 << 10

	// blockK is how many rows of a float32 panel are used before the next panel:
	// 256 KiB, so that panel and activations share that cache.
	blockK = 2048

	// expandK is the same for bfloat16 panels that are expanded first: the scratch
	// of 96 KiB.
	expandK = 768

	// expandRows is the number of rows from which on a bfloat16 panel is expanded
	// once instead of in every tile. Measured on Emerald Rapids at K=576 and 1536,
	// with and without, GFLOP/s (2026-11): AVX-512 150 and 152 at 48 rows, 158 and
	// 156 at 128, 160 and 152 at 512; AVX2 70 and 74, 79 and 75, 81 and 75.
	expandRows = 96
)

// Matrix is a weight matrix, packed for the micro-kernels: K values in, N values
// out. It is immutable and may be used from any number of goroutines.
//
// Columns are kept in panels of 32, padded with zeros: a panel is K rows of 32
// columns. A float32 matrix takes K·N·4 bytes, a bfloat16 matrix K·N·2, with N
// rounded up to a multiple of 32. The layout does not depend on the
// implementation.
type Matrix struct {
	k, n int
	f32  []float32 // (panels, k, 32), when the matrix is float32
	// bf16 is (panels, k, 16) when the matrix is bfloat16. The low half of lane j
	// is column j of the panel, the high half column j+16, so that a shift and a
	// mask make float32 of them.
	bf16 []uint32
}

// Pack makes a float32 matrix of K=k inputs and N=n outputs. It calls rows(i, dst)
// once for each output i, in order, to fill dst (k values) with row i of the
// (out, in) weight as Hugging Face stores it.
func Pack(rows func(n int, dst []float32), k, n int) *Matrix {
	m := new(Matrix)
	m.reset(k, n)
	buf := make([]float32, min(n, PanelColumns)*k)
	for n0 := 0; n0 < n; n0 += PanelColumns {
		columns := min(n-n0, PanelColumns)
		for j := range columns {
			rows(n0+j, buf[j*k:][:k:k])
		}
		m.setColumns(n0, buf, k, columns)
	}
	return m
}

// PackBF16 is Pack for weights that are bfloat16: rows hands out their bits. The
// matrix takes half the memory and gives the same results to the last bit, for a
// bfloat16 is the upper half of a float32.
func PackBF16(rows func(n int, dst []uint16), k, n int) *Matrix {
	checkShape(k, n)
	m := &Matrix{k: k, n: n, bf16: make([]uint32, roundUp(n)*k/2)}
	buf := make([]uint16, PanelColumns*k)
	for n0 := 0; n0 < n; n0 += PanelColumns {
		columns := min(n-n0, PanelColumns)
		for j := range columns {
			rows(n0+j, buf[j*k:][:k:k])
		}
		clear(buf[columns*k:])
		panel := m.bf16[n0*k/2:][:panelLanes*k]
		for p0 := 0; p0 < k; p0 += packBlock {
			p1 := min(p0+packBlock, k)
			for j := range panelLanes {
				low, high := buf[j*k:][p0:p1], buf[(j+panelLanes)*k:][p0:p1]
				dst := panel[p0*panelLanes+j:]
				for p, x := range low {
					dst[p*panelLanes] = uint32(x) | uint32(high[p])<<16
				}
			}
		}
	}
	return m
}

// packBlock is how many rows of a panel are filled at a time: 16 KiB of float32,
// which stay in the first-level cache.
const packBlock = 128

// Dims returns the number of inputs K and of outputs N.
func (m *Matrix) Dims() (k, n int) { return m.k, m.n }

// Bytes returns the memory that m holds.
func (m *Matrix) Bytes() int { return 4 * (cap(m.f32) + len(m.bf16)) }

// reset makes m a float32 matrix of k inputs and n outputs, whose values are
// unspecified until setColumns has written them. It reuses the memory
// that m had where that suffices.
func (m *Matrix) reset(k, n int) {
	checkShape(k, n)
	size := roundUp(n) * k
	if cap(m.f32) < size {
		m.f32 = make([]float32, size)
	}
	*m = Matrix{k: k, n: n, f32: m.f32[:size]}
}

// setColumns writes columns n0 to n0+n of a float32 matrix: column n0+i becomes
// x[i*stride:][:K].
func (m *Matrix) setColumns(n0 int, x []float32, stride, n int) {
	if m.bf16 != nil {
		panic("kernel: setColumns of a bfloat16 matrix")
	}
	if n0 < 0 || n < 0 || n0+n > m.n {
		panic("kernel: setColumns outside the matrix")
	}
	if n == 0 || m.k == 0 {
		return
	}
	checkMatrix(x, stride, n, m.k)
	for end := n0 + n; n0 < end; {
		columns := min(PanelColumns-n0%PanelColumns, end-n0)
		panel := m.f32[(n0-n0%PanelColumns)*m.k:][:PanelColumns*m.k]
		for p0 := 0; p0 < m.k; p0 += packBlock {
			p1 := min(p0+packBlock, m.k)
			for j := range columns {
				dst := panel[p0*PanelColumns+n0%PanelColumns+j:]
				for p, v := range x[j*stride:][p0:p1] {
					dst[p*PanelColumns] = v
				}
			}
		}
		n0 += columns
		if n0 < end {
			x = x[columns*stride:]
		}
	}
}

// Mul computes c = a·Wᵀ: for each row i of a (rows, K) and each output j,
//
//	c[i*N+j] = Σ_p a[i*K+p] * W[j][p]
//
// summed in the order of p. It overwrites c (rows, N), which must not overlap a.
func (m *Matrix) Mul(c, a []float32, rows int) {
	m.mul(c, m.n, a, m.k, rows, m.k, 0, m.n, false)
}

// MulAdd computes c += a·Wᵀ, beginning each sum with c.
func (m *Matrix) MulAdd(c, a []float32, rows int) {
	m.mul(c, m.n, a, m.k, rows, m.k, 0, m.n, true)
}

// MulRange is Mul for outputs n0 to n1 and for matrices with other row strides:
// it writes c[i*ldc+j] from a[i*lda:][:K] for n0 <= j < n1 and leaves the rest of
// c alone. Several goroutines may share c as long as their rows or their columns
// differ.
func (m *Matrix) MulRange(c []float32, ldc int, a []float32, lda, rows, n0, n1 int) {
	m.mul(c, ldc, a, lda, rows, m.k, n0, n1, false)
}

// MulAddRange is MulRange for c += a·Wᵀ.
func (m *Matrix) MulAddRange(c []float32, ldc int, a []float32, lda, rows, n0, n1 int) {
	m.mul(c, ldc, a, lda, rows, m.k, n0, n1, true)
}

// mul is all the products above: c[rows][n0:n1] = (c +) a[rows][:k] · Wᵀ.
//
// The activations are cut so that a block of them stays in the second-level cache
// while all panels pass by; a panel, in its turn, stays there (and mostly in the
// first level) while the micro-kernel goes down the rows. A sum that is cut in k
// goes on from c, so that cuts change no bit.
func (m *Matrix) mul(c []float32, ldc int, a []float32, lda, rows, k, n0, n1 int, add bool) {
	if rows < 0 || n0 < 0 || n1 < n0 || n1 > m.n {
		panic("kernel: Mul outside the matrix")
	}
	if rows == 0 || n0 == n1 {
		return
	}
	checkMatrix(c, ldc, rows, n1)
	if k == 0 {
		if !add {
			for i := range rows {
				clear(c[i*ldc:][n0:n1])
			}
		}
		return
	}
	checkMatrix(a, lda, rows, k)

	expand := m.bf16 != nil && rows >= expandRows && active != generic
	var scratch *[expandK * PanelColumns]float32
	cut := blockK
	if expand {
		scratch = scratches.Get().(*[expandK * PanelColumns]float32)
		defer scratches.Put(scratch)
		cut = expandK
	}
	cuts := (k + cut - 1) / cut
	kb := ((k+cuts-1)/cuts + 3) &^ 3 // whole turns of the micro-kernel's loop
	cuts = (rows*kb*4 + blockBytes - 1) / blockBytes
	mb := (rows + cuts - 1) / cuts
	mb = (mb + maxTileRows - 1) / maxTileRows * maxTileRows

	for i0 := 0; i0 < rows; i0 += mb {
		mrows := min(mb, rows-i0)
		for k0 := 0; k0 < k; k0 += kb {
			depth := min(kb, k-k0)
			for j0 := n0 - n0%PanelColumns; j0 < n1; j0 += PanelColumns {
				b := m.panel(j0, k0, depth)
				next := b
				if j0+PanelColumns < n1 {
					next = m.panel(j0+PanelColumns, k0, depth)
				}
				if expand {
					expandPanel(scratch[:depth*PanelColumns], b.bf16)
					b = panel{f32: scratch[:depth*PanelColumns]}
				}
				mulPanel(c[i0*ldc:], ldc, a[i0*lda+k0:], lda, mrows, depth, b, next,
					j0, max(n0, j0), min(n1, j0+PanelColumns), add || k0 > 0)
			}
		}
	}
}

// scratches holds expanded panels.
var scratches = sync.Pool{New: func() any { return new([expandK * PanelColumns]float32) }}

// A panel is some rows of a panel of a matrix, of one type or the other.
type panel struct {
	f32  []float32 // (depth, 32)
	bf16 []uint32  // (depth, 16)
}

// panel returns depth rows from k0 on of the panel that begins with column j0.
func (m *Matrix) panel(j0, k0, depth int) panel {
	if m.bf16 != nil {
		return panel{bf16: m.bf16[j0*m.k/2+k0*panelLanes:][:depth*panelLanes]}
	}
	return panel{f32: m.f32[j0*m.k+k0*PanelColumns:][:depth*PanelColumns]}
}

// mulPanel multiplies rows of a by panel b, whose columns are j0 to j0+32 of c, and
// writes columns n0 to n1 of c. It goes down the rows in tiles of almost equal
// height: 32 rows are 11+11+10 and not 12+12+8, 13 are 7+6 and not 12+1.
func mulPanel(c []float32, ldc int, a []float32, lda, rows, depth int, b, next panel, j0, n0, n1 int, add bool) {
	tiles := (rows + tileRows() - 1) / tileRows()
	for t := range tiles {
		i0, i1 := rows*t/tiles, rows*(t+1)/tiles
		ai := a[i0*lda:]
		if n1-n0 == PanelColumns {
			mulTile(c[i0*ldc+j0:], ldc, ai, lda, i1-i0, depth, b, next, t, add)
			continue
		}
		// A part of the panel only: whole rows go to one side, the part to c.
		var side [maxTileRows * PanelColumns]float32
		if add {
			for i := i0; i < i1; i++ {
				copy(side[(i-i0)*PanelColumns+n0-j0:], c[i*ldc:][n0:n1])
			}
		}
		mulTile(side[:], PanelColumns, ai, lda, i1-i0, depth, b, next, t, add)
		for i := i0; i < i1; i++ {
			copy(c[i*ldc:][n0:n1], side[(i-i0)*PanelColumns+n0-j0:])
		}
	}
}

// tileGeneric is what every micro-kernel computes: up to maxTileRows rows of a
// times one panel.
//
//	c[i*ldc+j] = (c[i*ldc+j] if add) + Σ_p a[i*lda+p] * b[p][j]
//
// The sums of eight columns stay in registers.
func tileGeneric(c []float32, ldc int, a []float32, lda, rows, depth int, b panel, add bool) {
	for i := range rows {
		x := a[i*lda:][:depth]
		for j := 0; j < PanelColumns; j += 8 {
			dst := (*[8]float32)(c[i*ldc+j:])
			var s [8]float32
			if add {
				s = *dst
			}
			if b.bf16 != nil {
				dotsBF16(&s, x, b.bf16, j)
			} else {
				dotsF32(&s, x, b.f32[j:])
			}
			*dst = s
		}
	}
}

func dotsF32(s *[8]float32, x, b []float32) {
	s0, s1, s2, s3, s4, s5, s6, s7 := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	for p, v := range x {
		w := (*[8]float32)(b[p*PanelColumns:])
		s0 += v * w[0]
		s1 += v * w[1]
		s2 += v * w[2]
		s3 += v * w[3]
		s4 += v * w[4]
		s5 += v * w[5]
		s6 += v * w[6]
		s7 += v * w[7]
	}
	*s = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
}

// dotsBF16 is dotsF32 for columns j to j+8 of a bfloat16 panel.
func dotsBF16(s *[8]float32, x []float32, b []uint32, j int) {
	for p, v := range x {
		w := (*[8]uint32)(b[p*panelLanes+j%panelLanes:])
		if j < panelLanes {
			for l := range w {
				s[l] += v * math.Float32frombits(w[l]<<16)
			}
		} else {
			for l := range w {
				s[l] += v * math.Float32frombits(w[l]&0xffff0000)
			}
		}
	}
}

// checkShape panics unless a matrix of k inputs and n outputs can be indexed.
func checkShape(k, n int) {
	if k < 0 || n < 0 || (n > 0 && k > math.MaxInt/8/roundUp(n)) {
		panic("kernel: bad matrix shape")
	}
}

// checkMatrix panics unless x holds rows rows of columns values, stride apart.
func checkMatrix(x []float32, stride, rows, columns int) {
	if stride < columns && rows > 1 {
		panic("kernel: row stride is less than the row")
	}
	if len(x) < columns || (len(x)-columns)/max(stride, 1) < rows-1 {
		panic("kernel: slice is too short for its rows")
	}
}

// roundUp rounds a number of columns up to whole panels.
func roundUp(n int) int { return (n + PanelColumns - 1) / PanelColumns * PanelColumns }
