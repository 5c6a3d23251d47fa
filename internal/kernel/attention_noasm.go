//go:build !amd64 || purego

package kernel

func pairsAreFast() bool { return false }

func tilePairs(c []float32, ldc int, a []uint32, lda, rows, depth int, b []uint32, add bool) {
	tilePairsGeneric(c, ldc, a, lda, rows, depth, b, add)
}

func pair(dst []uint32, x []float32) { pairGeneric(dst, x) }

func round(x []float32) { roundGeneric(x) }

func weigh(x []float32, before float32) (most, sum float32) { return weighGeneric(x, before) }
