//go:build !purego

package kernel

import "unsafe"

// tileRows returns the number of rows that mulTile takes at once.
func tileRows() int {
	if active == neon {
		return 6
	}
	return maxTileRows
}

// mulTile is tileGeneric. Nothing is fetched ahead: the panel is read in order, which
// the processor's own prefetching sees.
func mulTile(c []float32, ldc int, a []float32, lda, rows, depth int, b, _ panel, _ int, add bool) {
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
		tileBF16NEON(&c[0], ldc, &a[0], lda, (*byte)(unsafe.Pointer(&b.bf16[0])), depth, rows, begin)
		tileBF16NEON(&c[8], ldc, &a[0], lda, (*byte)(unsafe.Pointer(&b.bf16[8])), depth, rows, begin)
		return
	}
	_ = b.f32[depth*PanelColumns-1]
	tileF32NEON(&c[0], ldc, &a[0], lda, (*byte)(unsafe.Pointer(&b.f32[0])), depth, rows, begin)
	tileF32NEON(&c[16], ldc, &a[0], lda, (*byte)(unsafe.Pointer(&b.f32[16])), depth, rows, begin)
}

// expandPanel turns a bfloat16 panel into a float32 panel of as many rows.
func expandPanel(dst []float32, src []uint32) {
	depth := len(src) / panelLanes
	_ = dst[depth*PanelColumns-1]
	expandNEON(&dst[0], (*byte)(unsafe.Pointer(&src[0])), depth)
}

// tileF32NEON is tileGeneric with half of a float32 panel, columns b[0:16] of c[0:16],
// and 1 to 6 rows, with strides in elements.
//
//go:noescape
func tileF32NEON(c *float32, ldc int, a *float32, lda int, b *byte, k, rows, add int)

// tileBF16NEON is tileGeneric with half of a bfloat16 panel, the columns of lanes
// b[0:8], which are c[0:8] and c[16:24], and 1 to 6 rows.
//
//go:noescape
func tileBF16NEON(c *float32, ldc int, a *float32, lda int, b *byte, k, rows, add int)

// expandNEON expands k > 0 rows of a bfloat16 panel:
//
//	for p := range k {
//		for j := range 16 {
//			dst[p*32+j] = math.Float32frombits(src[p*16+j] << 16)
//			dst[p*32+j+16] = math.Float32frombits(src[p*16+j] & 0xffff0000)
//		}
//	}
//
//go:noescape
func expandNEON(dst *float32, src *byte, k int)
