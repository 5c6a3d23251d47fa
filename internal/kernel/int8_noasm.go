//go:build !amd64 || purego

package kernel

func int8TileRows() int { return maxInt8Rows }

func sumTile(sums []int32, a []int8, lda int, starts []int32, groups int, panel, _ []byte) {
	sumTileGeneric(sums, a, lda, starts, groups, panel)
}

func (t *int8Tile) finish() { t.finishGeneric() }

func multiplyOutliers(extra *[PanelColumns]float32, panel []byte, list []outlier) {
	multiplyOutliersGeneric(extra, panel, list)
}

func magnitudes(x []float32) (most, sum float32) { return magnitudesGeneric(x) }

func exceeding(beyond []uint16, x []float32, limit float32) { exceedingGeneric(beyond, x, limit) }

func quantize(q []int8, x []float32, s float32) (sum int32) { return quantizeGeneric(q, x, s) }
