package kernel

const (
	// peakSums is the number of sums that the loops below keep in registers, as
	// many as the micro-kernel of AVX2 has. It hides the latency of a
	// multiplication: 4 or 5 cycles, two of them a cycle.
	peakSums = 12

	// MaxPeakTurns is the most turns of one call: beyond, a float32 no longer
	// counts them.
	MaxPeakTurns = 1 << 20
)

// PeakF32 keeps this core busy with nothing but multiplications and additions of
// float32 in registers, as the implementation in use does them, and returns how
// many operations that were, two for each element. Divided by the time it took,
// this is what no product of matrices can exceed. It returns 0 where the
// implementation in use has no such loop.
func PeakF32(turns int) (operations int) {
	checkTurns(turns)
	sum, products := peakF32(turns)
	return 2 * products * int(sum)
}

// PeakInt8 is PeakF32 for products of 8-bit integers summed in 32 bits.
func PeakInt8(turns int) (operations int) {
	checkTurns(turns)
	sum, products := peakInt8(turns)
	return 2 * products * int(sum)
}

func checkTurns(turns int) {
	if turns < 0 || turns > MaxPeakTurns {
		panic("kernel: Peak of too many turns")
	}
}

// one is variable, so that the compiler does not see through the loop below.
var one int32 = 1

// peakGeneric adds one product to each of peakSums sums in every turn. All
// factors are 1, so that the sum of the sums, which it returns, is what was
// computed and not what should have been.
func peakGeneric[T int32 | float32](turns int) T {
	x, y := T(one), T(one)
	// Named one by one, since the compiler keeps no array in registers.
	var a, b, c, d, e, f, g, h, i, j, k, l T
	for range turns {
		a = a*x + y
		b = b*x + y
		c = c*x + y
		d = d*x + y
		e = e*x + y
		f = f*x + y
		g = g*x + y
		h = h*x + y
		i = i*x + y
		j = j*x + y
		k = k*x + y
		l = l*x + y
	}
	return a + b + c + d + e + f + g + h + i + j + k + l
}
