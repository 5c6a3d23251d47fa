package main

import "fmt"

// The products in eight bits on arm64: see int8.go. The offset of the weights is
// taken off by flipping their top bits, so that starts are of no use here.
//
// SDOT adds four products of each lane at once. Without it a lane's products are made
// in 16 bits, where two of at most 127² each fit, added in pairs and then widened:
// four instructions in place of one.

// Instructions on bytes and halfwords (Arm Architecture Reference Manual, C7.2).
func (a *arm) sdot(d, n, m int) {
	a.word(0x4e809400|uint32(m)<<16|uint32(n)<<5|uint32(d), "sdot v%d.4s, v%d.16b, v%d.16b", d, n, m)
}

func (a *arm) smull(d, n, m int) {
	a.word(0x0e20c000|uint32(m)<<16|uint32(n)<<5|uint32(d), "smull v%d.8h, v%d.8b, v%d.8b", d, n, m)
}

func (a *arm) smull2(d, n, m int) {
	a.word(0x4e20c000|uint32(m)<<16|uint32(n)<<5|uint32(d), "smull2 v%d.8h, v%d.16b, v%d.16b", d, n, m)
}

func (a *arm) addp(d, n, m int) {
	a.word(0x4e60bc00|uint32(m)<<16|uint32(n)<<5|uint32(d), "addp v%d.8h, v%d.8h, v%d.8h", d, n, m)
}

func (a *arm) sadalp(d, n int) {
	a.word(0x4e606800|uint32(n)<<5|uint32(d), "sadalp v%d.4s, v%d.8h", d, n)
}

func (a *arm) addWords(d, n, m int) {
	a.word(0x4ea08400|uint32(m)<<16|uint32(n)<<5|uint32(d), "add v%d.4s, v%d.4s, v%d.4s", d, n, m)
}

// narrow writes the words of lo and hi to the halfwords of d.
func (a *arm) narrow(d, lo, hi int) {
	a.word(0x0e614800|uint32(lo)<<5|uint32(d), "sqxtn v%d.4h, v%d.4s", d, lo)
	a.word(0x4e614800|uint32(hi)<<5|uint32(d), "sqxtn2 v%d.8h, v%d.4s", d, hi)
}

// narrowBytes writes the halfwords of lo and hi to the bytes of d.
func (a *arm) narrowBytes(d, lo, hi int) {
	a.word(0x0e214800|uint32(lo)<<5|uint32(d), "sqxtn v%d.8b, v%d.8h", d, lo)
	a.word(0x4e214800|uint32(hi)<<5|uint32(d), "sqxtn2 v%d.16b, v%d.8h", d, hi)
}

// armFlip makes v31 the mask of the bytes' top bits.
func armFlip(a *arm) {
	a.op("MOVD $0x80, R12")
	a.op("VDUP R12, V31.B16")
}

func armInt8(a *arm) {
	armConstantData(a)
	armSumTile(a, "sumTileSDOT", 6, true)
	armSumTile(a, "sumTileNEON", 4, false)
	armFinish(a)
	armFinishGated(a)

	a.function("multiplyOutlierNEON", "multiplyOutlierNEON is one turn of multiplyOutliersGeneric.",
		"(extra *float32, group *byte, p int, v float32)", 28)
	a.op("MOVD extra+0(FP), R0")
	a.op("MOVD group+8(FP), R1")
	a.op("MOVD p+16(FP), R2")
	a.op("MOVWU v+24(FP), R12")
	a.op("VDUP R12, V30.S4")
	armFlip(a)
	// Byte p of a word goes to the top, and from there, with its sign, to the bottom.
	a.op("MOVD $24, R3")
	a.op("SUB R2<<3, R3")
	a.op("VDUP R3, V29.S4")
	for v := range 8 {
		a.op("FMOVQ %d(R1), F0", 16*v)
		a.b("eor", 0, 0, 31)
		a.word(0x4ea04400|29<<16, "sshl v0.4s, v0.4s, v29.4s")
		a.word(0x4f280400, "sshr v0.4s, v0.4s, #24")
		a.u("scvtf", 0, 0)
		a.f("fmul", 0, 0, 30)
		a.op("FMOVQ %d(R0), F1", 16*v)
		a.f("fadd", 1, 1, 0)
		a.op("FMOVQ F1, %d(R0)", 16*v)
	}
	a.op("RET")

	a.function("magnitudesNEON", "magnitudesNEON replaces magnitudesGeneric.", "(x *float32, n int) (most, sum float32)", 24)
	a.op("MOVD x+0(FP), R1")
	a.op("MOVD n+8(FP), R10")
	a.zero(30)
	armSums(a, []string{"R1"}, func(p part, q int) {
		p.load(8, "R1")
		a.u("fabs", 8, 8)
		a.f("fmax", 30, 30, 8)
		a.f("fadd", q, q, 8)
	})
	a.largest(30, 30)
	a.op("FMOVS F30, most+16(FP)")
	a.op("FMOVS F0, sum+20(FP)")
	a.op("RET")

	a.function("quantizeNEON", "quantizeNEON replaces quantizeGeneric.", "(q *int8, x *float32, s float32, n int) int32", 36)
	a.op("MOVD q+0(FP), R0")
	a.op("MOVD x+8(FP), R1")
	a.op("MOVWU s+16(FP), R12")
	a.op("VDUP R12, V30.S4")
	a.op("MOVD n+24(FP), R10")
	a.zero(16)
	sixteen := func() {
		for v := range 4 {
			a.f("fmul", v, v, 30)
			a.u("fcvtns", v, v)
			a.addWords(16, 16, v)
		}
		a.narrow(4, 0, 1)
		a.narrow(5, 2, 3)
		a.narrowBytes(6, 4, 5)
		a.op("FMOVQ.P F6, 16(R0)")
	}
	a.label("loop")
	a.op("CMP $16, R10")
	a.op("BLT rest")
	a.op("FLDPQ.P 32(R1), (F0, F1)")
	a.op("FLDPQ.P 32(R1), (F2, F3)")
	sixteen()
	a.op("SUB $16, R10")
	a.op("B loop")
	a.label("rest")
	a.op("CBZ R10, done")
	for v := range 4 {
		a.zero(v)
	}
	for v := range 4 {
		a.op("CBZ R10, last")
		a.op("CMP $4, R10")
		a.op("BLT tail%d", v)
		a.op("FMOVQ.P 16(R1), F%d", v)
		a.op("SUB $4, R10")
		a.op("B part%d", v)
		a.label(fmt.Sprintf("tail%d", v))
		part{a: a, tail: true, name: "tail"}.load(v, "R1")
		a.op("B last")
		a.label(fmt.Sprintf("part%d", v))
	}
	a.label("last")
	sixteen()
	a.label("done")
	a.word(0x4eb1b800|16<<5|16, "addv s16, v16.4s")
	a.op("FMOVS F16, ret+32(FP)")
	a.op("RET")
}

// armSumTile writes a micro-kernel of half a panel, 16 columns: v0 to v23 are sums, four
// to a row, v24 to v27 the weights of a group.
func armSumTile(a *arm, name string, most int, dot bool) {
	a.function(name, fmt.Sprintf("%s is sumTileGeneric for 1 to %d rows and half of a panel.", name, most),
		"(sums *int32, a *int8, lda, rows, groups int, panel *byte)", 48)
	a.op("MOVD sums+0(FP), R0")
	a.op("MOVD a+8(FP), R2") // R2 to R7: the rows of a
	a.op("MOVD lda+16(FP), R13")
	for i := 1; i < most; i++ {
		a.op("ADD R13, R%d, R%d", 1+i, 2+i)
	}
	a.op("MOVD rows+24(FP), R10")
	a.op("MOVD groups+32(FP), R9")
	a.op("MOVD panel+40(FP), R8")
	armFlip(a)
	for r := most; r > 1; r-- {
		a.op("CMP $%d, R10", r)
		a.op("BEQ rows%d", r)
	}
	for r := 1; r <= most; r++ {
		a.label(fmt.Sprintf("rows%d", r))
		for v := range 4 * r {
			a.zero(v)
		}
		a.label(fmt.Sprintf("step%d", r))
		a.op("FLDPQ (R8), (F24, F25)")
		a.op("FLDPQ 32(R8), (F26, F27)")
		a.op("ADD $128, R8")
		for v := range 4 {
			a.b("eor", 24+v, 24+v, 31)
		}
		for i := range r {
			x := 28 + i%2
			a.op("VLD1R.P 4(R%d), [V%d.S4]", 2+i, x)
			for v := range 4 {
				if dot {
					a.sdot(4*i+v, 24+v, x)
					continue
				}
				t := 16 + 4*(i%2) + 2*(v%2) // free: there are four rows at most
				a.smull(t, 24+v, x)
				a.smull2(t+1, 24+v, x)
				a.addp(t, t, t+1)
				a.sadalp(4*i+v, t)
			}
		}
		a.op("SUBS $1, R9")
		a.op("BNE step%d", r)
		for i := range r {
			a.op("FSTPQ (F%d, F%d), %d(R0)", 4*i, 4*i+1, 128*i)
			a.op("FSTPQ (F%d, F%d), %d(R0)", 4*i+2, 4*i+3, 128*i+32)
		}
		a.op("RET")
	}
}

const armFinishSignature = "(c *float32, ldc int, sums *int32, extra, rowScales, scales, bias *float32, rows"

// armFinishLoad loads the arguments that both epilogues have.
func armFinishLoad(a *arm) {
	for i, s := range []string{"c", "ldc", "sums", "extra", "rowScales", "scales", "bias", "rows"} {
		a.op("MOVD %s+%d(FP), R%d", s, 8*i, i)
	}
	a.op("LSL $2, R1")
}

// armDequantize writes v = (float32(sum)*rowScale + extra)*scale + bias of part q of a
// row, with the row's scale in v8. It smashes v9.
func armDequantize(a *arm, v, q int, scales, bias func()) {
	a.op("FMOVQ %d(R2), F%d", 16*q, v)
	a.u("scvtf", v, v)
	a.f("fmul", v, v, 8)
	a.op("CBZ R3, plain%d", q)
	a.op("FMOVQ %d(R3), F9", 16*q)
	a.f("fadd", v, v, 9)
	a.label(fmt.Sprintf("plain%d", q))
	scales()
	a.f("fmul", v, v, 9)
	bias()
	a.f("fadd", v, v, 9)
}

// armNextRow moves on by a row and repeats while there is one.
func armNextRow(a *arm) {
	a.op("ADD R1, R0")
	a.op("ADD $128, R2")
	a.op("CBZ R3, next")
	a.op("ADD $128, R3")
	a.label("next")
	a.op("SUBS $1, R7")
	a.op("BNE row")
	a.op("RET")
}

func armFinish(a *arm) {
	a.function("finishNEON", "finishNEON replaces finishGeneric where nothing is gated.", armFinishSignature+", add int)", 72)
	armFinishLoad(a)
	a.op("MOVD add+64(FP), R8")
	a.label("row")
	a.op("VLD1R.P 4(R4), [V8.S4]")
	for q := range 8 {
		armDequantize(a, 0, q,
			func() { a.op("FMOVQ %d(R5), F9", 16*q) },
			func() { a.op("FMOVQ %d(R6), F9", 16*q) })
		a.op("CBZ R8, store%d", q)
		a.op("FMOVQ %d(R0), F9", 16*q)
		a.f("fadd", 0, 9, 0)
		a.label(fmt.Sprintf("store%d", q))
		a.op("FMOVQ F0, %d(R0)", 16*q)
	}
	armNextRow(a)
}

func armFinishGated(a *arm) {
	a.function("finishGatedNEON", "finishGatedNEON replaces finishGeneric of gated products.", armFinishSignature+" int)", 64)
	armFinishLoad(a)
	armConstants(a)
	a.label("row")
	a.op("VLD1R.P 4(R4), [V8.S4]")
	for q := range 4 {
		for _, half := range []int{0, 1} {
			at := q + 4*half
			armDequantize(a, half, at,
				func() { a.op("FMOVQ %d(R5), F9", 16*at) },
				func() { a.op("FMOVQ %d(R6), F9", 16*at) })
		}
		gate, value, x, e := 0, 1, 2, 3
		a.u("fneg", x, gate)
		a.f("fmin", x, x, armHigh) // NaN stays
		a.f("fmax", x, x, armLow)
		armExpUnfused(a, x, e, 4, 5)
		a.f("fadd", e, e, armOne)
		a.f("fdiv", gate, gate, e)
		a.f("fmul", gate, gate, value)
		a.op("FMOVQ F%d, %d(R0)", gate, 16*q)
	}
	armNextRow(a)
}

// armExpUnfused writes p = exp(x) as in expUnfused of package kernel. It smashes x, z and n.
func armExpUnfused(a *arm, x, p, z, n int) {
	a.f("fmul", z, x, armLog2E)
	a.f("fadd", z, z, armMagic)
	a.f("fsub", n, z, armMagic)
	a.f("fmul", p, n, armLn2High)
	a.f("fsub", x, x, p)
	a.f("fmul", p, n, armLn2Low)
	a.f("fsub", x, x, p)
	a.f("fmul", p, x, armExp0)
	a.f("fadd", p, p, armExp1)
	for c := armExp2; c <= armExp5; c++ {
		a.f("fmul", p, p, x)
		a.f("fadd", p, p, c)
	}
	a.f("fmul", n, x, x)
	a.f("fmul", p, p, n)
	a.f("fadd", p, p, x)
	a.f("fadd", p, p, armOne)
	a.shl(z, z, 23)
	a.f("fmul", p, p, z)
}
