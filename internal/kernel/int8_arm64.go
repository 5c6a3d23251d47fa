//go:build !purego

package kernel

// int8TileRows returns the number of rows that sumTile takes at once.
func int8TileRows() int {
	switch {
	case active == generic:
		return maxInt8Rows
	case dotProduct:
		return 6
	}
	return 4
}

// sumTile is sumTileGeneric.
func sumTile(sums []int32, a []int8, lda int, starts []int32, groups int, panel, _ []byte) {
	if active == generic {
		sumTileGeneric(sums, a, lda, starts, groups, panel)
		return
	}
	rows := len(starts)
	// The assembly reads and writes whole tiles: see that they are there.
	_ = sums[rows*PanelColumns-1]
	_ = a[(rows-1)*lda+groups*int8Group-1]
	_ = panel[groups*int8Group*PanelColumns-1]
	if dotProduct {
		sumTileSDOT(&sums[0], &a[0], lda, rows, groups, &panel[0])
		sumTileSDOT(&sums[16], &a[0], lda, rows, groups, &panel[64])
		return
	}
	sumTileNEON(&sums[0], &a[0], lda, rows, groups, &panel[0])
	sumTileNEON(&sums[16], &a[0], lda, rows, groups, &panel[64])
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
	switch t.e {
	case gateProduct:
		finishGatedNEON(&t.c[0], t.ldc, &t.sums[0], extra, &t.rowScales[0], &t.scales[0], &t.bias[0], rows)
	case addProduct:
		finishNEON(&t.c[0], t.ldc, &t.sums[0], extra, &t.rowScales[0], &t.scales[0], &t.bias[0], rows, 1)
	default:
		finishNEON(&t.c[0], t.ldc, &t.sums[0], extra, &t.rowScales[0], &t.scales[0], &t.bias[0], rows, 0)
	}
}

// multiplyOutliers is multiplyOutliersGeneric.
func multiplyOutliers(extra *[PanelColumns]float32, panel []byte, list []outlier) {
	if active == generic {
		multiplyOutliersGeneric(extra, panel, list)
		return
	}
	for _, o := range list {
		group := panel[int(o.k)/int8Group*int8Group*PanelColumns:][:int8Group*PanelColumns]
		multiplyOutlierNEON(&extra[0], &group[0], int(o.k)%int8Group, o.v)
	}
}

// exceeding is asked of the few rows that have outliers.
func exceeding(beyond []uint16, x []float32, limit float32) { exceedingGeneric(beyond, x, limit) }

// magnitudes is magnitudesGeneric, for at least one value.
func magnitudes(x []float32) (most, sum float32) {
	if active == generic {
		return magnitudesGeneric(x)
	}
	return magnitudesNEON(&x[0], len(x))
}

// quantize is quantizeGeneric, for at least one value.
func quantize(q []int8, x []float32, s float32) (sum int32) {
	if active == generic {
		return quantizeGeneric(q, x, s)
	}
	_ = q[roundQ(len(x))-1]
	return quantizeNEON(&q[0], &x[0], s, len(x))
}

// sumTileSDOT is sumTileGeneric with half of a panel, columns 0 to 16 of panel and of
// sums, and 1 to 6 rows, with the stride lda in bytes. It needs the dot product extension.
//
//go:noescape
func sumTileSDOT(sums *int32, a *int8, lda, rows, groups int, panel *byte)

// sumTileNEON is sumTileSDOT without that extension, with 1 to 4 rows.
//
//go:noescape
func sumTileNEON(sums *int32, a *int8, lda, rows, groups int, panel *byte)

// finishNEON is finishGeneric for products that are stored or, if add is 1, added:
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
func finishNEON(c *float32, ldc int, sums *int32, extra, rowScales, scales, bias *float32, rows, add int)

// finishGatedNEON is finishGeneric for gated products: with y as in finishNEON,
//
//	for j := range 16 {
//		c[i*ldc+j] = y[j] / (1 + exp(-y[j])) * y[j+16]
//	}
//
//go:noescape
func finishGatedNEON(c *float32, ldc int, sums *int32, extra, rowScales, scales, bias *float32, rows int)

// multiplyOutlierNEON is one turn of multiplyOutliersGeneric:
//
//	for j := range 32 {
//		extra[j] += v * float32(int(group[4*j+p])-128)
//	}
//
//go:noescape
func multiplyOutlierNEON(extra *float32, group *byte, p int, v float32)

// magnitudesNEON is magnitudesGeneric:
//
//	for i := range n {
//		most = max(most, |x[i]|)
//		sum += |x[i]| // in 32 partial sums
//	}
//
//go:noescape
func magnitudesNEON(x *float32, n int) (most, sum float32)

// quantizeNEON is quantizeGeneric:
//
//	for i := range n {
//		q[i] = int8(roundToEven(x[i] * s))
//		sum += q[i]
//	}
//	clear(q[n:(n+15)&^15])
//	return sum
//
//go:noescape
func quantizeNEON(q *int8, x *float32, s float32, n int) int32
