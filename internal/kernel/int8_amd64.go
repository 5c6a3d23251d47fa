//go:build !purego

package kernel

import "unsafe"

// int8TileRows returns the number of rows that sumTile takes at once.
func int8TileRows() int {
	switch {
	case active == avx512 && dotProduct:
		return maxInt8Rows
	case active >= avx2 && dotProduct:
		return 6
	case active >= avx2:
		return 4
	}
	return maxInt8Rows
}

// sumTile is sumTileGeneric. next is the panel that comes next.
func sumTile(sums []int32, a []int8, lda int, starts []int32, groups int, panel, next []byte) {
	rows := len(starts)
	// The assembly reads and writes whole tiles: see that they are there.
	_ = sums[rows*PanelColumns-1]
	_ = a[(rows-1)*lda+groups*int8Group-1]
	_ = panel[groups*int8Group*PanelColumns-1]
	switch {
	case active == avx512 && dotProduct:
		sumTileAVX512VNNI(&sums[0], &a[0], lda, &starts[0], rows, groups, &panel[0], &next[0])
	case active >= avx2 && dotProduct:
		sumTileAVX2VNNI(&sums[0], &a[0], lda, &starts[0], rows, groups, &panel[0], &next[0])
		sumTileAVX2VNNI(&sums[16], &a[0], lda, &starts[0], rows, groups, &panel[64], &next[0])
	case active >= avx2:
		sumTileAVX2(&sums[0], &a[0], lda, &starts[0], rows, groups, &panel[0], &next[0])
		sumTileAVX2(&sums[16], &a[0], lda, &starts[0], rows, groups, &panel[64], &next[0])
	default:
		sumTileGeneric(sums, a, lda, starts, groups, panel)
	}
}

// finish is finishGeneric.
func (t *int8Tile) finish() {
	if active == generic {
		t.finishGeneric()
		return
	}
	rows, columns := len(t.rowScales), PanelColumns
	if t.e == gateProduct {
		columns /= 2
	}
	_ = t.c[(rows-1)*t.ldc+columns-1]
	_ = t.sums[rows*PanelColumns-1]
	var extra *float32
	if t.extra != nil {
		_ = t.extra[rows*PanelColumns-1]
		extra = &t.extra[0]
	}
	add := 0
	if t.e == addProduct {
		add = 1
	}
	switch {
	case t.e == gateProduct && active == avx512:
		finishGatedAVX512(&t.c[0], t.ldc, &t.sums[0], extra, &t.rowScales[0], &t.scales[0], &t.bias[0], rows)
	case t.e == gateProduct:
		finishGatedAVX2(&t.c[0], t.ldc, &t.sums[0], extra, &t.rowScales[0], &t.scales[0], &t.bias[0], rows)
	case active == avx512:
		finishAVX512(&t.c[0], t.ldc, &t.sums[0], extra, &t.rowScales[0], &t.scales[0], &t.bias[0], rows, add)
	default:
		finishAVX2(&t.c[0], t.ldc, &t.sums[0], extra, &t.rowScales[0], &t.scales[0], &t.bias[0], rows, add)
	}
}

// multiplyOutliers is multiplyOutliersGeneric, for at least one outlier.
func multiplyOutliers(extra *[PanelColumns]float32, panel []byte, list []outlier) {
	// Int8Rows has seen to it that each k lies in the panel.
	at := (*byte)(unsafe.Pointer(&list[0]))
	switch active {
	case avx512:
		multiplyOutliersAVX512(&extra[0], &panel[0], at, len(list))
	case avx2:
		multiplyOutliersAVX2(&extra[0], &panel[0], at, len(list))
	default:
		multiplyOutliersGeneric(extra, panel, list)
	}
}

// magnitudes is magnitudesGeneric, for at least one value.
func magnitudes(x []float32) (most, sum float32) {
	switch active {
	case avx512:
		return magnitudesAVX512(&x[0], len(x))
	case avx2:
		return magnitudesAVX2(&x[0], len(x))
	}
	return magnitudesGeneric(x)
}

// exceeding is exceedingGeneric, for at least one value.
func exceeding(beyond []uint16, x []float32, limit float32) {
	_ = beyond[(len(x)+15)/16-1]
	switch active {
	case avx512:
		exceedingAVX512(&beyond[0], &x[0], limit, len(x))
	case avx2:
		exceedingAVX2(&beyond[0], &x[0], limit, len(x))
	default:
		exceedingGeneric(beyond, x, limit)
	}
}

// quantize is quantizeGeneric, for at least one value.
func quantize(q []int8, x []float32, s float32) (sum int32) {
	_ = q[roundQ(len(x))-1]
	switch active {
	case avx512:
		return quantizeAVX512(&q[0], &x[0], s, len(x))
	case avx2:
		return quantizeAVX2(&q[0], &x[0], s, len(x))
	}
	return quantizeGeneric(q, x, s)
}

// sumTileAVX512VNNI is sumTileGeneric with 1 to 14 rows, with the stride lda in
// bytes. It prefetches groups*128 bytes (groups rounded down to a multiple of 4) from next.
//
//go:noescape
func sumTileAVX512VNNI(sums *int32, a *int8, lda int, starts *int32, rows, groups int, panel, next *byte)

// sumTileAVX2VNNI is sumTileGeneric with half of a panel, columns 0 to 16 of panel and of
// sums, and 1 to 6 rows. It needs AVX-VNNI, and prefetches like sumTileAVX512VNNI.
//
//go:noescape
func sumTileAVX2VNNI(sums *int32, a *int8, lda int, starts *int32, rows, groups int, panel, next *byte)

// sumTileAVX2 is sumTileAVX2VNNI without VNNI, with 1 to 4 rows. It does not
// look at starts.
//
//go:noescape
func sumTileAVX2(sums *int32, a *int8, lda int, starts *int32, rows, groups int, panel, next *byte)

// finishAVX512 is finishGeneric for products that are stored or, if add is 1, added:
//
//	for i := range rows {
//		for j := range 32 {
//			y := (float32(sums[i*32+j])*rowScales[i] + extra[i*32+j]) * scales[j] + bias[j]
//			c[i*ldc+j] = y // or c[i*ldc+j] + y
//		}
//	}
//
// extra may be nil, for zeros.
//
//go:noescape
func finishAVX512(c *float32, ldc int, sums *int32, extra, rowScales, scales, bias *float32, rows, add int)

// finishAVX2 is finishAVX512 with narrower registers and the same bits.
//
//go:noescape
func finishAVX2(c *float32, ldc int, sums *int32, extra, rowScales, scales, bias *float32, rows, add int)

// finishGatedAVX512 is finishGeneric for gated products: with y as in finishAVX512,
//
//	for j := range 16 {
//		c[i*ldc+j] = y[j] / (1 + exp(-y[j])) * y[j+16]
//	}
//
//go:noescape
func finishGatedAVX512(c *float32, ldc int, sums *int32, extra, rowScales, scales, bias *float32, rows int)

// finishGatedAVX2 is finishGatedAVX512 with narrower registers and the same bits.
//
//go:noescape
func finishGatedAVX2(c *float32, ldc int, sums *int32, extra, rowScales, scales, bias *float32, rows int)

// multiplyOutliersAVX512 is multiplyOutliersGeneric:
//
//	for j := range 32 {
//		extra[j] = 0
//		for l := range n {
//			k := list[l].k
//			extra[j] += list[l].v * float32(int(panel[k/4*128+4*j+k%4])-128)
//		}
//	}
//
//go:noescape
func multiplyOutliersAVX512(extra *float32, panel *byte, list *byte, n int)

// multiplyOutliersAVX2 is multiplyOutliersAVX512 with narrower registers and the same bits.
//
//go:noescape
func multiplyOutliersAVX2(extra *float32, panel *byte, list *byte, n int)

// magnitudesAVX512 is magnitudesGeneric:
//
//	for i := range n {
//		most = max(most, |x[i]|)
//		sum += |x[i]| // in 32 partial sums
//	}
//
//go:noescape
func magnitudesAVX512(x *float32, n int) (most, sum float32)

// magnitudesAVX2 is magnitudesAVX512 with narrower registers and the same bits.
//
//go:noescape
func magnitudesAVX2(x *float32, n int) (most, sum float32)

// exceedingAVX512 is exceedingGeneric:
//
//	for i := range n {
//		beyond[i/16] |= 1<<(i%16) if |x[i]| > limit
//	}
//
//go:noescape
func exceedingAVX512(beyond *uint16, x *float32, limit float32, n int)

// exceedingAVX2 is exceedingAVX512 with narrower registers.
//
//go:noescape
func exceedingAVX2(beyond *uint16, x *float32, limit float32, n int)

// quantizeAVX512 is quantizeGeneric:
//
//	for i := range n {
//		q[i] = int8(roundToEven(x[i] * s))
//		sum += q[i]
//	}
//	clear(q[n:(n+15)&^15])
//	return sum
//
//go:noescape
func quantizeAVX512(q *int8, x *float32, s float32, n int) int32

// quantizeAVX2 is quantizeAVX512 with narrower registers.
//
//go:noescape
func quantizeAVX2(q *int8, x *float32, s float32, n int) int32
