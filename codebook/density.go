package codebook

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/interp"
)

// A density is a coordinate's pair of distributions, sampled on an even grid:
// point i is at lo + i·step, values between points are linear.
type density struct {
	lo, step float32
	benign   []float32 // log-density of clean readings
	attack   []float32 // log-density of attack readings; nil for novelty
	tail     []float32 // logit of the clean distribution function; never falls
	ratio    []float32 // attack - benign: made, not stored
}

const (
	gridPoints = 256
	// maxRatio bounds the log-likelihood ratio of one coordinate, in nats, when it is
	// fitted: the densities of a few thousand correlated spans support no more than
	// e⁶:1. The discriminant alone may go further, since what ranks the rarest texts
	// is how far out on it they are (ADR-0016).
	maxRatio        = 6
	maxDiscriminant = 12
	// maxDensity bounds a log-density or logit on file.
	maxDensity = 1e4
)

// place returns the grid cell of x and the fraction of the way through it.
// Beyond the grid the ends count: nothing is extrapolated. NaN is the low end.
func (d *density) place(x float32) (int, float32) {
	u := (x - d.lo) / d.step
	last := len(d.benign) - 1
	if !(u > 0) {
		return 0, 0
	}
	if u >= float32(last) {
		return last - 1, 1
	}
	i := int(u)
	return i, u - float32(i)
}

// llr returns the log-likelihood ratio of a coordinate.
func (d *density) llr(x float32) float32 {
	i, t := d.place(x)
	return d.ratio[i] + t*(d.ratio[i+1]-d.ratio[i])
}

// upper returns the probability that a clean reading's coordinate is at least x.
func (d *density) upper(x float32) float64 {
	i, t := d.place(x)
	return 1 / (1 + math.Exp(float64(d.tail[i]+t*(d.tail[i+1]-d.tail[i]))))
}

// surprise returns -ln upper(x), in nats.
func (d *density) surprise(x float32) float32 {
	i, t := d.place(x)
	return float32(softplus(float64(d.tail[i] + t*(d.tail[i+1]-d.tail[i]))))
}

// softplus returns ln(1 + eˣ).
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func (d *density) makeRatio() {
	d.ratio = make([]float32, len(d.benign))
	for i := range d.attack {
		d.ratio[i] = max(-maxDiscriminant, min(maxDiscriminant, d.attack[i]-d.benign[i]))
	}
}

func (d *density) check() error {
	end := float64(d.lo) + float64(d.step)*float64(len(d.benign))
	if !finite(float64(d.lo)) || !finite(float64(d.step)) || !finite(end) {
		return fmt.Errorf("%w: grid", ErrNotFinite)
	}
	if !(d.step > 0) || math.Abs(float64(d.lo)) > 1e9 || math.Abs(end) > 1e9 {
		return fmt.Errorf("%w: grid from %v by %v", ErrBound, d.lo, d.step)
	}
	for _, v := range [][]float32{d.benign, d.attack, d.tail} {
		for i, x := range v {
			if !finite(float64(x)) {
				return fmt.Errorf("%w: grid point %d", ErrNotFinite, i)
			}
			if x < -maxDensity || x > maxDensity {
				return fmt.Errorf("%w: grid point %d", ErrBound, i)
			}
		}
	}
	for i := 1; i < len(d.tail); i++ {
		if d.tail[i] < d.tail[i-1] {
			return fmt.Errorf("%w: distribution function at grid point %d", ErrMonotone, i)
		}
	}
	return nil
}

// fitDensity makes the densities of a coordinate from its values over clean and
// attack readings. attack may be empty. The attack density of a discriminant is
// stored as the clean one times a ratio that never falls, up to either side from
// the clean median: along it more is more.
func fitDensity(benign, attack []weighted, discriminant bool) density {
	b := fitDistribution(benign)
	lo, hi := b.x[0], b.x[len(b.x)-1]
	var a distribution
	if len(attack) > 0 {
		a = fitDistribution(attack)
		lo, hi = min(lo, a.x[0]), max(hi, a.x[len(a.x)-1])
	}
	first, last := lo, hi
	margin := (hi - lo) / 4
	lo, hi = lo-margin, hi+margin
	d := density{lo: float32(lo), step: float32((hi - lo) / (gridPoints - 1))}
	for i := range gridPoints {
		x := float64(d.lo) + float64(i)*float64(d.step)
		logit, log := b.at(x)
		d.benign = append(d.benign, float32(log))
		d.tail = append(d.tail, float32(logit))
		if len(attack) > 0 {
			_, log = a.at(x)
			d.attack = append(d.attack, float32(log))
		}
	}
	// Beyond the knots of both there are no observations, only two straight tails
	// whose difference would decide. There the ratio stays as it was at the last
	// knot: the attack density is stored as the clean one times that.
	for i := range d.attack {
		x := float64(d.lo) + float64(i)*float64(d.step)
		if end := max(first, min(last, x)); end != x {
			_, ab := a.at(end)
			_, bb := b.at(end)
			d.attack[i] = d.benign[i] + float32(ab-bb)
		}
	}
	if discriminant {
		d.bound(maxDiscriminant, true)
	} else {
		d.bound(maxRatio, false)
	}
	for i := 1; i < gridPoints; i++ { // float32 rounding must not make it fall
		d.tail[i] = max(d.tail[i], d.tail[i-1])
	}
	d.makeRatio()
	return d
}

// bound brings attack so near to benign that the ratio of the two, as float32s, is
// within ±limit; rising makes the ratio never fall.
func (d *density) bound(limit float32, rising bool) {
	if len(d.attack) == 0 {
		return
	}
	r := make([]float32, len(d.attack))
	for i := range r {
		r[i] = max(-limit, min(limit, d.attack[i]-d.benign[i]))
	}
	if rising {
		median, _ := slices.BinarySearch(d.tail, 0)
		median = min(median, len(r)-1)
		for i := median + 1; i < len(r); i++ {
			r[i] = max(r[i], r[i-1])
		}
		for i := median - 1; i >= 0; i-- {
			r[i] = min(r[i], r[i+1])
		}
	}
	for i := range r {
		d.attack[i] = d.benign[i] + r[i]
		for x := d.attack[i] - d.benign[i]; x > limit || x < -limit; x = d.attack[i] - d.benign[i] { // the sum was rounded outwards
			d.attack[i] = math.Nextafter32(d.attack[i], d.benign[i])
		}
	}
}

type weighted struct{ x, w float64 }

// A distribution is F(x) = 1/(1+exp(-g(x))), g a monotone cubic through quantile
// knots, linear beyond them. So F is a distribution function, its density
// F·(1-F)·g′ has tails that are linear in log space, and they fall outward.
type distribution struct {
	x     []float64 // knots, strictly rising
	g     interp.PiecewiseCubic
	ends  [2]float64 // g at the first and last knot
	slope [2]float64 // g′ there, > 0
	floor float64    // of g′: in a gap between clusters the density is low, not zero
}

func fitDistribution(v []weighted) distribution {
	v = slices.Clone(v)
	slices.SortFunc(v, func(a, b weighted) int {
		switch {
		case a.x < b.x:
			return -1
		case a.x > b.x:
			return 1
		}
		return 0
	})
	var sum, squares, mean float64
	for _, p := range v {
		sum += p.w
		squares += p.w * p.w
		mean += p.w * p.x
	}
	mean /= sum
	var variance float64
	for _, p := range v {
		variance += p.w * (p.x - mean) * (p.x - mean)
	}
	sd := math.Sqrt(variance / sum)
	// Knots are even in logit, no further out than 10 effective observations and
	// with about 30 between neighbours, so that a slope is more than noise.
	n := sum * sum / squares
	end := logit(1 - max(0.002, min(0.25, 10/n)))
	knots := int(max(3, min(13, n/30)))
	minGap := max(1e-3*sd, 1e-9*(1+math.Abs(mean)))
	var xs, gs []float64
	i, below := 0, 0.0
	for k := range knots {
		g := -end + 2*end*float64(k)/float64(knots-1)
		want := sum / (1 + math.Exp(-g))
		for i < len(v)-1 && below+v[i].w/2 < want {
			below += v[i].w
			i++
		}
		if m := len(xs); m > 0 && v[i].x < xs[m-1]+minGap {
			gs[m-1] = (gs[m-1] + g) / 2 // an atom: one knot for all its levels
			continue
		}
		xs, gs = append(xs, v[i].x), append(gs, g)
	}
	if len(xs) < 2 || gs[len(gs)-1] <= gs[0] { // one value only: a narrow logistic there
		w := max(sd, 1e-6*(1+math.Abs(mean)))
		xs, gs = []float64{xs[0] - w, xs[0] + w}, []float64{-2, 2}
	}
	m := len(xs)
	secant := func(i int) float64 { return (gs[i+1] - gs[i]) / (xs[i+1] - xs[i]) }
	// Derivatives after Fritsch and Butland, A method for constructing local
	// monotone piecewise cubic interpolants (1984), equation 5; at the ends the
	// secants, so that density and tail join without a step.
	slopes := make([]float64, m)
	slopes[0], slopes[m-1] = secant(0), secant(m-2)
	for i := 1; i < m-1; i++ {
		h0, h1 := xs[i]-xs[i-1], xs[i+1]-xs[i]
		slopes[i] = 3 * (h0 + h1) / ((2*h1+h0)/secant(i-1) + (h1+2*h0)/secant(i))
	}
	d := distribution{x: xs, ends: [2]float64{gs[0], gs[m-1]}, slope: [2]float64{slopes[0], slopes[m-1]}}
	d.g.FitWithDerivatives(xs, gs, slopes)
	d.floor = 0.02 * (gs[m-1] - gs[0]) / (xs[m-1] - xs[0])
	return d
}

// at returns logit F(x) and ln f(x).
func (d *distribution) at(x float64) (logit, log float64) {
	m := len(d.x) - 1
	var slope float64
	switch {
	case x < d.x[0]:
		logit, slope = d.ends[0]+(x-d.x[0])*d.slope[0], d.slope[0]
	case x > d.x[m]:
		logit, slope = d.ends[1]+(x-d.x[m])*d.slope[1], d.slope[1]
	default:
		logit, slope = d.g.Predict(x), max(d.g.PredictDerivative(x), d.floor)
	}
	// Bounded as on file: 10⁴ nats out, nothing is told apart any more.
	logit = max(-maxDensity/2, min(maxDensity/2, logit))
	return logit, -softplus(logit) - softplus(-logit) + math.Log(slope)
}

func logit(p float64) float64 { return math.Log(p / (1 - p)) }
