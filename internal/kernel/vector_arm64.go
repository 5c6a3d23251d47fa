//go:build !purego

package kernel

// All the functions of this file are called with at least one element, and with
// lengths that vector.go has checked.

func dotRows(dst, q, x []float32, stride int) {
	if active == generic {
		dotRowsGeneric(dst, q, x, stride)
		return
	}
	for i := range dst {
		dst[i] = dotNEON(&q[0], &x[i*stride], len(q))
	}
}

func axpyRows(y, w, x []float32, stride int) {
	if active == generic {
		axpyRowsGeneric(y, w, x, stride)
		return
	}
	for i, v := range w {
		axpyNEON(&y[0], v, &x[i*stride], len(y))
	}
}

func add(dst, x []float32) {
	if active == generic {
		addGeneric(dst, x)
		return
	}
	addNEON(&dst[0], &x[0], len(x))
}

func scale(dst, x, weight []float32, s float32) {
	if active == generic {
		scaleGeneric(dst, x, weight, s)
		return
	}
	scaleNEON(&dst[0], &x[0], &weight[0], s, len(x))
}

func multiply(x []float32, s float32) {
	if active == generic {
		multiplyGeneric(x, s)
		return
	}
	multiplyNEON(&x[0], s, len(x))
}

func sum(x []float32) float32 {
	if active == generic {
		return sumGeneric(x)
	}
	return sumNEON(&x[0], len(x))
}

func squares(x []float32, m float32) float32 {
	if active == generic {
		return squaresGeneric(x, m)
	}
	return squaresNEON(&x[0], m, len(x))
}

func scaleShift(dst, x, weight, bias []float32, m, s float32) {
	if active == generic {
		scaleShiftGeneric(dst, x, weight, bias, m, s)
		return
	}
	scaleShiftNEON(&dst[0], &x[0], &weight[0], &bias[0], m, s, len(x))
}

func maximum(x []float32) float32 {
	if active == generic {
		return maximumGeneric(x)
	}
	return maximumNEON(&x[0], len(x))
}

func expSum(x []float32, m float32) float32 {
	if active == generic {
		return expSumGeneric(x, m)
	}
	return expSumNEON(&x[0], m, len(x))
}

func swiGLU(dst, gate, up []float32) {
	if active == generic {
		swiGLUGeneric(dst, gate, up)
		return
	}
	swiGLUNEON(&dst[0], &gate[0], &up[0], len(dst))
}

func gelu(x []float32) {
	if active == generic {
		geluGeneric(x)
		return
	}
	geluNEON(&x[0], len(x))
}

func geluTanh(x []float32) {
	if active == generic {
		geluTanhGeneric(x)
		return
	}
	geluTanhNEON(&x[0], len(x))
}

func rope(x, y, cos, sin []float32) {
	if active == generic {
		ropeGeneric(x, y, cos, sin)
		return
	}
	ropeNEON(&x[0], &y[0], &cos[0], &sin[0], len(x))
}

// dotNEON is one row of dotRowsGeneric:
//
//	Σ_j q[j]*x[j], j in 0 to n, in 32 partial sums
//
//go:noescape
func dotNEON(q, x *float32, n int) float32

// axpyNEON is one row of axpyRowsGeneric:
//
//	for j := range n {
//		y[j] = fma(w, x[j], y[j])
//	}
//
//go:noescape
func axpyNEON(y *float32, w float32, x *float32, n int)

// addNEON is addGeneric.
//
//go:noescape
func addNEON(dst, x *float32, n int)

// scaleNEON is scaleGeneric.
//
//go:noescape
func scaleNEON(dst, x, weight *float32, s float32, n int)

// multiplyNEON is multiplyGeneric.
//
//go:noescape
func multiplyNEON(x *float32, s float32, n int)

// sumNEON is sumGeneric.
//
//go:noescape
func sumNEON(x *float32, n int) float32

// squaresNEON is squaresGeneric:
//
//	for i := range n {
//		d := x[i] - m
//		sum = fma(d, d, sum) // in 32 partial sums
//	}
//	return sum
//
//go:noescape
func squaresNEON(x *float32, m float32, n int) float32

// scaleShiftNEON is scaleShiftGeneric:
//
//	for i := range n {
//		dst[i] = fma((x[i]-m)*s, weight[i], bias[i])
//	}
//
//go:noescape
func scaleShiftNEON(dst, x, weight, bias *float32, m, s float32, n int)

// geluNEON is geluGeneric.
//
//go:noescape
func geluNEON(x *float32, n int)

// geluTanhNEON is geluTanhGeneric.
//
//go:noescape
func geluTanhNEON(x *float32, n int)

// maximumNEON is maximumGeneric.
//
//go:noescape
func maximumNEON(x *float32, n int) float32

// expSumNEON is expSumGeneric.
//
//go:noescape
func expSumNEON(x *float32, m float32, n int) float32

// swiGLUNEON is swiGLUGeneric.
//
//go:noescape
func swiGLUNEON(dst, gate, up *float32, n int)

// ropeNEON is ropeGeneric:
//
//	for i := range n {
//		x[i], y[i] = x[i]*cos[i]-y[i]*sin[i], y[i]*cos[i]+x[i]*sin[i]
//	}
//
//go:noescape
func ropeNEON(x, y, cos, sin *float32, n int)
