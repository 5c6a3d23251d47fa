//go:build !purego

package kernel

// All the functions of this file are called with at least one element, and with
// lengths that vector.go has checked.

func dotRows(dst, q, x []float32, stride int) {
	switch active {
	case avx512:
		dotRowsAVX512(&dst[0], &q[0], &x[0], stride, len(dst), len(q))
	case avx2:
		dotRowsAVX2(&dst[0], &q[0], &x[0], stride, len(dst), len(q))
	default:
		dotRowsGeneric(dst, q, x, stride)
	}
}

func axpyRows(y, w, x []float32, stride int) {
	switch active {
	case avx512:
		axpyRowsAVX512(&y[0], &w[0], &x[0], stride, len(w), len(y))
	case avx2:
		axpyRowsAVX2(&y[0], &w[0], &x[0], stride, len(w), len(y))
	default:
		axpyRowsGeneric(y, w, x, stride)
	}
}

func add(dst, x []float32) {
	switch active {
	case avx512:
		addAVX512(&dst[0], &x[0], len(x))
	case avx2:
		addAVX2(&dst[0], &x[0], len(x))
	default:
		addGeneric(dst, x)
	}
}

func scale(dst, x, weight []float32, s float32) {
	switch active {
	case avx512:
		scaleAVX512(&dst[0], &x[0], &weight[0], s, len(x))
	case avx2:
		scaleAVX2(&dst[0], &x[0], &weight[0], s, len(x))
	default:
		scaleGeneric(dst, x, weight, s)
	}
}

func multiply(x []float32, s float32) {
	switch active {
	case avx512:
		multiplyAVX512(&x[0], s, len(x))
	case avx2:
		multiplyAVX2(&x[0], s, len(x))
	default:
		multiplyGeneric(x, s)
	}
}

func sum(x []float32) float32 {
	switch active {
	case avx512:
		return sumAVX512(&x[0], len(x))
	case avx2:
		return sumAVX2(&x[0], len(x))
	}
	return sumGeneric(x)
}

func squares(x []float32, m float32) float32 {
	switch active {
	case avx512:
		return squaresAVX512(&x[0], m, len(x))
	case avx2:
		return squaresAVX2(&x[0], m, len(x))
	}
	return squaresGeneric(x, m)
}

func scaleShift(dst, x, weight, bias []float32, m, s float32) {
	switch active {
	case avx512:
		scaleShiftAVX512(&dst[0], &x[0], &weight[0], &bias[0], m, s, len(x))
	case avx2:
		scaleShiftAVX2(&dst[0], &x[0], &weight[0], &bias[0], m, s, len(x))
	default:
		scaleShiftGeneric(dst, x, weight, bias, m, s)
	}
}

func maximum(x []float32) float32 {
	switch active {
	case avx512:
		return maximumAVX512(&x[0], len(x))
	case avx2:
		return maximumAVX2(&x[0], len(x))
	}
	return maximumGeneric(x)
}

func expSum(x []float32, m float32) float32 {
	switch active {
	case avx512:
		return expSumAVX512(&x[0], m, len(x))
	case avx2:
		return expSumAVX2(&x[0], m, len(x))
	}
	return expSumGeneric(x, m)
}

func swiGLU(dst, gate, up []float32) {
	switch active {
	case avx512:
		swiGLUAVX512(&dst[0], &gate[0], &up[0], len(dst))
	case avx2:
		swiGLUAVX2(&dst[0], &gate[0], &up[0], len(dst))
	default:
		swiGLUGeneric(dst, gate, up)
	}
}

func gelu(x []float32) {
	switch active {
	case avx512:
		geluAVX512(&x[0], len(x))
	case avx2:
		geluAVX2(&x[0], len(x))
	default:
		geluGeneric(x)
	}
}

func geluTanh(x []float32) {
	switch active {
	case avx512:
		geluTanhAVX512(&x[0], len(x))
	case avx2:
		geluTanhAVX2(&x[0], len(x))
	default:
		geluTanhGeneric(x)
	}
}

func rope(x, y, cos, sin []float32) {
	switch active {
	case avx512:
		ropeAVX512(&x[0], &y[0], &cos[0], &sin[0], len(x))
	case avx2:
		ropeAVX2(&x[0], &y[0], &cos[0], &sin[0], len(x))
	default:
		ropeGeneric(x, y, cos, sin)
	}
}

// dotRowsAVX512 is dotRowsGeneric:
//
//	for i := range rows {
//		dst[i] = Σ_j q[j]*x[i*stride+j], j in 0 to n, in 32 partial sums
//	}
//
//go:noescape
func dotRowsAVX512(dst, q, x *float32, stride, rows, n int)

// dotRowsAVX2 is dotRowsAVX512 with narrower registers and the same bits.
//
//go:noescape
func dotRowsAVX2(dst, q, x *float32, stride, rows, n int)

// axpyRowsAVX512 is axpyRowsGeneric:
//
//	for i := range rows {
//		for j := range n {
//			y[j] = fma(w[i], x[i*stride+j], y[j])
//		}
//	}
//
//go:noescape
func axpyRowsAVX512(y, w, x *float32, stride, rows, n int)

// axpyRowsAVX2 is axpyRowsAVX512 with narrower registers and the same bits.
//
//go:noescape
func axpyRowsAVX2(y, w, x *float32, stride, rows, n int)

// addAVX512 is addGeneric:
//
//	for i := range n {
//		dst[i] += x[i]
//	}
//
//go:noescape
func addAVX512(dst, x *float32, n int)

// addAVX2 is addAVX512 with narrower registers and the same bits.
//
//go:noescape
func addAVX2(dst, x *float32, n int)

// scaleAVX512 is scaleGeneric:
//
//	for i := range n {
//		dst[i] = x[i] * s * weight[i]
//	}
//
//go:noescape
func scaleAVX512(dst, x, weight *float32, s float32, n int)

// scaleAVX2 is scaleAVX512 with narrower registers and the same bits.
//
//go:noescape
func scaleAVX2(dst, x, weight *float32, s float32, n int)

// multiplyAVX512 is multiplyGeneric:
//
//	for i := range n {
//		x[i] *= s
//	}
//
//go:noescape
func multiplyAVX512(x *float32, s float32, n int)

// multiplyAVX2 is multiplyAVX512 with narrower registers and the same bits.
//
//go:noescape
func multiplyAVX2(x *float32, s float32, n int)

// sumAVX512 is sumGeneric:
//
//	for i := range n {
//		sum += x[i] // in 32 partial sums
//	}
//	return sum
//
//go:noescape
func sumAVX512(x *float32, n int) float32

// sumAVX2 is sumAVX512 with narrower registers and the same bits.
//
//go:noescape
func sumAVX2(x *float32, n int) float32

// squaresAVX512 is squaresGeneric:
//
//	for i := range n {
//		d := x[i] - m
//		sum = fma(d, d, sum) // in 32 partial sums
//	}
//	return sum
//
//go:noescape
func squaresAVX512(x *float32, m float32, n int) float32

// squaresAVX2 is squaresAVX512 with narrower registers and the same bits.
//
//go:noescape
func squaresAVX2(x *float32, m float32, n int) float32

// scaleShiftAVX512 is scaleShiftGeneric:
//
//	for i := range n {
//		dst[i] = fma((x[i]-m)*s, weight[i], bias[i])
//	}
//
//go:noescape
func scaleShiftAVX512(dst, x, weight, bias *float32, m, s float32, n int)

// scaleShiftAVX2 is scaleShiftAVX512 with narrower registers and the same bits.
//
//go:noescape
func scaleShiftAVX2(dst, x, weight, bias *float32, m, s float32, n int)

// maximumAVX512 is maximumGeneric:
//
//	m := x[0]
//	for i := range n {
//		m = max(m, x[i])
//	}
//	return m
//
//go:noescape
func maximumAVX512(x *float32, n int) float32

// maximumAVX2 is maximumAVX512 with narrower registers and the same bits.
//
//go:noescape
func maximumAVX2(x *float32, n int) float32

// expSumAVX512 is expSumGeneric:
//
//	for i := range n {
//		x[i] = exp(x[i] - m) // 0 below expLow
//		sum += x[i]          // in 32 partial sums
//	}
//	return sum
//
//go:noescape
func expSumAVX512(x *float32, m float32, n int) float32

// expSumAVX2 is expSumAVX512 with narrower registers and the same bits.
//
//go:noescape
func expSumAVX2(x *float32, m float32, n int) float32

// swiGLUAVX512 is swiGLUGeneric:
//
//	for i := range n {
//		dst[i] = gate[i] / (1 + exp(-gate[i])) * up[i]
//	}
//
//go:noescape
func swiGLUAVX512(dst, gate, up *float32, n int)

// swiGLUAVX2 is swiGLUAVX512 with narrower registers and the same bits.
//
//go:noescape
func swiGLUAVX2(dst, gate, up *float32, n int)

// geluAVX512 is geluGeneric:
//
//	for i := range n {
//		x[i] *= Φ(x[i]) // by exp and a polynomial
//	}
//
//go:noescape
func geluAVX512(x *float32, n int)

// geluAVX2 is geluAVX512 with narrower registers and the same bits.
//
//go:noescape
func geluAVX2(x *float32, n int)

// geluTanhAVX512 is geluTanhGeneric:
//
//	for i := range n {
//		x[i] /= 1 + exp(-x[i]*(x[i]*x[i]*tanhCube+tanhLinear))
//	}
//
//go:noescape
func geluTanhAVX512(x *float32, n int)

// geluTanhAVX2 is geluTanhAVX512 with narrower registers and the same bits.
//
//go:noescape
func geluTanhAVX2(x *float32, n int)

// ropeAVX512 is ropeGeneric:
//
//	for i := range n {
//		x[i], y[i] = x[i]*cos[i]-y[i]*sin[i], y[i]*cos[i]+x[i]*sin[i]
//	}
//
//go:noescape
func ropeAVX512(x, y, cos, sin *float32, n int)

// ropeAVX2 is ropeAVX512 with narrower registers and the same bits.
//
//go:noescape
func ropeAVX2(x, y, cos, sin *float32, n int)
