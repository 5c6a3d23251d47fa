package eval

import (
	"encoding/json"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// A Number is a float64 that is null in JSON where it is NaN or infinite.
type Number float64

// MarshalJSON writes null for what JSON has no number for.
func (n Number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads null as NaN.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(b, (*float64)(n))
}

// A Rate is K of N with its 95 % Clopper–Pearson interval. Value is NaN and
// the interval is 0 to 1 when N is 0.
type Rate struct {
	K     int    `json:"k"`
	N     int    `json:"n"`
	Value Number `json:"value"`
	Low   Number `json:"low"`
	High  Number `json:"high"`
}

// An Estimate is a value with the 2.5 and 97.5 % quantiles of its bootstrap
// replicates. All are NaN where there is nothing to estimate.
type Estimate struct {
	Value Number `json:"value"`
	Low   Number `json:"low"`
	High  Number `json:"high"`
}

// level of all intervals.
const level = 0.95

func newRate(k, n int) Rate {
	low, high := ClopperPearson(k, n, level)
	return Rate{K: k, N: n, Value: Number(float64(k) / float64(n)), Low: Number(low), High: Number(high)}
}

// ClopperPearson returns the exact two-sided confidence interval of a binomial
// proportion of which k of n were seen: the α/2 quantile of Beta(k, n−k+1) and
// the 1−α/2 quantile of Beta(k+1, n−k), α = 1−level (Clopper and Pearson 1934).
// No observations say nothing: 0, 1.
func ClopperPearson(k, n int, level float64) (low, high float64) {
	if k < 0 || k > n {
		panic("eval: k is not in 0..n")
	}
	if level <= 0 || level >= 1 {
		panic("eval: level is not between 0 and 1")
	}
	alpha := 1 - level
	low, high = 0, 1
	if k > 0 {
		low = mathext.InvRegIncBeta(float64(k), float64(n-k+1), alpha/2)
	}
	if k < n {
		high = mathext.InvRegIncBeta(float64(k+1), float64(n-k), 1-alpha/2)
	}
	return low, high
}

// auc is the probability that an attack scores above a benign text, a tie
// counting half: the Mann–Whitney statistic over midranks. Both slices are
// sorted upwards. NaN when one is empty.
func auc(attack, benign []float64) float64 {
	if len(attack) == 0 || len(benign) == 0 {
		return math.NaN()
	}
	sum := 0.0
	below, upTo := 0, 0 // benign scores < a, <= a
	for _, a := range attack {
		for below < len(benign) && benign[below] < a {
			below++
		}
		upTo = max(upTo, below)
		for upTo < len(benign) && benign[upTo] <= a {
			upTo++
		}
		sum += float64(below) + float64(upTo-below)/2
	}
	return sum / float64(len(attack)) / float64(len(benign))
}

// threshold returns the lowest t such that at most rate of the benign scores,
// sorted upwards, are above it. A text alarms when it scores above t, so that
// scores that tie at the limit do not alarm and the rate is never exceeded.
func threshold(benign []float64, rate float64) float64 {
	k := allowed(len(benign), rate)
	if k >= len(benign) {
		return math.Inf(-1) // also when there are none
	}
	return benign[len(benign)-1-k]
}

// allowed is floor(rate·n), forgiving the rounding of the product: 0.07 of 100 is 7.
func allowed(n int, rate float64) int { return int(math.Floor(rate*float64(n) + 1e-9)) }

// above counts the scores, sorted upwards, above t.
func above(sorted []float64, t float64) int {
	n, _ := slices.BinarySearchFunc(sorted, t, func(s, t float64) int {
		if s > t {
			return 1
		}
		return -1
	})
	return len(sorted) - n
}

// A Point of a ROC curve: the share of benign texts and of attacks above one threshold.
type Point struct {
	FPR Number `json:"fpr"`
	TPR Number `json:"tpr"`
}

// rocPoints bounds the points of a curve: far more than its picture can show.
const rocPoints = 2000

// roc returns the curve from (0,0) to (1,1), both slices sorted upwards. A
// point is left out when the picture, linear or logarithmic, would not change.
func roc(attack, benign []float64) []Point {
	if len(attack) == 0 || len(benign) == 0 {
		return nil
	}
	na, nb := float64(len(attack)), float64(len(benign))
	points := []Point{{0, 0}}
	i, j := len(attack), len(benign)
	const least = 2.0 / rocPoints
	for i > 0 || j > 0 {
		// Step past the highest score that is left, with all its ties.
		t := math.Inf(-1)
		if i > 0 {
			t = attack[i-1]
		}
		if j > 0 {
			t = max(t, benign[j-1])
		}
		for i > 0 && attack[i-1] >= t {
			i--
		}
		for j > 0 && benign[j-1] >= t {
			j--
		}
		p := Point{Number((nb - float64(j)) / nb), Number((na - float64(i)) / na)}
		last := points[len(points)-1]
		if p.TPR-last.TPR >= least || p.FPR-last.FPR >= least || float64(p.FPR) > 1.01*float64(last.FPR) || (i == 0 && j == 0) {
			points = append(points, p)
		}
	}
	return points
}
