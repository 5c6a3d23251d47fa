//go:build !amd64 || purego

package kernel

func dotRows(dst, q, x []float32, stride int) {
	dotRowsGeneric(dst, q, x, stride)
}

func axpyRows(y, w, x []float32, stride int) {
	axpyRowsGeneric(y, w, x, stride)
}

func add(dst, x []float32) {
	addGeneric(dst, x)
}

func scale(dst, x, weight []float32, s float32) {
	scaleGeneric(dst, x, weight, s)
}

func multiply(x []float32, s float32) {
	multiplyGeneric(x, s)
}

func sum(x []float32) float32 {
	return sumGeneric(x)
}

func squares(x []float32, m float32) float32 {
	return squaresGeneric(x, m)
}

func scaleShift(dst, x, weight, bias []float32, m, s float32) {
	scaleShiftGeneric(dst, x, weight, bias, m, s)
}

func maximum(x []float32) float32 {
	return maximumGeneric(x)
}

func expSum(x []float32, m float32) float32 {
	return expSumGeneric(x, m)
}

func swiGLU(dst, gate, up []float32) {
	swiGLUGeneric(dst, gate, up)
}

func gelu(x []float32) {
	geluGeneric(x)
}

func geluTanh(x []float32) {
	geluTanhGeneric(x)
}

func rope(x, y, cos, sin []float32) {
	ropeGeneric(x, y, cos, sin)
}
