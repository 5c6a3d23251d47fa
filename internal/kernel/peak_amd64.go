//go:build !purego

package kernel

// peakF32 returns the sum of one lane over all sums, and how many products stand
// behind each unit of it.
func peakF32(turns int) (sum float32, products int) {
	switch active {
	case avx512:
		return peakF32AVX512(turns), 16
	case avx2:
		return peakF32AVX2(turns), 8
	}
	return peakGeneric[float32](turns), 1
}

// peakInt8 is peakF32 for 8-bit integers. A 32-bit lane takes four products at
// once.
func peakInt8(turns int) (sum int32, products int) {
	switch {
	case active == avx512 && dotProduct:
		return peakInt8VNNIAVX512(turns), 16
	case active == avx512:
		return peakInt8AVX512(turns), 16
	case active == avx2 && dotProduct:
		return peakInt8VNNIAVX2(turns), 8
	case active == avx2:
		return peakInt8AVX2(turns), 8
	}
	return peakGeneric[int32](turns), 1
}

// peakF32AVX512 is peakGeneric in each of 16 lanes.
//
//go:noescape
func peakF32AVX512(turns int) float32

// peakF32AVX2 is peakGeneric in each of 8 lanes.
//
//go:noescape
func peakF32AVX2(turns int) float32

// peakInt8VNNIAVX512 adds four products to each of 16 lanes where peakGeneric adds
// one, with VPDPBUSD.
//
//go:noescape
func peakInt8VNNIAVX512(turns int) int32

// peakInt8VNNIAVX2 is peakInt8VNNIAVX512 in 8 lanes.
//
//go:noescape
func peakInt8VNNIAVX2(turns int) int32

// peakInt8AVX512 is peakInt8VNNIAVX512 in three instructions: VPMADDUBSW, VPMADDWD
// and VPADDD.
//
//go:noescape
func peakInt8AVX512(turns int) int32

// peakInt8AVX2 is peakInt8AVX512 in 8 lanes.
//
//go:noescape
func peakInt8AVX2(turns int) int32
