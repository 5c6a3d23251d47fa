//go:build !purego

package kernel

import "unsafe"

// tileRows returns the number of rows that mulTile takes at once.
func tileRows() int {
	if active == avx2 {
		return 6
	}
	return maxTileRows
}

// mulTile is tileGeneric. next is the panel that comes next, t the number of the
// tile in this panel: between them, the first calls fetch all of next.
func mulTile(c []float32, ldc int, a []float32, lda, rows, depth int, b, next panel, t int, add bool) {
	if active == generic {
		tileGeneric(c, ldc, a, lda, rows, depth, b, add)
		return
	}
	// The assembly reads and writes whole tiles: see that they are there.
	_ = c[(rows-1)*ldc+PanelColumns-1]
	_ = a[(rows-1)*lda+depth-1]
	begin := 0
	if add {
		begin = 1
	}
	if b.bf16 != nil {
		_ = b.bf16[depth*panelLanes-1]
		at := (*byte)(unsafe.Pointer(&b.bf16[0]))
		if active == avx512 {
			tileBF16AVX512(&c[0], ldc, &a[0], lda, at, depth, rows, begin, prefetch(next, t))
			return
		}
		tileBF16AVX2(&c[0], ldc, &a[0], lda, at, depth, rows, begin, prefetch(next, 0))
		at = (*byte)(unsafe.Pointer(&b.bf16[8]))
		tileBF16AVX2(&c[8], ldc, &a[0], lda, at, depth, rows, begin, prefetch(next, 1))
		return
	}
	_ = b.f32[depth*PanelColumns-1]
	at := (*byte)(unsafe.Pointer(&b.f32[0]))
	if active == avx512 {
		tileF32AVX512(&c[0], ldc, &a[0], lda, at, depth, rows, begin, prefetch(next, t))
		return
	}
	tileF32AVX2(&c[0], ldc, &a[0], lda, at, depth, rows, begin, prefetch(next, 0))
	at = (*byte)(unsafe.Pointer(&b.f32[16]))
	tileF32AVX2(&c[16], ldc, &a[0], lda, at, depth, rows, begin, prefetch(next, 1))
}

// prefetch returns the address from which call t of a micro-kernel fetches ahead, 64
// bytes for each row of the panel. A panel of bfloat16 is fetched by one call and a
// panel of float32 by two; later calls fetch again what is there.
func prefetch(next panel, t int) *byte {
	if next.bf16 != nil {
		return (*byte)(unsafe.Pointer(&next.bf16[0]))
	}
	if t == 1 {
		return (*byte)(unsafe.Pointer(&next.f32[len(next.f32)/2]))
	}
	return (*byte)(unsafe.Pointer(&next.f32[0]))
}

// expandPanel turns a bfloat16 panel into a float32 panel of as many rows.
func expandPanel(dst []float32, src []uint32) {
	depth := len(src) / panelLanes
	_ = dst[depth*PanelColumns-1]
	if active == avx512 {
		expandAVX512(&dst[0], (*byte)(unsafe.Pointer(&src[0])), depth)
	} else {
		expandAVX2(&dst[0], (*byte)(unsafe.Pointer(&src[0])), depth)
	}
}

// tileF32AVX512 is tileGeneric with a float32 panel and 1 to 12 rows, with strides
// in elements. It prefetches k*64 bytes (k rounded down to a multiple of 4) from
// next.
//
//go:noescape
func tileF32AVX512(c *float32, ldc int, a *float32, lda int, b *byte, k, rows, add int, next *byte)

// tileBF16AVX512 is tileF32AVX512 with a bfloat16 panel.
//
//go:noescape
func tileBF16AVX512(c *float32, ldc int, a *float32, lda int, b *byte, k, rows, add int, next *byte)

// tileF32AVX2 is tileGeneric with half of a float32 panel, columns b[0:16] of c[0:16],
// and 1 to 6 rows. It prefetches like tileF32AVX512.
//
//go:noescape
func tileF32AVX2(c *float32, ldc int, a *float32, lda int, b *byte, k, rows, add int, next *byte)

// tileBF16AVX2 is tileGeneric with half of a bfloat16 panel, the columns of lanes
// b[0:8], which are c[0:8] and c[16:24], and 1 to 6 rows.
// It prefetches like tileF32AVX512.
//
//go:noescape
func tileBF16AVX2(c *float32, ldc int, a *float32, lda int, b *byte, k, rows, add int, next *byte)

// expandAVX512 expands k > 0 rows of a bfloat16 panel:
//
//	for p := range k {
//		for j := range 16 {
//			dst[p*32+j] = math.Float32frombits(src[p*16+j] << 16)
//			dst[p*32+j+16] = math.Float32frombits(src[p*16+j] & 0xffff0000)
//		}
//	}
//
//go:noescape
func expandAVX512(dst *float32, src *byte, k int)

// expandAVX2 is expandAVX512 with narrower registers.
//
//go:noescape
func expandAVX2(dst *float32, src *byte, k int)
