//go:build !purego

package kernel

import (
	"sync"

	"golang.org/x/sys/cpu"
)

// pairsAreFast reports whether VDPBF16PS beats two float32 multiplications: on AMD's
// processors it takes twice as many a cycle (EPYC of Zen 4: 3.65·10⁹ instructions a
// second, as many as of either), on Intel's half as many (Emerald Rapids: 86
// GFLOP/s against 178).
func pairsAreFast() bool { return active == avx512 && fastPairs() }

var fastPairs = sync.OnceValue(func() bool {
	const authenticAMD = 'A' | 'u'<<8 | 't'<<16 | 'h'<<24
	return cpu.X86.HasAVX512BF16 && cpuVendor() == authenticAMD
})

// tilePairs is tilePairsGeneric for one or more rows and pairs.
func tilePairs(c []float32, ldc int, a []uint32, lda, rows, depth int, b []uint32, add bool) {
	if !pairsAreFast() {
		tilePairsGeneric(c, ldc, a, lda, rows, depth, b, add)
		return
	}
	// The assembly reads and writes whole tiles: see that they are there.
	_ = c[(rows-1)*ldc+PanelColumns-1]
	_ = a[(rows-1)*lda+depth-1]
	_ = b[depth*PanelColumns-1]
	begin := 0
	if add {
		begin = 1
	}
	tilePairsAVX512(&c[0], ldc, &a[0], lda, &b[0], depth, rows, begin, &b[0])
}

func pair(dst []uint32, x []float32) {
	if len(x) == 0 {
		return
	}
	if !pairsAreFast() {
		pairGeneric(dst, x)
		return
	}
	_ = dst[len(x)/2-1]
	pairAVX512(&dst[0], &x[0], len(x))
}

func round(x []float32) {
	switch {
	case len(x) == 0:
	case active == avx512:
		roundAVX512(&x[0], len(x))
	case active == avx2:
		roundAVX2(&x[0], len(x))
	default:
		roundGeneric(x)
	}
}

func weigh(x []float32, before float32) (most, sum float32) {
	switch active {
	case avx512:
		return weighAVX512(&x[0], before, len(x))
	case avx2:
		return weighAVX2(&x[0], before, len(x))
	}
	return weighGeneric(x, before)
}

// tilePairsAVX512 is tilePairsGeneric for 1 to 12 rows.
//
//go:noescape
func tilePairsAVX512(c *float32, ldc int, a *uint32, lda int, b *uint32, k, rows, add int, next *uint32)

// pairAVX512 is pairGeneric for n > 0 values.
//
//go:noescape
func pairAVX512(dst *uint32, x *float32, n int)

// roundAVX512 is roundGeneric, but that it keeps what is below 2⁻¹²⁶.
//
//go:noescape
func roundAVX512(x *float32, n int)

// roundAVX2 is roundAVX512 with narrower registers and the same bits.
//
//go:noescape
func roundAVX2(x *float32, n int)

// weighAVX512 is weighGeneric for n > 0 values.
//
//go:noescape
func weighAVX512(x *float32, before float32, n int) (most, sum float32)

// weighAVX2 is weighAVX512 with narrower registers and the same bits.
//
//go:noescape
func weighAVX2(x *float32, before float32, n int) (most, sum float32)

func cpuVendor() uint32
