package main

import (
	"math"
	"strconv"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// What attention needs beside the products of float32: products of bfloat16 pairs,
// and the roundings that make them. attention.go of package kernel says what a pair
// is and in which order it is summed.
//
// Neither avo nor the assembler of Go 1.26 knows the instructions of AVX512_BF16, so
// they stand as bytes.

func attention() {
	microkernel(tile{name: "tilePairsAVX512", rows: 12, wide: true, pairs: true}, Mem{})
	pairs()
	roundConstants()
	for _, w := range []width{{"AVX512", true, 16}, {"AVX2", false, 8}} {
		round(w)
		weigh(w)
	}

	TEXT("cpuVendor", NOSPLIT, "func() uint32")
	Doc("cpuVendor returns the first four letters of the processor's maker.")
	XORL(EAX, EAX)
	XORL(ECX, ECX)
	CPUID()
	Store(EBX, ReturnIndex(0))
	RET()
}

// evex emits an instruction of the form EVEX.512.F3.0F38.W0 opcode /r with
// three registers: dst is ModRM.reg, src1 is EVEX.vvvv and src2 ModRM.rm. An
// instruction with two operands has src1 0.
func evex(opcode uint8, src2, src1, dst uint8) {
	not := func(bit uint8) uint32 { return uint32(^bit & 1) }
	head := 0x62 |
		(not(dst>>3)<<7|not(src2>>4)<<6|not(src2>>3)<<5|not(dst>>4)<<4|2)<<8 |
		(uint32(^src1&15)<<3|1<<2|2)<<16 |
		(2<<5|not(src1>>4)<<3)<<24
	tail := uint16(opcode) | uint16(3<<6|(dst&7)<<3|src2&7)<<8
	Instruction(&ir.Instruction{Opcode: "LONG", Operands: []Op{U32(head)}})
	Instruction(&ir.Instruction{Opcode: "WORD", Operands: []Op{U16(tail)}})
}

// dotPairs emits acc += the dots of the pairs of a and b, the upper halves first:
// VDPBF16PS.
func dotPairs(a, b, acc VecPhysical) {
	Comment("VDPBF16PS " + a.Asm() + ", " + b.Asm() + ", " + acc.Asm())
	evex(0x52, number(a), number(b), number(acc))
}

// number returns the 12 of Z12.
func number(v VecPhysical) uint8 {
	n, err := strconv.ParseUint(v.Asm()[1:], 10, 5)
	if err != nil {
		panic(err)
	}
	return uint8(n)
}

// pairs emits the rounding of n values to n/2 pairs, 16 at a time.
func pairs() {
	TEXT("pairAVX512", NOSPLIT, "func(dst *uint32, x *float32, n int)")
	Doc("pairAVX512 replaces pairGeneric.")
	Load(Param("dst"), RDI)
	Load(Param("x"), RSI)
	Load(Param("n"), R10)
	convert := func() {
		Comment("VCVTNEPS2BF16 Z0, Y0")
		evex(0x72, 0, 0, 0)
		VPROLD(Imm(16), Y0, Y0)
	}
	Label("loop")
	SUBQ(Imm(16), R10)
	JLT(LabelRef("tail"))
	VMOVUPS(Mem{Base: RSI}, Z0)
	convert()
	VMOVDQU32(Y0, Mem{Base: RDI})
	ADDQ(Imm(64), RSI)
	ADDQ(Imm(32), RDI)
	JMP(LabelRef("loop"))
	Label("tail")
	ADDQ(Imm(16), R10)
	JZ(LabelRef("done"))
	MOVQ(R10, RCX)
	MOVL(U32(1), EAX)
	SHLL(CL, EAX)
	DECL(EAX)
	KMOVW(EAX, K1)
	VMOVUPS_Z(Mem{Base: RSI}, K1, Z0)
	convert()
	SHRQ(Imm(1), RCX)
	MOVL(U32(1), EAX)
	SHLL(CL, EAX)
	DECL(EAX)
	KMOVW(EAX, K1)
	VMOVDQU32(Y0, K1, Mem{Base: RDI})
	Label("done")
	VZEROUPPER()
	RET()
}

// Constants of round and weigh, each repeated to fill 64 bytes.
const (
	rOne = iota
	rHalf
	rQuiet
	rHigh
	rLow
	rMagic
	rExp4
	rExp3
	rExp2
	rExp1
	rUnit
)

var rounding Mem

func roundConstants() {
	f := math.Float32bits
	rounding = GLOBL("rounding", RODATA|NOPTR)
	for n, v := range []uint32{
		rOne: 1, rHalf: 0x7fff, rQuiet: 0x400000, rHigh: 0xffff0000,
		rLow: f(-126), rMagic: f(3<<22 + 127),
		rExp4: f(9.676037098e-3), rExp3: f(5.600578835e-2), rExp2: f(2.402216778e-1), rExp1: f(6.931053341e-1), rUnit: f(1),
	} {
		for i := range 16 {
			DATA(64*n+4*i, U32(v))
		}
	}
	tailMask = GLOBL("roundTail", RODATA|NOPTR)
	for i := range 64 {
		v := uint32(0)
		if i < 32 {
			v = 0xffffffff
		}
		DATA(4*i, U32(v))
	}
}

// round emits the rounding of n values to bfloat16 in place.
func round(w width) {
	TEXT("round"+w.name, NOSPLIT, "func(x *float32, n int)")
	Doc("round" + w.name + " replaces roundGeneric.")
	Load(Param("x"), RDI)
	Load(Param("n"), R10)
	at := func(n int) Mem { return rounding.Offset(64 * n) }
	w.each(w.reg(15), func(load func(GPPhysical, VecPhysical), store func(VecPhysical, GPPhysical)) {
		x, t, nan := w.reg(0), w.reg(1), w.reg(2)
		load(RDI, x)
		VPSRLD(Imm(16), x, t)
		if w.wide {
			VPANDD(at(rOne), t, t)
			VPADDD(at(rHalf), t, t)
			VPADDD(x, t, t)
			VCMPPS(Imm(3), x, x, K3) // NaN
			VPORD(at(rQuiet), x, K3, t)
			VPANDD(at(rHigh), t, t)
		} else {
			VPAND(at(rOne), t, t)
			VPADDD(at(rHalf), t, t)
			VPADDD(x, t, t)
			VCMPPS(Imm(3), x, x, nan)
			VPOR(at(rQuiet), x, x)
			VBLENDVPS(nan, x, t, t)
			VPAND(at(rHigh), t, t)
		}
		store(t, RDI)
	})
}

// weigh emits the maximum of n > 0 values and of before, and then x = 2^(x-maximum)
// and its sum, 32 values at a time.
func weigh(w width) {
	TEXT("weigh"+w.name, NOSPLIT, "func(x *float32, before float32, n int) (most, sum float32)")
	Doc("weigh" + w.name + " replaces weighGeneric.")
	Load(Param("x"), RDI)
	before, err := Param("before").Resolve()
	if err != nil {
		panic(err)
	}
	Load(Param("n"), R10)
	at := func(n int) Mem { return rounding.Offset(64 * n) }

	// The maximum, in as many registers as there are parts. What is beyond the values
	// counts as before.
	rest, mask, data := w.reg(8), w.reg(9), w.reg(10)
	VBROADCASTSS(before.Addr, rest)
	for v := range w.parts() {
		VMOVAPS(rest, w.reg(v))
	}
	MOVQ(RDI, RSI)
	MOVQ(R10, RDX)
	Label("scan")
	SUBQ(Imm(32), RDX)
	JLT(LabelRef("scanned"))
	for v := range w.parts() {
		VMAXPS(Mem{Base: RSI, Disp: 4 * w.lanes * v}, w.reg(v), w.reg(v))
	}
	ADDQ(U32(128), RSI)
	JMP(LabelRef("scan"))
	Label("scanned")
	ADDQ(Imm(32), RDX)
	JZ(LabelRef("most"))
	MOVQ(RDX, RCX)
	w.tail()
	for v := range w.parts() {
		m := Mem{Base: RSI, Disp: 4 * w.lanes * v}
		if w.wide {
			VMOVAPS(rest, data)
			VMOVUPS(m, masks[v], data)
		} else {
			w.loadTail(v, m, data, mask)
			VBLENDVPS(mask, data, rest, data)
		}
		VMAXPS(data, w.reg(v), w.reg(v))
	}
	Label("most")
	if w.wide {
		VMAXPS(Z1, Z0, Z0)
		VEXTRACTF64X4(Imm(1), Z0, Y1)
		VMAXPS(Y1, Y0, Y0)
	} else {
		VMAXPS(Y2, Y0, Y0)
		VMAXPS(Y3, Y1, Y1)
		VMAXPS(Y1, Y0, Y0)
	}
	VEXTRACTF128(Imm(1), Y0, X1)
	VMAXPS(X1, X0, X0)
	VMOVHLPS(X0, X0, X1)
	VMAXPS(X1, X0, X0)
	VMOVSHDUP(X0, X1)
	VMAXSS(X1, X0, X0)
	Store(X0, ReturnIndex(0))
	most := w.reg(15)
	VBROADCASTSS(X0, most)

	x, p, z, n, low, magic, one := w.reg(4), w.reg(5), w.reg(6), w.reg(7), w.reg(11), w.reg(12), w.reg(13)
	VMOVUPS(at(rLow), low)
	VMOVUPS(at(rMagic), magic)
	VMOVUPS(at(rUnit), one)
	for v := range w.parts() {
		w.zero(w.reg(v))
	}
	power := func(v int, tail bool) {
		m := Mem{Base: RDI, Disp: 4 * w.lanes * v}
		if tail {
			w.loadTail(v, m, x, mask)
		} else {
			VMOVUPS(m, x)
		}
		VSUBPS(most, x, x)
		VMAXPS(x, low, x) // a NaN stays
		VADDPS(magic, x, z)
		VSUBPS(magic, z, n)
		VSUBPS(n, x, x)
		VMOVUPS(at(rExp4), p)
		VFMADD213PS(at(rExp3), x, p)
		VFMADD213PS(at(rExp2), x, p)
		VFMADD213PS(at(rExp1), x, p)
		VFMADD213PS(one, x, p)
		VPSLLD(Imm(23), z, z)
		VMULPS(z, p, p)
		switch {
		case !tail:
			VMOVUPS(p, m)
		case w.wide:
			VMOVAPS_Z(p, masks[v], p)
			VMOVUPS(p, masks[v], m)
		default:
			VANDPS(mask, p, p)
			VMASKMOVPS(p, mask, m)
		}
		VADDPS(p, w.reg(v), w.reg(v))
	}
	Label("loop")
	CMPQ(R10, Imm(32))
	JLT(LabelRef("tail"))
	for v := range w.parts() {
		power(v, false)
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
		power(v, true)
	}
	Label("done")
	Store(w.fold(0, 9), ReturnIndex(1))
	VZEROUPPER()
	RET()
}
