package main

// The vector operations of attention on arm64: see attention.go. Pairs of bfloat16 are
// not used there: products are float32 of rounded values.
func armAttention(a *arm) {
	a.table("armPower", "-126, 3·2²²+127, and the polynomial of 2ʳ from its highest term on.",
		-126, 3<<22+127, 9.676037098e-3, 5.600578835e-2, 2.402216778e-1, 6.931053341e-1, 1)
	a.tailData()

	a.function("roundNEON", "roundNEON replaces roundGeneric.", "(x *float32, n int)", 16)
	a.op("MOVD x+0(FP), R0")
	a.op("MOVD n+8(FP), R10")
	for v, bits := range []uint32{1, 0x7fff, 0x400000, 0xffff0000} {
		a.op("MOVD $0x%x, R12", bits)
		a.op("VDUP R12, V%d.S4", 16+v)
	}
	armEach(a, []string{"R0"}, func(p part) {
		x, t, number := 0, 1, 2
		p.load(x, "R0")
		a.word(0x6f300400|uint32(x)<<5|uint32(t), "ushr v%d.4s, v%d.4s, #16", t, x)
		a.b("and", t, t, 16)
		a.addWords(t, t, 17)
		a.addWords(t, t, x)
		a.f("fcmeq", number, x, x)
		a.b("orr", x, x, 18) // a NaN that stays one without its lower half
		a.b("bit", x, t, number)
		a.b("and", x, x, 19)
		p.store(x, "R0")
	})

	a.function("powerSumNEON", "powerSumNEON is the second half of weighGeneric.", "(x *float32, most float32, n int) float32", 28)
	a.op("MOVD x+0(FP), R0")
	a.op("MOVWU most+8(FP), R12")
	a.op("VDUP R12, V30.S4")
	a.op("MOVD n+16(FP), R10")
	a.op("MOVD $armPower<>(SB), R12")
	for v := 16; v < 23; v++ {
		a.op("VLD1R.P 4(R12), [V%d.S4]", v)
	}
	armSums(a, []string{"R0"}, func(p part, q int) {
		x, z, n, power := 8, 9, 10, 11
		p.load(x, "R0")
		a.f("fsub", x, x, 30)
		a.f("fmax", x, x, 16) // NaN stays
		a.f("fadd", z, x, 17)
		a.f("fsub", n, z, 17)
		a.f("fsub", x, x, n)
		a.move(power, 18)
		for c := 19; c < 23; c++ {
			a.move(n, c)
			a.f("fmla", n, power, x)
			power, n = n, power
		}
		a.shl(z, z, 23)
		a.f("fmul", power, power, z)
		p.clearTail(power)
		a.f("fadd", q, q, power)
		p.store(power, "R0")
	})
	a.op("FMOVS F0, ret+24(FP)")
	a.op("RET")
}
