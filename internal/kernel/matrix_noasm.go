//go:build (!amd64 && !arm64) || purego

package kernel

func tileRows() int { return maxTileRows }

func mulTile(c []float32, ldc int, a []float32, lda, rows, depth int, b, _ panel, _ int, add bool) {
	tileGeneric(c, ldc, a, lda, rows, depth, b, add)
}

func expandPanel(dst []float32, src []uint32) { panic("kernel: generic code does not expand panels") }
