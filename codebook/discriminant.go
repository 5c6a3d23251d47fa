package codebook

import (
	"context"
	"math"
	"slices"
	"sync"

	"gonum.org/v1/gonum/floats"
)

// discriminantValues is how many standardised values a discriminant is fitted on
// at most (128 MiB), discriminantRidge its L2 penalty: on standardised readings,
// with classes of weight 1/2.
const (
	discriminantValues = 1 << 25
	discriminantSpans  = 4 // of a clean document
	discriminantRidge  = 0.01
)

// discriminant returns the direction of L2-regularised logistic regression
// between clean spans and the chosen spans of attack documents, scaled so that
// clean readings have unit variance along it. Means and covariances see the bulk
// of both classes; this direction is set by the readings between them, which are
// what false alarms are made of (ADR-0016). The singular vectors of the sources'
// differences stand beside it.
func (f *fitter) discriminant(clean, attack []int, chosen [][]int) ([]float64, error) {
	type row struct {
		doc, span int
		weight    float64
	}
	var rows []row
	add := func(docs []int, spans func(i int) []int) {
		count := 0
		for i := range docs {
			count += len(spans(i))
		}
		// Too many rows: whole documents evenly, so that every source keeps its share.
		step := max(1, float64(count)/float64(max(1, discriminantValues/2/f.width)))
		from, total := len(rows), 0.0
		for at := 0.0; int(at) < len(docs); at += step {
			i := int(at)
			s := spans(i)
			for _, span := range s {
				w := f.docs[docs[i]].weight / float64(len(s))
				rows = append(rows, row{docs[i], span, w})
				total += w
			}
		}
		for i := range rows[from:] {
			rows[from+i].weight /= 2 * total
		}
	}
	add(clean, func(i int) []int { return evenly(f.docs[clean[i]].rec.Spans, discriminantSpans) })
	n := len(rows) // clean ones
	add(attack, func(i int) []int { return chosen[i] })

	z := make([]float32, len(rows)*f.width)
	err := f.each(len(rows), func(i int, x, _ []float32) {
		x = x[:f.width]
		for j, h := range f.docs[rows[i].doc].rec.readings[rows[i].span*f.width:][:f.width] {
			x[j] = f.half[h]
		}
		standardise(z[i*f.width:(i+1)*f.width], x, f.center, f.inverse)
	})
	if err != nil {
		return nil, err
	}

	// Loss and gradient by blocks of rows, added in order: the sum does not depend
	// on the threads.
	const block = 512
	blocks := (len(rows) + block - 1) / block
	grads := make([][]float32, blocks)
	sums := make([][2]float64, blocks) // loss, gradient of the bias
	for b := range grads {
		grads[b] = make([]float32, f.width)
	}
	theta32 := make([]float32, f.width)
	theta, err := minimise(f.ctx, make([]float64, f.width+1), func(theta, grad []float64) (loss float64) {
		for j := range theta32 {
			theta32[j] = float32(theta[j])
		}
		bias := theta[f.width]
		var wg sync.WaitGroup
		next := make(chan int)
		for range f.threads {
			wg.Go(func() {
				for b := range next {
					g := grads[b]
					clear(g)
					var l, gb float64
					for i := b * block; i < min(len(rows), (b+1)*block); i++ {
						x := z[i*f.width : (i+1)*f.width]
						s := bias + float64(dot32(x, theta32))
						w := rows[i].weight
						d := w / (1 + math.Exp(-s))
						if i >= n {
							s = -s
							d -= w
						}
						l += w * softplus(s)
						gb += d
						axpy32(float32(d), x, g)
					}
					sums[b] = [2]float64{l, gb}
				}
			})
		}
		for b := range blocks {
			next <- b
		}
		close(next)
		wg.Wait()
		for j, v := range theta[:f.width] {
			grad[j] = discriminantRidge * v
			loss += discriminantRidge / 2 * v * v
		}
		grad[f.width] = 0
		for b, g := range grads {
			for j, v := range g {
				grad[j] += float64(v)
			}
			loss += sums[b][0]
			grad[f.width] += sums[b][1]
		}
		return loss
	})
	if err != nil {
		return nil, err
	}
	d := theta[:f.width]

	for j := range theta32 {
		theta32[j] = float32(d[j])
	}
	var mean, square float64
	for i := range n {
		v := float64(dot32(z[i*f.width:(i+1)*f.width], theta32))
		mean += 2 * rows[i].weight * v
		square += 2 * rows[i].weight * v * v
	}
	if sd := math.Sqrt(max(0, square-mean*mean)); sd > 0 {
		floats.Scale(1/sd, d)
	}
	return d, nil
}

// minimise finds the minimum of a smooth convex function by L-BFGS with a
// backtracking line search (Nocedal and Wright 2006, Numerical Optimization,
// algorithms 3.1 and 7.4), from x, which it changes and returns. f fills in the
// gradient. It stops when no component of the gradient exceeds 1e-4, after 60 steps,
// or when rounding leaves no step downhill: a direction that is good enough.
func minimise(ctx context.Context, x []float64, f func(x, grad []float64) float64) ([]float64, error) {
	const steps, memory = 60, 10
	type pair struct {
		s, y []float64
		rho  float64
	}
	var pairs []pair
	g, next, nextG := make([]float64, len(x)), make([]float64, len(x)), make([]float64, len(x))
	loss := f(x, g)
	for range steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if floats.Norm(g, math.Inf(1)) < 1e-4 {
			break
		}
		d := slices.Clone(g)
		alpha := make([]float64, len(pairs))
		for i, p := range slices.Backward(pairs) {
			alpha[i] = p.rho * floats.Dot(p.s, d)
			floats.AddScaled(d, -alpha[i], p.y)
		}
		scale := 1 / floats.Norm(g, 2) // the first step has length 1
		if n := len(pairs); n > 0 {
			scale = 1 / (pairs[n-1].rho * floats.Dot(pairs[n-1].y, pairs[n-1].y))
		}
		floats.Scale(scale, d)
		for i, p := range pairs {
			floats.AddScaled(d, alpha[i]-p.rho*floats.Dot(p.y, d), p.s)
		}
		slope := floats.Dot(g, d)
		t, found := 1.0, false
		for ; t > 1e-12; t /= 2 {
			floats.AddScaledTo(next, x, -t, d)
			if l := f(next, nextG); l <= loss-1e-4*t*slope {
				loss, found = l, true
				break
			}
		}
		if !found {
			break
		}
		p := pair{s: make([]float64, len(x)), y: make([]float64, len(x))}
		floats.SubTo(p.s, next, x)
		floats.SubTo(p.y, nextG, g)
		if sy := floats.Dot(p.s, p.y); sy > 1e-12 {
			p.rho = 1 / sy
			if pairs = append(pairs, p); len(pairs) > memory {
				pairs = pairs[1:]
			}
		}
		x, next, g, nextG = next, x, nextG, g
	}
	return x, nil
}

// evenly returns at most k of n spans, evenly spaced.
func evenly(n, k int) []int {
	out := make([]int, min(n, k))
	for i := range out {
		out[i] = (2*i + 1) * n / (2 * len(out))
	}
	return out
}

func dot32(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+3 < len(a); i += 4 {
		s0 += float32(a[i] * b[i])
		s1 += float32(a[i+1] * b[i+1])
		s2 += float32(a[i+2] * b[i+2])
		s3 += float32(a[i+3] * b[i+3])
	}
	for ; i < len(a); i++ {
		s0 += float32(a[i] * b[i])
	}
	return s0 + s1 + s2 + s3
}

func axpy32(t float32, x, y []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += float32(t * v)
	}
}
