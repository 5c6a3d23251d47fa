package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The micro-kernels of Matrix.Mul. All of them compute, for one panel of packed
// weights and a few rows of activations,
//
//	for i := range rows {
//		for j := range columns {
//			sum := c[i*ldc+j] if add, else 0
//			for p := range k {
//				sum = fma(a[i*lda+p], panel[p*32+j], sum)
//			}
//			c[i*ldc+j] = sum
//		}
//	}
//
// with every sum of the tile in a register of its own, in the order of p. So the
// result of an element depends on no tile size, no row count and no vector
// width: AVX2 and AVX-512 agree to the last bit.
//
// A panel is k rows of 32 columns. Of float32 it has 128 bytes a row, columns in
// order. Of bfloat16 it has 64 bytes a row: 16 little-endian 32-bit lanes, lane j
// holding column j in its low half and column j+16 in its high half, so that one
// shift and one mask make two vectors of exact float32.
const (
	panelRowF32  = 128 // bytes
	panelRowBF16 = 64  // bytes
	unroll       = 4   // steps of k in one turn of the main loop
)

// Registers common to all micro-kernels.
var (
	regC    = RDI // &c[0]
	regLDC  = RSI // bytes from one row of c to the next
	regA    = RDX // &a[0]: rows 0 to 3
	regA4   = R8  // row 4: rows 4 to 7
	regA8   = R9  // row 8: rows 8 to 11
	regLDA  = R10 // bytes from one row of a to the next
	regLDA3 = R11 // three times that
	regB    = RBX // the panel
	regK    = RCX // what is left of k
	regNext = R12 // memory to prefetch
	regRows = R13 // number of rows of the tile
	regTurn = RAX // turns of the main loop
	regAdd  = R15 // 1 to begin from c, 0 to begin from zero
)

func matrix() {
	mask := GLOBL("highHalves", RODATA|NOPTR)
	for i := range 8 {
		DATA(4*i, U32(0xffff0000))
	}
	for _, bf16 := range []bool{false, true} {
		microkernel(tile{name: "tileF32AVX512", rows: 12, wide: true, bf16: false}.as(bf16), mask)
	}
	for _, bf16 := range []bool{false, true} {
		microkernel(tile{name: "tileF32AVX2", rows: 6, wide: false, bf16: false}.as(bf16), mask)
	}
	expand(mask)
}

// A tile describes one micro-kernel.
type tile struct {
	name  string
	rows  int  // most rows at once
	wide  bool // AVX-512, 32 columns; otherwise AVX2, 16 columns
	bf16  bool // the panel's type
	pairs bool // of AVX-512: rows and panel hold pairs of bfloat16
}

func (t tile) as(bf16 bool) tile {
	if bf16 {
		t.name = "tileBF16" + t.name[len("tileF32"):]
		t.bf16 = true
	}
	return t
}

// acc is the register that holds vector v (0 or 1) of row i: 24 of the 32 of
// AVX-512, 12 of the 16 of AVX2.
func (t tile) acc(i, v int) VecPhysical { return t.vec(2*i + v) }

func (t tile) vec(n int) VecPhysical {
	if t.wide {
		return []VecPhysical{
			Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
			Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
		}[n]
	}
	return []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}[n]
}

// row is the address of a[i][p] for the p that the loop has reached.
func row(i, disp int) Mem {
	m := Mem{Base: []GPPhysical{regA, regA4, regA8}[i/4], Disp: disp}
	switch i % 4 {
	case 1:
		m.Index, m.Scale = regLDA, 1
	case 2:
		m.Index, m.Scale = regLDA, 2
	case 3:
		m.Index, m.Scale = regLDA3, 1
	}
	return m
}

// step is the distance of panel rows in bytes.
func (t tile) step() int {
	if t.bf16 {
		return panelRowBF16
	}
	return panelRowF32
}

// second is the distance in bytes, in c, from the tile's first vector of columns
// to its second.
func (t tile) second() int {
	if t.wide || t.bf16 {
		return 64 // 16 columns on
	}
	return 32 // 8 columns on
}

// one emits one step of k. It smashes the registers beside the accumulators.
func (t tile) one(rows, u int, mask Mem) {
	var b, bcast [2]VecPhysical
	if t.wide {
		b = [2]VecPhysical{t.vec(24 + 2*(u%2)), t.vec(25 + 2*(u%2))}
		bcast = [2]VecPhysical{t.vec(28), t.vec(29)}
	} else {
		b = [2]VecPhysical{t.vec(12), t.vec(13)}
		bcast = [2]VecPhysical{t.vec(14), t.vec(15)}
	}
	at := Mem{Base: regB, Disp: u * t.step()}
	switch {
	case t.bf16 && t.wide: // Z31 holds the mask
		VMOVDQU32(at, b[1])
		VPSLLD(Imm(16), b[1], b[0])
		VPANDD(b[1], Z31, b[1])
	case t.bf16:
		VMOVDQU(at, b[1])
		VPSLLD(Imm(16), b[1], b[0])
		VPAND(mask, b[1], b[1])
	case t.wide:
		VMOVUPS(at, b[0])
		VMOVUPS(at.Offset(64), b[1])
	default:
		VMOVUPS(at, b[0])
		VMOVUPS(at.Offset(32), b[1])
	}
	for i := range rows {
		x := bcast[i%2]
		VBROADCASTSS(row(i, 4*u), x)
		for v := range b {
			if t.pairs {
				dotPairs(b[v], x, t.acc(i, v))
			} else {
				VFMADD231PS(b[v], x, t.acc(i, v))
			}
		}
	}
}

// eachRow calls f with the address of c[i][0] for each row. It smashes regC.
func eachRow(rows int, f func(i int, c Mem)) {
	for i := range rows {
		if i > 0 {
			ADDQ(regLDC, regC)
		}
		f(i, Mem{Base: regC})
	}
}

func (t tile) signature() string {
	if t.pairs {
		return "func(c *float32, ldc int, a *uint32, lda int, b *uint32, k, rows, add int, next *uint32)"
	}
	return "func(c *float32, ldc int, a *float32, lda int, b *byte, k, rows, add int, next *byte)"
}

func microkernel(t tile, mask Mem) {
	TEXT(t.name, NOSPLIT, t.signature())
	Doc(fmt.Sprintf("%s multiplies 1 to %d rows by one panel: see tileGeneric in matrix.go.", t.name, t.rows))
	Load(Param("c"), regC)
	Load(Param("ldc"), regLDC)
	SHLQ(Imm(2), regLDC)
	Load(Param("a"), regA)
	Load(Param("lda"), regLDA)
	SHLQ(Imm(2), regLDA)
	LEAQ(Mem{Base: regLDA, Index: regLDA, Scale: 2}, regLDA3)
	LEAQ(Mem{Base: regA, Index: regLDA, Scale: 4}, regA4)
	LEAQ(Mem{Base: regA, Index: regLDA, Scale: 8}, regA8)
	Load(Param("b"), regB)
	Load(Param("k"), regK)
	Load(Param("rows"), regRows)
	Load(Param("add"), regAdd)
	Load(Param("next"), regNext)
	MOVQ(regK, regTurn)
	SHRQ(Imm(2), regTurn)
	ANDQ(Imm(unroll-1), regK)
	if t.bf16 && t.wide {
		Comment("The upper halves of 32-bit lanes")
		VPTERNLOGD(Imm(0xff), Z31, Z31, Z31)
		VPSLLD(Imm(16), Z31, Z31)
	}
	for r := t.rows; r > 1; r-- {
		CMPQ(regRows, Imm(uint64(r)))
		JEQ(LabelRef(fmt.Sprintf("rows%d", r)))
	}
	for r := 1; r <= t.rows; r++ {
		label := func(s string) string { return fmt.Sprintf("%s%d", s, r) }
		Label(label("rows"))
		for v := range 2 * r {
			x := t.vec(v)
			if t.wide {
				VPXORD(x, x, x)
			} else {
				VXORPS(x, x, x)
			}
		}
		TESTQ(regAdd, regAdd)
		JZ(LabelRef(label("start")))
		// Begin from c; regC comes back for the end.
		MOVQ(regC, regAdd)
		eachRow(r, func(i int, c Mem) {
			VMOVUPS(c, t.acc(i, 0))
			VMOVUPS(c.Offset(t.second()), t.acc(i, 1))
		})
		MOVQ(regAdd, regC)

		Label(label("start"))
		TESTQ(regTurn, regTurn)
		JZ(LabelRef(label("rest")))
		Label(label("turn"))
		for u := range unroll {
			PREFETCHT1(Mem{Base: regNext, Disp: 64 * u})
			t.one(r, u, mask)
		}
		ADDQ(U32(unroll*t.step()), regB)
		ADDQ(Imm(4*unroll), regA)
		if r > 4 {
			ADDQ(Imm(4*unroll), regA4)
		}
		if r > 8 {
			ADDQ(Imm(4*unroll), regA8)
		}
		ADDQ(U32(64*unroll), regNext)
		DECQ(regTurn)
		JNZ(LabelRef(label("turn")))

		Label(label("rest"))
		TESTQ(regK, regK)
		JZ(LabelRef(label("store")))
		Label(label("single"))
		t.one(r, 0, mask)
		ADDQ(U32(t.step()), regB)
		ADDQ(Imm(4), regA)
		if r > 4 {
			ADDQ(Imm(4), regA4)
		}
		if r > 8 {
			ADDQ(Imm(4), regA8)
		}
		DECQ(regK)
		JNZ(LabelRef(label("single")))

		Label(label("store"))
		eachRow(r, func(i int, c Mem) {
			VMOVUPS(t.acc(i, 0), c)
			VMOVUPS(t.acc(i, 1), c.Offset(t.second()))
		})
		VZEROUPPER()
		RET()
	}
}

// expand emits the conversion of a bfloat16 panel to a float32 panel.
func expand(mask Mem) {
	TEXT("expandAVX512", NOSPLIT, "func(dst *float32, src *byte, k int)")
	Doc("expandAVX512 turns k rows of a bfloat16 panel into rows of a float32 panel.")
	Load(Param("dst"), RDI)
	Load(Param("src"), RSI)
	Load(Param("k"), RCX)
	VPTERNLOGD(Imm(0xff), Z31, Z31, Z31)
	VPSLLD(Imm(16), Z31, Z31)
	Label("row")
	VMOVDQU32(Mem{Base: RSI}, Z0)
	VPSLLD(Imm(16), Z0, Z1)
	VPANDD(Z0, Z31, Z0)
	VMOVDQU32(Z1, Mem{Base: RDI})
	VMOVDQU32(Z0, Mem{Base: RDI, Disp: 64})
	ADDQ(Imm(64), RSI)
	ADDQ(U32(128), RDI)
	DECQ(RCX)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()

	TEXT("expandAVX2", NOSPLIT, "func(dst *float32, src *byte, k int)")
	Doc("expandAVX2 turns k rows of a bfloat16 panel into rows of a float32 panel.")
	Load(Param("dst"), RDI)
	Load(Param("src"), RSI)
	Load(Param("k"), RCX)
	VMOVDQU(mask, Y15)
	Label("row2")
	for h := range 2 {
		VMOVDQU(Mem{Base: RSI, Disp: 32 * h}, Y0)
		VPSLLD(Imm(16), Y0, Y1)
		VPAND(Y15, Y0, Y0)
		VMOVDQU(Y1, Mem{Base: RDI, Disp: 32 * h})
		VMOVDQU(Y0, Mem{Base: RDI, Disp: 64 + 32*h})
	}
	ADDQ(Imm(64), RSI)
	ADDQ(U32(128), RDI)
	DECQ(RCX)
	JNZ(LabelRef("row2"))
	VZEROUPPER()
	RET()
}
