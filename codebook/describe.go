package codebook

import "math"

// A Description is what an auditor wants to see of a codebook, as numbers.
type Description struct {
	Spec     Spec
	Origin   Origin
	Bytes    int // of the arrays that scoring reads
	MinCell  int
	Signals  []SignalDescription
	Extras   []ExtraDescription
	Novelty  CurveDescription
	Length   float64 // of novelty: nats taken off for each ln(spans)
	Cells    []Cell
	Examples []Exemplar
}

// A SignalDescription describes a signal that is read from the states.
type SignalDescription struct {
	Name     string
	Sources  int       // attack sources behind it
	Spectrum []float64 // singular values of the whitened differences between sources, descending
	Weights  []float64 // of the log-likelihood ratios of its coordinates
	Bias     float64   // log-odds = Bias + Slope·evidence - Length·ln(spans)
	Slope    float64
	Length   float64
	Curves   []CurveDescription // one per coordinate
}

// An ExtraDescription describes a reading that comes from elsewhere.
type ExtraDescription struct {
	Name  string
	Curve Curve
}

// A CurveDescription is a coordinate's pair of densities on its grid.
type CurveDescription struct {
	X      []float64
	Benign []float64 // density
	Attack []float64 // density; nil for novelty
	LLR    []float64 // nats; nil for novelty
	Upper  []float64 // share of clean readings at or above X
}

// A Cell is the calibration of one score on one channel and length stratum.
type Cell struct {
	Score   string
	Channel string // "" = all
	Stratum int    // see [StratumName]; -1 = all
	N       int
	// Scores and Rates: log-odds and the p-value there, from high rates to low.
	Scores, Rates []float64
}

// Describe returns what the codebook holds. It shares nothing with it.
func (c *Codebook) Describe() Description {
	d := Description{
		Spec: c.Spec(), Origin: c.origin, MinCell: c.minCell, Length: c.novelty.Length, Examples: append([]Exemplar(nil), c.samples...),
		Novelty: c.curves[c.coordinates()].describe(),
		Bytes:   4 * (len(c.basis) + len(c.center) + len(c.inverse) + len(c.curves)*3*len(c.curves[0].benign) + len(c.coords)),
	}
	for _, s := range c.signals {
		sd := SignalDescription{
			Name: s.name, Sources: s.sources, Spectrum: append([]float64(nil), s.spectrum...), Weights: append([]float64(nil), s.weights...),
			Bias: s.linear.Bias, Slope: s.linear.Slope, Length: s.linear.Length,
		}
		for k := range s.k {
			sd.Curves = append(sd.Curves, c.curves[s.first+k].describe())
		}
		d.Signals = append(d.Signals, sd)
	}
	for _, e := range c.extras {
		d.Extras = append(d.Extras, ExtraDescription{e.name, e.curve})
	}
	for _, t := range c.tables {
		cell := Cell{Score: c.scoreName(t.score), Channel: t.channel, Stratum: t.stratum, N: t.n}
		for _, s := range t.at {
			cell.Scores = append(cell.Scores, float64(s))
			cell.Rates = append(cell.Rates, t.p(s))
		}
		d.Bytes += 8 * len(t.at)
		d.Cells = append(d.Cells, cell)
	}
	return d
}

func (d *density) describe() CurveDescription {
	var v CurveDescription
	for i := range d.benign {
		v.X = append(v.X, float64(d.lo)+float64(i)*float64(d.step))
		v.Benign = append(v.Benign, math.Exp(float64(d.benign[i])))
		v.Upper = append(v.Upper, 1/(1+math.Exp(float64(d.tail[i]))))
		if d.attack != nil {
			v.Attack = append(v.Attack, math.Exp(float64(d.attack[i])))
			v.LLR = append(v.LLR, float64(d.ratio[i]))
		}
	}
	return v
}
