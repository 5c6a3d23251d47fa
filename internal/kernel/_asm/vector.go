package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The vector operations, each once for AVX-512 and once for AVX2 with FMA. vector.go
// of package kernel has the loops that they replace, in functions named …Generic.
//
// Both widths do the same arithmetic in the same order. Where elements are
// summed, there are 32 partial sums, in two registers of AVX-512 or four of AVX2,
// and the end of a vector is filled up with zeros.

// A width is one of the two instruction sets.
type width struct {
	name  string
	wide  bool
	lanes int // float32 values in a register
}

func (w width) reg(n int) VecPhysical { return tile{wide: w.wide}.vec(n) }

// parts is the number of registers that hold 32 partial sums.
func (w width) parts() int { return 32 / w.lanes }

// Constants, each repeated to fill 64 bytes, in the order of their offsets.
const (
	cLow = iota
	cHigh
	cLog2E
	cLn2High
	cLn2Low
	cMagic
	cExp0
	cExp1
	cExp2
	cExp3
	cExp4
	cExp5
	cOne
	cSign
)

var (
	constants Mem
	// tailMask is 32 words of ones, then 32 words of zeros.
	tailMask Mem
)

func constant(n int) Mem { return constants.Offset(64 * n) }

// defineConstants emits the constants into the file in hand.
func defineConstants() {
	constants = GLOBL("constants", RODATA|NOPTR)
	for n, v := range []float32{
		cLow:     -87.33654,
		cHigh:    88.8,
		cLog2E:   1.44269504,
		cLn2High: 0.693359375,
		cLn2Low:  -2.12194440e-4,
		cMagic:   3<<22 + 127,
		cExp0:    1.9875691500e-4,
		cExp1:    1.3981999507e-3,
		cExp2:    8.3334519073e-3,
		cExp3:    4.1665795894e-2,
		cExp4:    1.6666665459e-1,
		cExp5:    5.0000001201e-1,
		cOne:     1,
		cSign:    float32(math.Copysign(0, -1)),
	} {
		for i := range 16 {
			DATA(64*n+4*i, U32(math.Float32bits(v)))
		}
	}
	tailMask = GLOBL("tailMask", RODATA|NOPTR)
	for i := range 64 {
		v := uint32(0)
		if i < 32 {
			v = 0xffffffff
		}
		DATA(4*i, U32(v))
	}
}

func vector() {
	defineConstants()
	for _, w := range []width{{"AVX512", true, 16}, {"AVX2", false, 8}} {
		dotRows(w)
		axpyRows(w)
		elementwise(w)
		maximum(w)
		expSum(w)
	}
}

// Masks: tail sets masks for the last values of a vector, fewer than 32, whose
// number is in CX. The mask of part v is K1 or K2 of AVX-512, loaded from the
// address in R15 of AVX2. It smashes AX and CX.
func (w width) tail() {
	if w.wide {
		MOVQ(U32(1), RAX)
		SHLQ(CL, RAX)
		DECQ(RAX)
		KMOVW(EAX, K1)
		SHRQ(Imm(16), RAX)
		KMOVW(EAX, K2)
		return
	}
	LEAQ(tailMask.Offset(32*4), R15)
	SHLQ(Imm(2), RCX)
	SUBQ(RCX, R15)
}

var masks = [2]Register{K1, K2}

// load emits the load of part v of the tail, with zeros where the mask has them.
// On AVX2 it smashes the register mask.
func (w width) loadTail(v int, m Mem, dst, mask VecPhysical) {
	if w.wide {
		VMOVUPS_Z(m, masks[v], dst)
		return
	}
	VMOVDQU(Mem{Base: R15, Disp: 32 * v}, mask)
	VMASKMOVPS(m, mask, dst)
}

// storeTail emits the store of part v of the tail. On AVX2 it smashes mask.
func (w width) storeTail(v int, src VecPhysical, m Mem, mask VecPhysical) {
	if w.wide {
		VMOVUPS(src, masks[v], m)
		return
	}
	VMOVDQU(Mem{Base: R15, Disp: 32 * v}, mask)
	VMASKMOVPS(src, mask, m)
}

func (w width) zero(x VecPhysical) {
	if w.wide {
		VPXORD(x, x, x)
	} else {
		VXORPS(x, x, x)
	}
}

// fold adds 32 partial sums, in registers first to first+parts, in halves, and leaves the
// sum in the lowest element of register first. It smashes register tmp.
func (w width) fold(first, tmp int) Register {
	y := func(n int) VecPhysical { return width{wide: false}.reg(n) }
	x := func(n int) VecPhysical {
		return []VecPhysical{X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15}[n]
	}
	if w.wide {
		VADDPS(w.reg(first+1), w.reg(first), w.reg(first))
		VEXTRACTF64X4(Imm(1), w.reg(first), y(tmp))
		VADDPS(y(tmp), y(first), y(first))
	} else {
		VADDPS(y(first+2), y(first), y(first))
		VADDPS(y(first+3), y(first+1), y(first+1))
		VADDPS(y(first+1), y(first), y(first))
	}
	VEXTRACTF128(Imm(1), y(first), x(tmp))
	VADDPS(x(tmp), x(first), x(first))
	VMOVHLPS(x(first), x(first), x(tmp))
	VADDPS(x(tmp), x(first), x(first))
	VMOVSHDUP(x(first), x(tmp))
	VADDSS(x(tmp), x(first), x(first))
	return x(first)
}

// dotRows emits the dots of one vector q with rows of x, four rows at a time
// with AVX-512, two with AVX2, and then one.
func dotRows(w width) {
	TEXT("dotRows"+w.name, NOSPLIT, "func(dst, q, x *float32, stride, rows, n int)")
	Doc("dotRows" + w.name + " replaces dotRowsGeneric.")
	Load(Param("dst"), RDI)
	Load(Param("q"), RSI)
	Load(Param("x"), RDX)
	Load(Param("stride"), R8)
	SHLQ(Imm(2), R8)
	Load(Param("rows"), R9)
	Load(Param("n"), R10)
	MOVQ(R10, RCX)
	ANDQ(Imm(31), RCX)
	w.tail()
	most := 4
	if !w.wide {
		most = 2
	}
	rowRegs := []GPPhysical{RDX, R11, R12, R13}
	q, data, mask := w.reg(12), w.reg(13), w.reg(14)
	// R10: n; RBX: index; RAX: n rounded down to whole parts of 32
	MOVQ(R10, RAX)
	ANDQ(I32(-32), RAX)

	group := func(label string, rows int) {
		for i := 1; i < rows; i++ {
			LEAQ(Mem{Base: rowRegs[i-1], Index: R8, Scale: 1}, rowRegs[i])
		}
		for i := range rows * w.parts() {
			w.zero(w.reg(i))
		}
		XORQ(RBX, RBX)
		Label(label + "loop")
		CMPQ(RBX, RAX)
		JGE(LabelRef(label + "tail"))
		for v := range w.parts() {
			VMOVUPS(Mem{Base: RSI, Index: RBX, Scale: 4, Disp: 4 * w.lanes * v}, q)
			for i := range rows {
				VFMADD231PS(Mem{Base: rowRegs[i], Index: RBX, Scale: 4, Disp: 4 * w.lanes * v}, q, w.reg(i*w.parts()+v))
			}
		}
		ADDQ(Imm(32), RBX)
		JMP(LabelRef(label + "loop"))
		Label(label + "tail")
		CMPQ(RBX, R10)
		JGE(LabelRef(label + "fold"))
		for v := range w.parts() {
			w.loadTail(v, Mem{Base: RSI, Index: RBX, Scale: 4, Disp: 4 * w.lanes * v}, q, mask)
			for i := range rows {
				w.loadTail(v, Mem{Base: rowRegs[i], Index: RBX, Scale: 4, Disp: 4 * w.lanes * v}, data, mask)
				VFMADD231PS(data, q, w.reg(i*w.parts()+v))
			}
		}
		Label(label + "fold")
		for i := range rows {
			VMOVSS(w.fold(i*w.parts(), 15), Mem{Base: RDI, Disp: 4 * i})
		}
		LEAQ(Mem{Base: rowRegs[rows-1], Index: R8, Scale: 1}, RDX)
		ADDQ(Imm(uint64(4*rows)), RDI)
		SUBQ(Imm(uint64(rows)), R9)
	}

	Label("many")
	CMPQ(R9, Imm(uint64(most)))
	JLT(LabelRef("few"))
	group("many", most)
	JMP(LabelRef("many"))
	Label("few")
	TESTQ(R9, R9)
	JZ(LabelRef("done"))
	group("few", 1)
	JMP(LabelRef("few"))
	Label("done")
	VZEROUPPER()
	RET()
}

// axpyRows emits the weighted sum of rows of x: four registers of sums at a time,
// then one, then a part of one, all the rows for each.
func axpyRows(w width) {
	TEXT("axpyRows"+w.name, NOSPLIT, "func(y, w, x *float32, stride, rows, n int)")
	Doc("axpyRows" + w.name + " replaces axpyRowsGeneric.")
	Load(Param("y"), RDI)
	Load(Param("w"), RSI)
	Load(Param("x"), RDX)
	Load(Param("stride"), R8)
	SHLQ(Imm(2), R8)
	Load(Param("rows"), R9)
	Load(Param("n"), R10)
	mask, weight, data := w.reg(12), w.reg(13), w.reg(14)
	// R11: row of x, RBX: index of the row
	block := func(label string, regs int, tail bool) {
		for v := range regs {
			m := Mem{Base: RDI, Disp: 4 * w.lanes * v}
			if tail {
				w.loadTail(0, m, w.reg(v), mask)
			} else {
				VMOVUPS(m, w.reg(v))
			}
		}
		MOVQ(RDX, R11)
		XORQ(RBX, RBX)
		Label(label + "row")
		VBROADCASTSS(Mem{Base: RSI, Index: RBX, Scale: 4}, weight)
		for v := range regs {
			m := Mem{Base: R11, Disp: 4 * w.lanes * v}
			if tail {
				w.loadTail(0, m, data, mask)
				VFMADD231PS(data, weight, w.reg(v))
			} else {
				VFMADD231PS(m, weight, w.reg(v))
			}
		}
		ADDQ(R8, R11)
		INCQ(RBX)
		CMPQ(RBX, R9)
		JLT(LabelRef(label + "row"))
		for v := range regs {
			m := Mem{Base: RDI, Disp: 4 * w.lanes * v}
			if tail {
				w.storeTail(0, w.reg(v), m, mask)
			} else {
				VMOVUPS(w.reg(v), m)
			}
		}
		if !tail {
			ADDQ(U32(4*w.lanes*regs), RDI)
			ADDQ(U32(4*w.lanes*regs), RDX)
			SUBQ(Imm(uint64(w.lanes*regs)), R10)
		}
	}
	Label("four")
	CMPQ(R10, Imm(uint64(4*w.lanes)))
	JLT(LabelRef("one"))
	block("four", 4, false)
	JMP(LabelRef("four"))
	Label("one")
	CMPQ(R10, Imm(uint64(w.lanes)))
	JLT(LabelRef("tail"))
	block("one", 1, false)
	JMP(LabelRef("one"))
	Label("tail")
	TESTQ(R10, R10)
	JZ(LabelRef("done"))
	MOVQ(R10, RCX)
	w.tail()
	block("tail", 1, true)
	Label("done")
	VZEROUPPER()
	RET()
}

// each emits a loop over n values, n in R10: whole registers, then a masked one.
// body gets the functions to load and store the values at a base register. It
// smashes RBX and the register mask.
func (w width) each(mask VecPhysical, body func(load func(GPPhysical, VecPhysical), store func(VecPhysical, GPPhysical))) {
	at := func(base GPPhysical) Mem { return Mem{Base: base, Index: RBX, Scale: 4} }
	XORQ(RBX, RBX)
	SUBQ(Imm(uint64(w.lanes)), R10)
	JLT(LabelRef("tail"))
	Label("loop")
	body(
		func(p GPPhysical, x VecPhysical) { VMOVUPS(at(p), x) },
		func(x VecPhysical, p GPPhysical) { VMOVUPS(x, at(p)) },
	)
	ADDQ(Imm(uint64(w.lanes)), RBX)
	CMPQ(RBX, R10)
	JLE(LabelRef("loop"))
	Label("tail")
	MOVQ(R10, RCX)
	ADDQ(Imm(uint64(w.lanes)), RCX)
	SUBQ(RBX, RCX)
	JZ(LabelRef("done"))
	w.tail()
	body(
		func(p GPPhysical, x VecPhysical) { w.loadTail(0, at(p), x, mask) },
		func(x VecPhysical, p GPPhysical) { w.storeTail(0, x, at(p), mask) },
	)
	Label("done")
	VZEROUPPER()
	RET()
}

func elementwise(w width) {
	TEXT("add"+w.name, NOSPLIT, "func(dst, x *float32, n int)")
	Doc("add" + w.name + " replaces addGeneric.")
	Load(Param("dst"), RDI)
	Load(Param("x"), RSI)
	Load(Param("n"), R10)
	w.each(w.reg(15), func(load func(GPPhysical, VecPhysical), store func(VecPhysical, GPPhysical)) {
		load(RDI, w.reg(0))
		load(RSI, w.reg(1))
		VADDPS(w.reg(1), w.reg(0), w.reg(0))
		store(w.reg(0), RDI)
	})

	TEXT("scale"+w.name, NOSPLIT, "func(dst, x, weight *float32, s float32, n int)")
	Doc("scale" + w.name + " replaces scaleGeneric.")
	Load(Param("dst"), RDI)
	Load(Param("x"), RSI)
	Load(Param("weight"), RDX)
	s, err := Param("s").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(s.Addr, w.reg(2))
	Load(Param("n"), R10)
	w.each(w.reg(15), func(load func(GPPhysical, VecPhysical), store func(VecPhysical, GPPhysical)) {
		load(RSI, w.reg(0))
		load(RDX, w.reg(1))
		VMULPS(w.reg(2), w.reg(0), w.reg(0))
		VMULPS(w.reg(1), w.reg(0), w.reg(0))
		store(w.reg(0), RDI)
	})

	TEXT("multiply"+w.name, NOSPLIT, "func(x *float32, s float32, n int)")
	Doc("multiply" + w.name + " replaces multiplyGeneric.")
	Load(Param("x"), RDI)
	s, err = Param("s").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(s.Addr, w.reg(2))
	Load(Param("n"), R10)
	w.each(w.reg(15), func(load func(GPPhysical, VecPhysical), store func(VecPhysical, GPPhysical)) {
		load(RDI, w.reg(0))
		VMULPS(w.reg(2), w.reg(0), w.reg(0))
		store(w.reg(0), RDI)
	})

	TEXT("swiGLU"+w.name, NOSPLIT, "func(dst, gate, up *float32, n int)")
	Doc("swiGLU" + w.name + " replaces swiGLUGeneric.")
	Load(Param("dst"), RDI)
	Load(Param("gate"), RSI)
	Load(Param("up"), RDX)
	Load(Param("n"), R10)
	w.each(w.reg(15), func(load func(GPPhysical, VecPhysical), store func(VecPhysical, GPPhysical)) {
		g, u, x, c := w.reg(0), w.reg(1), w.reg(2), w.reg(3)
		load(RSI, g)
		load(RDX, u)
		if w.wide {
			VPXORD(constant(cSign), g, x)
		} else {
			VXORPS(constant(cSign), g, x)
		}
		// NaN stays: MIN and MAX return their second source, here x, if either is one.
		VMOVUPS(constant(cHigh), c)
		VMINPS(x, c, x)
		VMOVUPS(constant(cLow), c)
		VMAXPS(x, c, x)
		w.exp(x, w.reg(4), w.reg(5), w.reg(6))
		VADDPS(constant(cOne), w.reg(4), x)
		VDIVPS(x, g, g)
		VMULPS(u, g, g)
		store(g, RDI)
	})

	TEXT("rope"+w.name, NOSPLIT, "func(x, y, cos, sin *float32, n int)")
	Doc("rope" + w.name + " replaces ropeGeneric.")
	Load(Param("x"), RDI)
	Load(Param("y"), RSI)
	Load(Param("cos"), RDX)
	Load(Param("sin"), R8)
	Load(Param("n"), R10)
	w.each(w.reg(15), func(load func(GPPhysical, VecPhysical), store func(VecPhysical, GPPhysical)) {
		x, y, cos, sin, a, b := w.reg(0), w.reg(1), w.reg(2), w.reg(3), w.reg(4), w.reg(5)
		load(RDI, x)
		load(RSI, y)
		load(RDX, cos)
		load(R8, sin)
		VMULPS(y, sin, a)
		VMULPS(x, sin, b)
		VFMSUB231PS(x, cos, a)
		VFMADD231PS(y, cos, b)
		store(a, RDI)
		store(b, RSI)
	})
}

// exp emits p = exp(x) as in exp of package kernel. It smashes x, z and n.
func (w width) exp(x, p, z, n VecPhysical) {
	VMOVUPS(constant(cMagic), z)
	VFMADD231PS(constant(cLog2E), x, z)
	VSUBPS(constant(cMagic), z, n)
	VFNMADD231PS(constant(cLn2High), n, x)
	VFNMADD231PS(constant(cLn2Low), n, x)
	VMOVUPS(constant(cExp0), p)
	for c := cExp1; c <= cExp5; c++ {
		VFMADD213PS(constant(c), x, p)
	}
	VMULPS(x, x, n)
	VFMADD213PS(x, n, p)
	VADDPS(constant(cOne), p, p)
	VPSLLD(Imm(23), z, z)
	VMULPS(z, p, p)
}

// maximum emits the maximum of n > 0 values. What is beyond them counts as the first.
func maximum(w width) {
	TEXT("maximum"+w.name, NOSPLIT, "func(x *float32, n int) float32")
	Doc("maximum" + w.name + " replaces maximumGeneric.")
	Load(Param("x"), RDI)
	Load(Param("n"), R10)
	first, most, data, mask := w.reg(1), w.reg(0), w.reg(2), w.reg(3)
	VBROADCASTSS(Mem{Base: RDI}, first)
	VMOVAPS(first, most)
	Label("loop")
	CMPQ(R10, Imm(uint64(w.lanes)))
	JLT(LabelRef("tail"))
	VMAXPS(Mem{Base: RDI}, most, most)
	ADDQ(Imm(uint64(4*w.lanes)), RDI)
	SUBQ(Imm(uint64(w.lanes)), R10)
	JMP(LabelRef("loop"))
	Label("tail")
	TESTQ(R10, R10)
	JZ(LabelRef("fold"))
	MOVQ(R10, RCX)
	w.tail()
	if w.wide {
		VMOVUPS(Mem{Base: RDI}, K1, first)
	} else {
		w.loadTail(0, Mem{Base: RDI}, data, mask)
		VBLENDVPS(mask, data, first, first)
	}
	VMAXPS(first, most, most)
	Label("fold")
	if w.wide {
		VEXTRACTF64X4(Imm(1), Z0, Y2)
		VMAXPS(Y2, Y0, Y0)
	}
	VEXTRACTF128(Imm(1), Y0, X2)
	VMAXPS(X2, X0, X0)
	VMOVHLPS(X0, X0, X2)
	VMAXPS(X2, X0, X0)
	VMOVSHDUP(X0, X2)
	VMAXSS(X2, X0, X0)
	Store(X0, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// expSum emits x = exp(x-m) and the sum, 32 values at a time.
func expSum(w width) {
	TEXT("expSum"+w.name, NOSPLIT, "func(x *float32, m float32, n int) float32")
	Doc("expSum" + w.name + " replaces expSumGeneric.")
	Load(Param("x"), RDI)
	m, err := Param("m").Resolve()
	if err != nil {
		panic(err)
	}
	most, x, p, z, n, keep, mask := w.reg(15), w.reg(4), w.reg(5), w.reg(6), w.reg(7), w.reg(8), w.reg(9)
	VBROADCASTSS(m.Addr, most)
	Load(Param("n"), R10)
	for v := range w.parts() {
		w.zero(w.reg(v))
	}
	body := func(v int, tail bool) {
		at := Mem{Base: RDI, Disp: 4 * w.lanes * v}
		if tail {
			w.loadTail(v, at, x, mask)
		} else {
			VMOVUPS(at, x)
		}
		VSUBPS(most, x, x)
		// What is not less than the low end stays; NaN is not less.
		switch {
		case w.wide && tail:
			VCMPPS(Imm(0x15), constant(cLow), x, masks[v], K3)
		case w.wide:
			VCMPPS(Imm(0x15), constant(cLow), x, K3)
		default:
			VCMPPS(Imm(0x15), constant(cLow), x, keep)
			if tail {
				VANDPS(mask, keep, keep)
			}
		}
		w.exp(x, p, z, n)
		if w.wide {
			VMOVAPS_Z(p, K3, p)
		} else {
			VANDPS(keep, p, p)
		}
		VADDPS(p, w.reg(v), w.reg(v))
		if tail {
			w.storeTail(v, p, at, mask)
		} else {
			VMOVUPS(p, at)
		}
	}
	Label("loop")
	CMPQ(R10, Imm(32))
	JLT(LabelRef("tail"))
	for v := range w.parts() {
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
	for v := range w.parts() {
		body(v, true)
	}
	Label("done")
	Store(w.fold(0, 9), ReturnIndex(0))
	VZEROUPPER()
	RET()
}
