package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The products in eight bits. The micro-kernels compute, for one panel of packed
// weights and a few rows of activations,
//
//	for i := range rows {
//		for j := range columns {
//			sums[i*32+j] = Σ_p a[i*lda+p] * (panel[p/4][j][p%4] - 128)
//		}
//	}
//
// in 32-bit integers: exactly, whatever the order. A group of four inputs of a
// panel is 128 bytes, four for each of the 32 columns.
//
// VNNI multiplies the weights with their offset, as unsigned bytes, and begins from
// starts[i], which is -128·Σ_p a[i][p]. Without VNNI the sign of the weights is moved to the
// activations, so that VPMADDUBSW gets magnitudes as its unsigned operand: two
// products of at most 127² fit in its 16 bits.
//
// What becomes of the sums is float32 arithmetic with each operation rounded by
// itself: no fused multiplication, so that portable code gives the same bits.
const groupBytes = 128

// A dotTile describes one micro-kernel.
type dotTile struct {
	name string
	rows int  // most rows at once
	wide bool // AVX-512, 32 columns; otherwise 16
	vnni bool
}

var dotTiles = []dotTile{
	{"sumTileAVX512VNNI", 14, true, true},
	{"sumTileAVX2VNNI", 6, false, true},
	{"sumTileAVX2", 4, false, false},
}

// Constants, repeated to fill 64 bytes.
var magnitudeBits, offsetBytes, offsetLane, lowByte Mem

func int8Products() {
	defineConstants()
	for _, c := range []struct {
		name string
		mem  *Mem
		lane uint32
	}{
		{"magnitudeBits", &magnitudeBits, 1<<31 - 1}, // all but the sign of a float32
		{"offsetBytes", &offsetBytes, 0x80808080},
		{"offsetLane", &offsetLane, 128},
		{"lowByte", &lowByte, 255},
	} {
		*c.mem = GLOBL(c.name, RODATA|NOPTR)
		for i := range 16 {
			DATA(4*i, U32(c.lane))
		}
	}
	for _, t := range dotTiles {
		t.emit()
	}
	for _, w := range []width{{"AVX512", true, 16}, {"AVX2", false, 8}} {
		finishProduct(w)
		finishGated(w)
		multiplyOutliers(w)
		magnitudes(w)
		exceeding(w)
		quantize(w)
	}
}

// Registers of the micro-kernels.
var (
	dotSums   = RDI // &sums[0]: 128 bytes a row
	dotStarts = RSI // &starts[0]
	dotA      = [4]GPPhysical{RDX, R8, R9, R10}
	dotLDA    = R11 // bytes from one row of a to the next
	dotLDA3   = R12 // three times that
	dotPanel  = RBX
	dotGroups = RCX // what is left of the groups
	dotTurn   = RAX // turns of the main loop
	dotNext   = R13 // memory to prefetch
	dotHeight = R15 // number of rows of the tile
)

func (t dotTile) vec(n int) VecPhysical { return tile{wide: t.wide}.vec(n) }

func (t dotTile) acc(i, v int) VecPhysical { return t.vec(2*i + v) }

// row is the address of a[i][4*g] for the group g that the loop has reached.
func (t dotTile) row(i, disp int) Mem {
	m := Mem{Base: dotA[i/4], Disp: disp}
	switch i % 4 {
	case 1:
		m.Index, m.Scale = dotLDA, 1
	case 2:
		m.Index, m.Scale = dotLDA, 2
	case 3:
		m.Index, m.Scale = dotLDA3, 1
	}
	return m
}

// group emits one group of inputs. It smashes the registers beside the accumulators.
func (t dotTile) group(rows, u int) {
	at := Mem{Base: dotPanel, Disp: u * groupBytes}
	free := 2 * t.rows // first register that is no accumulator
	w := [2]VecPhysical{t.vec(free), t.vec(free + 1)}
	switch {
	case t.wide:
		VMOVDQU32(at, w[0])
		VMOVDQU32(at.Offset(64), w[1])
	default:
		VMOVDQU(at, w[0])
		VMOVDQU(at.Offset(32), w[1])
	}
	if t.vnni {
		for i := range rows {
			x := t.vec(free + 2 + i%2)
			VPBROADCASTD(t.row(i, 4*u), x)
			for v := range 2 {
				if t.wide {
					VPDPBUSD(x, w[v], t.acc(i, v))
				} else {
					vexVPDPBUSD(x, w[v], t.acc(i, v))
				}
			}
		}
		return
	}
	size := [2]VecPhysical{t.vec(free + 2), t.vec(free + 3)}
	x, y, ones := t.vec(free+4), [2]VecPhysical{t.vec(free + 5), t.vec(free + 6)}, t.vec(free+7)
	for v := range 2 {
		VPXOR(offsetBytes, w[v], w[v])
		VPABSB(w[v], size[v])
	}
	for i := range rows {
		VPBROADCASTD(t.row(i, 4*u), x)
		for v := range 2 {
			VPSIGNB(w[v], x, y[v])
			VPMADDUBSW(y[v], size[v], y[v])
			VPMADDWD(ones, y[v], y[v])
			VPADDD(y[v], t.acc(i, v), t.acc(i, v))
		}
	}
}

// vexVPDPBUSD emits VPDPBUSD of AVX-VNNI, which the Go assembler knows in its
// EVEX form alone: VEX.256.66.0F38.W0 50 /r (Intel SDM, volume 2), for registers below 16.
func vexVPDPBUSD(signed, unsigned, acc VecPhysical) {
	n := func(r VecPhysical) byte {
		for i := range 16 {
			if r == (tile{}).vec(i) {
				return byte(i)
			}
		}
		panic("not a register of AVX2")
	}
	s, u, a := n(signed), n(unsigned), n(acc)
	Comment(fmt.Sprintf("VPDPBUSD Y%d, Y%d, Y%d", s, u, a))
	for _, b := range []byte{
		0xc4,
		(^a>>3&1)<<7 | 1<<6 | (^s>>3&1)<<5 | 0x02, // not R, not X, not B, map 0F38
		(^u&15)<<3 | 1<<2 | 1,                     // W0, not vvvv, 256 bits, 66
		0x50,
		0xc0 | a&7<<3 | s&7,
	} {
		Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(b)}})
	}
}

func (t dotTile) emit() {
	TEXT(t.name, NOSPLIT, "func(sums *int32, a *int8, lda int, starts *int32, rows, groups int, panel, next *byte)")
	Doc(fmt.Sprintf("%s multiplies 1 to %d rows by one panel: see sumTileGeneric in int8.go.", t.name, t.rows))
	Load(Param("sums"), dotSums)
	Load(Param("starts"), dotStarts)
	Load(Param("a"), dotA[0])
	Load(Param("lda"), dotLDA)
	LEAQ(Mem{Base: dotLDA, Index: dotLDA, Scale: 2}, dotLDA3)
	for i := 1; 4*i < t.rows; i++ {
		LEAQ(Mem{Base: dotA[i-1], Index: dotLDA, Scale: 4}, dotA[i])
	}
	Load(Param("panel"), dotPanel)
	Load(Param("groups"), dotGroups)
	Load(Param("next"), dotNext)
	Load(Param("rows"), dotHeight)
	MOVQ(dotGroups, dotTurn)
	SHRQ(Imm(2), dotTurn)
	ANDQ(Imm(unroll-1), dotGroups)
	if !t.vnni {
		Comment("Words of one")
		VPCMPEQW(t.vec(15), t.vec(15), t.vec(15))
		VPSRLW(Imm(15), t.vec(15), t.vec(15))
	}
	for r := t.rows; r > 1; r-- {
		CMPQ(dotHeight, Imm(uint64(r)))
		JEQ(LabelRef(fmt.Sprintf("rows%d", r)))
	}
	for r := 1; r <= t.rows; r++ {
		label := func(s string) string { return fmt.Sprintf("%s%d", s, r) }
		advance := func(groups int) {
			ADDQ(U32(uint32(groups*groupBytes)), dotPanel)
			for i := 0; 4*i < r; i++ {
				ADDQ(Imm(uint64(4*groups)), dotA[i])
			}
		}
		Label(label("rows"))
		for i := range r {
			switch {
			case t.vnni:
				VPBROADCASTD(Mem{Base: dotStarts, Disp: 4 * i}, t.acc(i, 0))
				if t.wide {
					VMOVDQA32(t.acc(i, 0), t.acc(i, 1))
				} else {
					VMOVDQA(t.acc(i, 0), t.acc(i, 1))
				}
			default:
				VPXOR(t.acc(i, 0), t.acc(i, 0), t.acc(i, 0))
				VPXOR(t.acc(i, 1), t.acc(i, 1), t.acc(i, 1))
			}
		}
		TESTQ(dotTurn, dotTurn)
		JZ(LabelRef(label("rest")))
		Label(label("turn"))
		for u := range unroll {
			PREFETCHT1(Mem{Base: dotNext, Disp: groupBytes * u})
			PREFETCHT1(Mem{Base: dotNext, Disp: groupBytes*u + 64})
			t.group(r, u)
		}
		advance(unroll)
		ADDQ(U32(groupBytes*unroll), dotNext)
		DECQ(dotTurn)
		JNZ(LabelRef(label("turn")))

		Label(label("rest"))
		TESTQ(dotGroups, dotGroups)
		JZ(LabelRef(label("store")))
		Label(label("single"))
		t.group(r, 0)
		advance(1)
		DECQ(dotGroups)
		JNZ(LabelRef(label("single")))

		Label(label("store"))
		for i := range r {
			for v := range 2 {
				if t.wide {
					VMOVDQU32(t.acc(i, v), Mem{Base: dotSums, Disp: 128*i + 64*v})
				} else {
					VMOVDQU(t.acc(i, v), Mem{Base: dotSums, Disp: 128*i + 32*v})
				}
			}
		}
		VZEROUPPER()
		RET()
	}
}

// A finish is the registers that the epilogues share.
type finish struct {
	w            width
	scales, bias func(v int) VecPhysical // of the columns
	rowScale     VecPhysical
}

// begin emits the loads common to both epilogues.
func (f *finish) begin() {
	Load(Param("c"), RDI)
	Load(Param("ldc"), RSI)
	SHLQ(Imm(2), RSI)
	Load(Param("sums"), RDX)
	Load(Param("extra"), RBX)
	Load(Param("rowScales"), R8)
	Load(Param("scales"), R9)
	Load(Param("bias"), R10)
	Load(Param("rows"), RCX)
	for v := range f.w.parts() {
		VMOVUPS(Mem{Base: R9, Disp: 4 * f.w.lanes * v}, f.scales(v))
		VMOVUPS(Mem{Base: R10, Disp: 4 * f.w.lanes * v}, f.bias(v))
	}
}

// value emits x = (sum·rowScale + extra)·scale + bias of part v of a row.
func (f *finish) value(v int, x VecPhysical, extra bool) {
	VCVTDQ2PS(Mem{Base: RDX, Disp: 4 * f.w.lanes * v}, x)
	VMULPS(f.rowScale, x, x)
	if extra {
		VADDPS(Mem{Base: RBX, Disp: 4 * f.w.lanes * v}, x, x)
	}
	VMULPS(f.scales(v), x, x)
	VADDPS(f.bias(v), x, x)
}

// loop emits the loop over the rows.
func (f *finish) loop(label string, extra bool, row func()) {
	Label(label)
	VBROADCASTSS(Mem{Base: R8}, f.rowScale)
	row()
	ADDQ(RSI, RDI)
	ADDQ(U32(128), RDX)
	if extra {
		ADDQ(U32(128), RBX)
	}
	ADDQ(Imm(4), R8)
	DECQ(RCX)
	JNZ(LabelRef(label))
	VZEROUPPER()
	RET()
}

// finishProduct emits the epilogue that stores or adds products.
func finishProduct(w width) {
	name := "finish" + w.name
	TEXT(name, NOSPLIT, "func(c *float32, ldc int, sums *int32, extra, rowScales, scales, bias *float32, rows, add int)")
	Doc(name + " turns sums into products: see finishGeneric in int8.go.")
	f := &finish{
		w:        w,
		scales:   func(v int) VecPhysical { return w.reg(v) },
		bias:     func(v int) VecPhysical { return w.reg(4 + v) },
		rowScale: w.reg(8),
	}
	f.begin()
	Load(Param("add"), R11)
	body := func(label string, extra, add bool) {
		f.loop(label, extra, func() {
			for v := range w.parts() {
				x := w.reg(9 + v)
				f.value(v, x, extra)
				c := Mem{Base: RDI, Disp: 4 * w.lanes * v}
				if add {
					VADDPS(c, x, x)
				}
				VMOVUPS(x, c)
			}
		})
	}
	TESTQ(RBX, RBX)
	JNZ(LabelRef("outliers"))
	TESTQ(R11, R11)
	JNZ(LabelRef("add"))
	body("store", false, false)
	body("add", false, true)
	Label("outliers")
	TESTQ(R11, R11)
	JNZ(LabelRef("outliersAdd"))
	body("outliersStore", true, false)
	body("outliersAdd", true, true)
}

// finishGated emits the epilogue of gates and what they gate.
func finishGated(w width) {
	name := "finishGated" + w.name
	TEXT(name, NOSPLIT, "func(c *float32, ldc int, sums *int32, extra, rowScales, scales, bias *float32, rows int)")
	Doc(name + " turns sums into gated products: see finishGeneric in int8.go.")
	f := &finish{
		w:        w,
		scales:   func(v int) VecPhysical { return w.reg(v) },
		bias:     func(v int) VecPhysical { return w.reg(4 + v) },
		rowScale: w.reg(8),
	}
	f.begin()
	g, u, x, z, n, p := w.reg(9), w.reg(10), w.reg(11), w.reg(12), w.reg(13), w.reg(14)
	body := func(label string, extra bool) {
		f.loop(label, extra, func() {
			half := w.parts() / 2
			for v := range half {
				f.value(v, g, extra)
				f.value(v+half, u, extra)
				if w.wide {
					VPXORD(constant(cSign), g, x)
				} else {
					VXORPS(constant(cSign), g, x)
				}
				// NaN stays: see swiGLU.
				VMOVUPS(constant(cHigh), z)
				VMINPS(x, z, x)
				VMOVUPS(constant(cLow), z)
				VMAXPS(x, z, x)
				w.expUnfused(x, p, z, n)
				VADDPS(constant(cOne), p, p)
				VDIVPS(p, g, g)
				VMULPS(u, g, g)
				VMOVUPS(g, Mem{Base: RDI, Disp: 4 * w.lanes * v})
			}
		})
	}
	TESTQ(RBX, RBX)
	JNZ(LabelRef("outliers"))
	body("plain", false)
	body("outliers", true)
}

// expUnfused emits p = exp(x) as in expUnfused of package kernel. It smashes x, z and n.
func (w width) expUnfused(x, p, z, n VecPhysical) {
	VMULPS(constant(cLog2E), x, z)
	VADDPS(constant(cMagic), z, z)
	VSUBPS(constant(cMagic), z, n)
	VMULPS(constant(cLn2High), n, p)
	VSUBPS(p, x, x)
	VMULPS(constant(cLn2Low), n, p)
	VSUBPS(p, x, x)
	VMOVUPS(constant(cExp0), p)
	for c := cExp1; c <= cExp5; c++ {
		VMULPS(x, p, p)
		VADDPS(constant(c), p, p)
	}
	VMULPS(x, x, n)
	VMULPS(n, p, p)
	VADDPS(x, p, p)
	VADDPS(constant(cOne), p, p)
	VPSLLD(Imm(23), z, z)
	VMULPS(z, p, p)
}

// multiplyOutliers emits the products of n > 0 outliers, pairs of an input's number and a value, with
// a panel.
func multiplyOutliers(w width) {
	name := "multiplyOutliers" + w.name
	TEXT(name, NOSPLIT, "func(extra *float32, panel *byte, list *byte, n int)")
	Doc(name + " replaces multiplyOutliersGeneric.")
	Load(Param("extra"), RDI)
	Load(Param("panel"), RSI)
	Load(Param("list"), RDX)
	Load(Param("n"), RCX)
	sum := func(v int) VecPhysical { return w.reg(v) }
	x, value, byteMask, offset := w.reg(4), w.reg(5), w.reg(6), w.reg(7)
	if w.wide {
		VMOVDQU32(lowByte, byteMask)
		VMOVDQU32(offsetLane, offset)
	} else {
		VMOVDQU(lowByte, byteMask)
		VMOVDQU(offsetLane, offset)
	}
	for v := range w.parts() {
		w.zero(sum(v))
	}
	Label("loop")
	MOVLQSX(Mem{Base: RDX}, RAX)
	VBROADCASTSS(Mem{Base: RDX, Disp: 4}, value)
	MOVQ(RAX, RBX)
	ANDQ(Imm(3), RBX)
	SHLQ(Imm(3), RBX)
	VMOVQ(RBX, X8)
	SHRQ(Imm(2), RAX)
	SHLQ(Imm(7), RAX)
	for v := range w.parts() {
		at := Mem{Base: RSI, Index: RAX, Scale: 1, Disp: 4 * w.lanes * v}
		if w.wide {
			VMOVDQU32(at, x)
			VPSRLD(X8, x, x)
			VPANDD(byteMask, x, x)
		} else {
			VMOVDQU(at, x)
			VPSRLD(X8, x, x)
			VPAND(byteMask, x, x)
		}
		VPSUBD(offset, x, x)
		VCVTDQ2PS(x, x)
		VMULPS(value, x, x)
		VADDPS(x, sum(v), sum(v))
	}
	ADDQ(Imm(8), RDX)
	DECQ(RCX)
	JNZ(LabelRef("loop"))
	for v := range w.parts() {
		VMOVUPS(sum(v), Mem{Base: RDI, Disp: 4 * w.lanes * v})
	}
	VZEROUPPER()
	RET()
}

// magnitudes emits the largest magnitude of n values and their sum, 32 values at a time.
func magnitudes(w width) {
	name := "magnitudes" + w.name
	TEXT(name, NOSPLIT, "func(x *float32, n int) (most, sum float32)")
	Doc(name + " replaces magnitudesGeneric.")
	Load(Param("x"), RDI)
	Load(Param("n"), R10)
	parts := w.parts()
	sign, x, mask := w.reg(2*parts), w.reg(2*parts+1), w.reg(2*parts+2)
	for v := range 2 * parts {
		w.zero(w.reg(v))
	}
	VMOVUPS(magnitudeBits, sign)
	body := func(v int, tail bool) {
		at := Mem{Base: RDI, Disp: 4 * w.lanes * v}
		if tail {
			w.loadTail(v, at, x, mask)
		} else {
			VMOVUPS(at, x)
		}
		if w.wide {
			VPANDD(sign, x, x)
		} else {
			VANDPS(sign, x, x)
		}
		VADDPS(x, w.reg(v), w.reg(v))
		VMAXPS(x, w.reg(parts+v), w.reg(parts+v))
	}
	Label("loop")
	CMPQ(R10, Imm(32))
	JLT(LabelRef("tail"))
	for v := range parts {
		body(v, false)
	}
	ADDQ(U32(128), RDI)
	SUBQ(Imm(32), R10)
	JMP(LabelRef("loop"))
	Label("tail")
	TESTQ(R10, R10)
	JZ(LabelRef("done"))
	MOVQ(R10, RCX)
	w.tail()
	for v := range parts {
		body(v, true)
	}
	Label("done")
	Store(w.fold(0, 15), ReturnIndex(1))
	m, ym, xm := w.reg(parts), tile{}.vec(parts), X2
	if w.wide {
		VMAXPS(w.reg(parts+1), m, m)
		VEXTRACTF64X4(Imm(1), m, Y15)
		VMAXPS(Y15, ym, ym)
	} else {
		VMAXPS(w.reg(parts+2), m, m)
		VMAXPS(w.reg(parts+3), w.reg(parts+1), w.reg(parts+1))
		VMAXPS(w.reg(parts+1), m, m)
		xm = X4
	}
	VEXTRACTF128(Imm(1), ym, X15)
	VMAXPS(X15, xm, xm)
	VMOVHLPS(xm, xm, X15)
	VMAXPS(X15, xm, xm)
	VMOVSHDUP(xm, X15)
	VMAXSS(X15, xm, xm)
	Store(xm, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// exceeding emits a bit for each of n values, 16 of them a word: whether its magnitude is beyond
// a limit.
func exceeding(w width) {
	name := "exceeding" + w.name
	TEXT(name, NOSPLIT, "func(beyond *uint16, x *float32, limit float32, n int)")
	Doc(name + " replaces exceedingGeneric.")
	Load(Param("beyond"), RDI)
	Load(Param("x"), RSI)
	l, err := Param("limit").Resolve()
	if err != nil {
		panic(err)
	}
	limit, sign, mask := w.reg(2), w.reg(3), w.reg(4)
	VBROADCASTSS(l.Addr, limit)
	VMOVUPS(magnitudeBits, sign)
	Load(Param("n"), R10)
	const greater = 0x1e // GT_OQ: NaN is not
	body := func(tail bool) {
		for v := range 16 / w.lanes {
			x, at := w.reg(v), Mem{Base: RSI, Disp: 4 * w.lanes * v}
			if tail {
				w.loadTail(v, at, x, mask)
			} else {
				VMOVUPS(at, x)
			}
			if w.wide {
				VPANDD(sign, x, x)
				VCMPPS(Imm(greater), limit, x, K3)
				KMOVW(K3, EAX)
				MOVW(AX, Mem{Base: RDI})
				continue
			}
			VANDPS(sign, x, x)
			VCMPPS(Imm(greater), limit, x, x)
			VMOVMSKPS(x, EAX)
			MOVB(AL, Mem{Base: RDI, Disp: v})
		}
	}
	Label("loop")
	CMPQ(R10, Imm(16))
	JLT(LabelRef("tail"))
	body(false)
	ADDQ(Imm(64), RSI)
	ADDQ(Imm(2), RDI)
	SUBQ(Imm(16), R10)
	JMP(LabelRef("loop"))
	Label("tail")
	TESTQ(R10, R10)
	JZ(LabelRef("done"))
	MOVQ(R10, RCX)
	w.tail()
	body(true)
	Label("done")
	VZEROUPPER()
	RET()
}

// quantize emits q = x*s, rounded to nearest even, 16 values at a time, with zeros behind the
// end up to a multiple of 16, and the sum of q.
func quantize(w width) {
	name := "quantize" + w.name
	TEXT(name, NOSPLIT, "func(q *int8, x *float32, s float32, n int) int32")
	Doc(name + " replaces quantizeGeneric.")
	Load(Param("q"), RDI)
	Load(Param("x"), RSI)
	s, err := Param("s").Resolve()
	if err != nil {
		panic(err)
	}
	scale, sum, mask := w.reg(4), w.reg(5), w.reg(6)
	VBROADCASTSS(s.Addr, scale)
	Load(Param("n"), R10)
	w.zero(sum)
	body := func(tail bool) {
		for v := range 16 / w.lanes {
			x, at := w.reg(v), Mem{Base: RSI, Disp: 4 * w.lanes * v}
			if tail {
				w.loadTail(v, at, x, mask)
			} else {
				VMOVUPS(at, x)
			}
			VMULPS(scale, x, x)
			VCVTPS2DQ(x, x)
			VPADDD(x, sum, sum)
		}
		if w.wide {
			VPMOVSDB(w.reg(0), X1)
			VMOVDQU(X1, Mem{Base: RDI})
			return
		}
		// Words of both registers, which lie 0 to 3, 8 to 11, 4 to 7, 12 to 15; in order; bytes.
		VPACKSSDW(Y1, Y0, Y0)
		VPERMQ(Imm(0b11011000), Y0, Y0)
		VEXTRACTI128(Imm(1), Y0, X1)
		VPACKSSWB(X1, X0, X0)
		VMOVDQU(X0, Mem{Base: RDI})
	}
	Label("loop")
	CMPQ(R10, Imm(16))
	JLT(LabelRef("tail"))
	body(false)
	ADDQ(Imm(64), RSI)
	ADDQ(Imm(16), RDI)
	SUBQ(Imm(16), R10)
	JMP(LabelRef("loop"))
	Label("tail")
	TESTQ(R10, R10)
	JZ(LabelRef("done"))
	MOVQ(R10, RCX)
	w.tail()
	body(true)
	Label("done")
	if w.wide {
		VEXTRACTI64X4(Imm(1), Z5, Y6)
		VPADDD(Y6, Y5, Y5)
	}
	VEXTRACTI128(Imm(1), Y5, X6)
	VPADDD(X6, X5, X5)
	VPSHUFD(Imm(0b01001110), X5, X6)
	VPADDD(X6, X5, X5)
	VPSHUFD(Imm(0b10110001), X5, X6)
	VPADDD(X6, X5, X5)
	VMOVD(X5, EAX)
	Store(EAX, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
