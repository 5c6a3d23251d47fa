package codebook

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// logistic fits L2-regularised logistic regression with non-negative weights:
//
//	minimise Σᵢ wᵢ·ln(1 + exp(-yᵢ·(b + x̂ᵢ·β))) + ridge/2·|β|²   over β ≥ 0
//
// x is (n, k), y is true for attacks, w > 0 is scaled here so that each class
// weighs 1/2: the result is log-odds at even prior odds. Projected Newton
// (Bertsekas 1982, Projected Newton methods for optimization problems with
// simple constraints): k is a handful, so a step is a Cholesky solve of the
// coordinates that are not held at zero. Returns the weights and b, which is
// neither penalised nor bounded.
func logistic(x []float64, k int, y []bool, w []float64, ridge float64) (beta []float64, bias float64) {
	n := len(y)
	var total [2]float64
	for i, yi := range y {
		total[class(yi)] += w[i]
	}
	weight := make([]float64, n)
	for i, yi := range y {
		weight[i] = w[i] / total[class(yi)] / 2
	}
	dim := k + 1 // the last is the bias
	theta := make([]float64, dim)
	score := func(theta []float64, i int) float64 {
		s := theta[k]
		for j, v := range x[i*k : (i+1)*k] {
			s += theta[j] * v
		}
		return s
	}
	loss := func(theta []float64) float64 {
		var l float64
		for i, yi := range y {
			s := score(theta, i)
			if yi {
				s = -s
			}
			l += weight[i] * softplus(s)
		}
		for _, b := range theta[:k] {
			l += ridge / 2 * b * b
		}
		return l
	}
	current := loss(theta)
	grad, hess := make([]float64, dim), make([]float64, dim*dim)
	next := make([]float64, dim)
	for range 100 {
		clear(grad)
		clear(hess)
		for i, yi := range y {
			p := 1 / (1 + math.Exp(-score(theta, i)))
			g := weight[i] * p
			if yi {
				g -= weight[i]
			}
			h := weight[i] * p * (1 - p)
			row := x[i*k : (i+1)*k]
			for a, va := range row {
				grad[a] += g * va
				for b := 0; b <= a; b++ {
					hess[a*dim+b] += h * va * row[b]
				}
				hess[k*dim+a] += h * va
			}
			grad[k] += g
			hess[k*dim+k] += h
		}
		var free []int
		for j := range dim {
			if j < k {
				grad[j] += ridge * theta[j]
				hess[j*dim+j] += ridge
				if theta[j] == 0 && grad[j] > 0 {
					continue
				}
			}
			free = append(free, j)
		}
		sub := mat.NewSymDense(len(free), nil)
		rhs := mat.NewVecDense(len(free), nil)
		for a, ja := range free {
			rhs.SetVec(a, grad[ja])
			for b, jb := range free[:a+1] {
				sub.SetSym(a, b, hess[ja*dim+jb])
			}
			sub.SetSym(a, a, hess[ja*dim+ja]+1e-10)
		}
		var chol mat.Cholesky
		var step mat.VecDense
		if !chol.Factorize(sub) || chol.SolveVecTo(&step, rhs) != nil && step.Len() == 0 {
			break
		}
		improved := false
		for t := 1.0; t > 1e-6; t /= 2 {
			copy(next, theta)
			for a, j := range free {
				next[j] -= t * step.AtVec(a)
				if j < k {
					next[j] = max(0, next[j])
				}
			}
			if l := loss(next); l < current-1e-12 {
				improved = current-l > 1e-9
				current = l
				copy(theta, next)
				break
			}
		}
		if !improved {
			break
		}
	}
	return theta[:k], theta[k]
}

func class(attack bool) int {
	if attack {
		return 1
	}
	return 0
}
