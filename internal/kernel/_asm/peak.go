package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The loops that say what a core can do at most. All of them compute
//
//	for range turns {
//		for i := range sums {
//			sum[i] += 1 * 1 // in every lane; integers: four times
//		}
//	}
//	return Σ sum[i][0]
//
// with everything in registers, so that nothing but the units that multiply and
// add can hold them up. The products of one turn do not depend on each other.
const peakSums = 12

func peak() {
	ones := GLOBL("peakOnes", RODATA|NOPTR)
	DATA(0, U32(math.Float32bits(1)))
	DATA(4, U32(0x01010101))
	DATA(8, U32(0x00010001))
	for _, w := range []width{{"AVX512", true, 16}, {"AVX2", false, 8}} {
		x := w.reg(12)
		peakLoop(w, "peakF32"+w.name, "float32", func() {
			VBROADCASTSS(ones, x)
		}, func(sum VecPhysical) {
			VFMADD231PS(x, x, sum)
		})
		words, pair := w.reg(13), w.reg(14)
		peakLoop(w, "peakInt8"+w.name, "int32", func() {
			VPBROADCASTD(ones.Offset(4), x)
			VPBROADCASTD(ones.Offset(8), words)
		}, func(sum VecPhysical) {
			VPMADDUBSW(x, x, pair)
			VPMADDWD(words, pair, pair)
			VPADDD(pair, sum, sum)
		})
		peakLoop(w, "peakInt8VNNI"+w.name, "int32", func() {
			VPBROADCASTD(ones.Offset(4), x)
		}, func(sum VecPhysical) {
			if w.wide {
				VPDPBUSD(x, x, sum)
			} else {
				vexVPDPBUSD(x, x, sum)
			}
		})
	}
}

// peakLoop emits one of the loops: add adds a product to a sum.
func peakLoop(w width, name, result string, constants func(), add func(sum VecPhysical)) {
	TEXT(name, NOSPLIT, fmt.Sprintf("func(turns int) %s", result))
	Doc(name + " replaces peakGeneric.")
	Load(Param("turns"), RCX)
	constants()
	for i := range peakSums {
		w.zero(w.reg(i))
	}
	TESTQ(RCX, RCX)
	JZ(LabelRef("fold"))
	Label("turn")
	for i := range peakSums {
		add(w.reg(i))
	}
	DECQ(RCX)
	JNZ(LabelRef("turn"))
	Label("fold")
	for i := 1; i < peakSums; i++ {
		if result == "float32" {
			VADDPS(w.reg(i), w.reg(0), w.reg(0))
		} else {
			VPADDD(w.reg(i), w.reg(0), w.reg(0))
		}
	}
	if result == "float32" {
		Store(X0, ReturnIndex(0))
	} else {
		VMOVD(X0, EAX)
		Store(EAX, ReturnIndex(0))
	}
	VZEROUPPER()
	RET()
}
