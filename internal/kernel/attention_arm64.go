//go:build !purego

package kernel

// pairsAreFast: the bfloat16 extension of arm64 is not used.
func pairsAreFast() bool { return false }

func tilePairs(c []float32, ldc int, a []uint32, lda, rows, depth int, b []uint32, add bool) {
	tilePairsGeneric(c, ldc, a, lda, rows, depth, b, add)
}

func pair(dst []uint32, x []float32) { pairGeneric(dst, x) }

func round(x []float32) {
	switch {
	case len(x) == 0:
	case active == generic:
		roundGeneric(x)
	default:
		roundNEON(&x[0], len(x))
	}
}

func weigh(x []float32, before float32) (most, sum float32) {
	if active == generic {
		return weighGeneric(x, before)
	}
	most = max(before, maximumNEON(&x[0], len(x)))
	return most, powerSumNEON(&x[0], most, len(x))
}

// roundNEON is roundGeneric, but that it keeps what is below 2⁻¹²⁶.
//
//go:noescape
func roundNEON(x *float32, n int)

// powerSumNEON is the second half of weighGeneric:
//
//	for i := range n {
//		x[i] = power(max(x[i]-most, -126))
//		sum += x[i] // in 32 partial sums
//	}
//	return sum
//
//go:noescape
func powerSumNEON(x *float32, most float32, n int) float32
