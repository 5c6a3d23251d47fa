package kernel

import "math"

// The vector operations below are dispatched by the functions of the same name
// in lower case. Their reductions run in 32 partial sums, element i going to sum
// i mod 32, which are then added in halves (16, 8, 4, 2, 1): the order is part of
// the definition, and AVX2 and AVX-512 keep it.

// Dot returns Σ a[i]*b[i]. The lengths must be equal.
func Dot(a, b []float32) float32 {
	checkEqual(len(a), len(b))
	if len(a) == 0 {
		return 0
	}
	var s [1]float32
	dotRows(s[:], a, b, len(a))
	return s[0]
}

// DotRows sets dst[i] = Σ_j q[j]*x[i*stride+j] for each i, the dots of one vector
// with len(dst) rows. For several vectors at once a [Matrix] is faster.
func DotRows(dst, q, x []float32, stride int) {
	if len(dst) == 0 {
		return
	}
	checkMatrix(x, stride, len(dst), len(q))
	if len(q) == 0 {
		clear(dst)
		return
	}
	dotRows(dst, q, x, stride)
}

// Axpy adds a*x to y: y[i] += a*x[i]. The lengths must be equal.
func Axpy(y []float32, a float32, x []float32) {
	checkEqual(len(y), len(x))
	if len(y) == 0 {
		return
	}
	w := [1]float32{a}
	axpyRows(y, w[:], x, len(x))
}

// AxpyRows adds a weighted sum of len(w) rows to y: y[j] += Σ_i w[i]*x[i*stride+j],
// in the order of i. For several sums at once a [Matrix] is faster.
func AxpyRows(y, w, x []float32, stride int) {
	if len(y) == 0 || len(w) == 0 {
		return
	}
	checkMatrix(x, stride, len(w), len(y))
	axpyRows(y, w, x, stride)
}

// Add adds x to dst: dst[i] += x[i]. The lengths must be equal.
func Add(dst, x []float32) {
	checkEqual(len(dst), len(x))
	if len(dst) > 0 {
		add(dst, x)
	}
}

// RMSNorm scales one row to unit root mean square, and then by weight (Zhang and
// Sennrich 2019, arXiv:1910.07467, equation 4, with the eps that Llama adds):
//
//	dst[i] = x[i] / √(Σ x[j]²/n + eps) * weight[i]
//
// The lengths must be equal; dst may be x. The squares are summed in float32: 10¹⁹
// is the largest value that does not overflow.
func RMSNorm(dst, x, weight []float32, eps float32) {
	checkEqual(len(dst), len(x))
	checkEqual(len(weight), len(x))
	if len(x) == 0 {
		return
	}
	mean := float64(Dot(x, x)) / float64(len(x))
	scale(dst, x, weight, float32(1/math.Sqrt(mean+float64(eps))))
}

// LayerNorm brings one row to zero mean and unit variance, and then scales and
// shifts it (Ba et al. 2016, arXiv:1607.06450, section 3.1):
//
//	dst[i] = (x[i] - μ) / √(Σ (x[j]-μ)²/n + eps) * weight[i] + bias[i], where μ = Σ x[j]/n
//
// The lengths must be equal; dst may be x. The variance is taken about the mean in a
// second pass, in float32, so that a large mean does no harm.
func LayerNorm(dst, x, weight, bias []float32, eps float32) {
	checkEqual(len(dst), len(x))
	checkEqual(len(weight), len(x))
	checkEqual(len(bias), len(x))
	if len(x) == 0 {
		return
	}
	n := float64(len(x))
	mean := float32(float64(sum(x)) / n)
	variance := float64(squares(x, mean)) / n
	scaleShift(dst, x, weight, bias, mean, float32(1/math.Sqrt(variance+float64(eps))))
}

// SwiGLU computes the gated activation of a Llama block (Shazeer 2020,
// arXiv:2002.05202, section 2, with β = 1):
//
//	dst[i] = gate[i] / (1 + exp(-gate[i])) * up[i]
//
// The lengths must be equal; dst may be gate or up.
func SwiGLU(dst, gate, up []float32) {
	checkEqual(len(dst), len(gate))
	checkEqual(len(up), len(gate))
	if len(dst) > 0 {
		swiGLU(dst, gate, up)
	}
}

// GELU replaces x by x[i]·Φ(x[i]), where Φ is the normal distribution (Hendrycks and
// Gimpel 2016, arXiv:1606.08415, section 2). Φ is e^(-x²/2) times a polynomial in
// 1/(1+|x|·11/32), on the side where it is small, and one less that on the other;
// the relative error of the result is under 1e-6 for x > -4 and grows with x² below
// (TestGELUError); at -13, where Φ is 6e-39, and below it is zero.
func GELU(x []float32) {
	if len(x) > 0 {
		gelu(x)
	}
}

// GELUTanh replaces x by the approximation of [GELU] that GPT-2 and Gemma were trained
// with (the same paper, section 2):
//
//	½·x[i]·(1 + tanh(√(2/π)·(x[i] + 0.044715·x[i]³)))
//
// A half of one plus tanh is the logistic function of twice the argument.
func GELUTanh(x []float32) {
	if len(x) > 0 {
		geluTanh(x)
	}
}

// Multiply multiplies dst by x, element by element: dst[i] *= x[i]. The lengths must
// be equal.
func Multiply(dst, x []float32) {
	checkEqual(len(dst), len(x))
	if len(dst) > 0 {
		scale(dst, dst, x, 1)
	}
}

// Rope rotates one head in place (Su et al. 2021, arXiv:2104.09864, section 3.4.2,
// in the pairing of Hugging Face: value i goes with value i+h, h = len(x)/2):
//
//	x[i], x[i+h] = x[i]*cos[i] - x[i+h]*sin[i], x[i+h]*cos[i] + x[i]*sin[i]
//
// cos and sin have h values, those of one position.
func Rope(x, cos, sin []float32) {
	checkEqual(len(x), 2*len(cos))
	checkEqual(len(sin), len(cos))
	if len(cos) > 0 {
		rope(x[:len(cos)], x[len(cos):], cos, sin)
	}
}

func checkEqual(a, b int) {
	if a != b {
		panic("kernel: slice lengths do not match")
	}
}

// fold adds 32 partial sums in halves.
func fold(s *[32]float32) float32 {
	for h := 16; h > 0; h /= 2 {
		for i := range h {
			s[i] += s[i+h]
		}
	}
	return s[0]
}

func dotRowsGeneric(dst, q, x []float32, stride int) {
	for i := range dst {
		row := x[i*stride:][:len(q)]
		var s [32]float32
		for j, v := range row {
			s[j%32] += q[j] * v
		}
		dst[i] = fold(&s)
	}
}

func axpyRowsGeneric(y, w, x []float32, stride int) {
	for i, v := range w {
		row := x[i*stride:][:len(y)]
		for j := range y {
			y[j] += v * row[j]
		}
	}
}

func addGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] += v
	}
}

// scaleGeneric sets dst = x*s*weight.
func scaleGeneric(dst, x, weight []float32, s float32) {
	for i, v := range x {
		dst[i] = v * s * weight[i]
	}
}

// sumGeneric returns Σ x[i].
func sumGeneric(x []float32) float32 {
	var s [32]float32
	for i, v := range x {
		s[i%32] += v
	}
	return fold(&s)
}

// squaresGeneric returns Σ (x[i]-m)².
func squaresGeneric(x []float32, m float32) float32 {
	var s [32]float32
	for i, v := range x {
		d := v - m
		s[i%32] += d * d
	}
	return fold(&s)
}

// scaleShiftGeneric sets dst = (x-m)*s*weight + bias.
func scaleShiftGeneric(dst, x, weight, bias []float32, m, s float32) {
	for i, v := range x {
		dst[i] = (v-m)*s*weight[i] + bias[i]
	}
}

// maximumGeneric returns the largest of x, and anything if one of them is NaN.
func maximumGeneric(x []float32) float32 {
	m := x[0]
	for _, v := range x[1:] {
		if v > m {
			m = v
		}
	}
	return m
}

// expSumGeneric sets x[i] = exp(x[i]-m), for x[i] <= m, and returns the sum. The
// exponential is a polynomial with a relative error under 1e-7 (TestExpError); what is
// less than e⁻⁸⁷ becomes zero.
func expSumGeneric(x []float32, m float32) float32 {
	var s [32]float32
	for i, v := range x {
		v -= m
		e := exp(v)
		if v < expLow {
			e = 0
		}
		x[i] = e
		s[i%32] += e
	}
	return fold(&s)
}

func multiplyGeneric(x []float32, s float32) {
	for i := range x {
		x[i] *= s
	}
}

func swiGLUGeneric(dst, gate, up []float32) {
	for i, g := range gate {
		e := exp(max(expLow, min(expHigh, -g)))
		dst[i] = g / (1 + e) * up[i]
	}
}

func geluGeneric(x []float32) {
	for i, v := range x {
		a := min(geluFar, math.Float32frombits(math.Float32bits(v)&^(1<<31)))
		t := 1 / (1 + a*geluT)
		p := float32(gelu9)
		p = p*t + gelu8
		p = p*t + gelu7
		p = p*t + gelu6
		p = p*t + gelu5
		p = p*t + gelu4
		p = p*t + gelu3
		p = p*t + gelu2
		p = p*t + gelu1
		p *= t * exp(a*a*-0.5) // Φ(-a)
		if a == geluFar {
			p = 0
		}
		if v >= 0 {
			p = 1 - p
		}
		x[i] = v * p
	}
}

func geluTanhGeneric(x []float32) {
	for i, v := range x {
		e := exp(max(expLow, min(expHigh, -v*(v*v*tanhCube+tanhLinear))))
		x[i] = v / (1 + e)
	}
}

func ropeGeneric(x, y, cos, sin []float32) {
	for i, a := range x {
		b := y[i]
		x[i] = a*cos[i] - b*sin[i]
		y[i] = b*cos[i] + a*sin[i]
	}
}

// Constants of the exponential. The same stand in _asm/vector.go.
const (
	expLow   = -87.33654      // ln 2⁻¹²⁶: below, 2ⁿ is no normal float32
	expHigh  = 88.8           // above ln 2¹²⁸: 2ⁿ is +Inf there
	log2E    = 1.44269504     // 1/ln 2
	ln2High  = 0.693359375    // 355/512: exact in ten bits, so that n*ln2High is exact
	ln2Low   = -2.12194440e-4 // ln 2 - ln2High
	expMagic = 3<<22 + 127    // adding it rounds to integers; the low 8 bits are then n + 127

	// The polynomial of Cephes' expf (S. Moshier, 1989): (eʳ-1-r)/r² for |r| <= ln 2 / 2.
	exp0 = 1.9875691500e-4
	exp1 = 1.3981999507e-3
	exp2 = 8.3334519073e-3
	exp3 = 4.1665795894e-2
	exp4 = 1.6666665459e-1
	exp5 = 5.0000001201e-1
)

// Constants of the GELUs. The same stand in _asm/vector.go.
const (
	geluFar = 13        // e^(-geluFar²/2) is within the range of exp
	geluT   = 11. / 32. // minimises the error of the fit, among fractions over 32

	// Φ(-a)·e^(a²/2) = Σ geluN·tᴺ with t = 1/(1+a·geluT), fitted to the least relative
	// error over 0 <= a <= 13.3, which is 1.8e-8 (2026-11; python3 _asm/gelu.py).
	gelu1 = 0.1371183219653225
	gelu2 = 0.13756747750004927
	gelu3 = 0.1165445758038621
	gelu4 = 0.11348750836452068
	gelu5 = -0.04140565942987681
	gelu6 = 0.19417784830429236
	gelu7 = -0.27475181773114077
	gelu8 = 0.14541093819311401
	gelu9 = -0.028149197149528356

	tanhLinear = 1.5957691216057308   // 2·√(2/π)
	tanhCube   = 0.071354816272600244 // 0.044715·tanhLinear
)

// exp returns eˣ for expLow <= x <= expHigh, where 2ⁿ·eʳ = eˣ with n the integer
// next to x/ln 2. NaN gives NaN; other values of x give no useful result.
func exp(x float32) float32 {
	z := float32(x*log2E) + expMagic
	n := z - expMagic
	r := x - float32(n*ln2High)
	r -= float32(n * ln2Low)
	p := float32(exp0)
	p = p*r + exp1
	p = p*r + exp2
	p = p*r + exp3
	p = p*r + exp4
	p = p*r + exp5
	p = p*float32(r*r) + r
	p++
	return p * math.Float32frombits(math.Float32bits(z)<<23)
}
