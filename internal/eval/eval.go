// Package eval turns labelled scores into a report: how well a detector tells
// attacks from benign texts, at which false-alarm rate, in every source, kind,
// language and length, beside controls that only count words.
//
// [Evaluate] computes a [Report] as plain data; [Report.WriteText] and
// [Report.WriteHTML] show it. [TrainNaiveBayes] and [TrainTFIDF] train the
// controls.
//
// There is one threshold a false-alarm rate and detector, taken from the pooled
// benign texts; no table gets its own. Rows that are set [Scored.Apart] count
// in no main figure and set no threshold. The package takes scores, not texts:
// a report names rows by id and source and cannot quote them. It does not
// choose a detector and does not tune one.
package eval

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
)

// A Scored is one labelled text after scoring.
type Scored struct {
	ID      string
	Label   string // "attack" or "benign"; others are counted and left out
	Kind    string
	Source  string // data set
	Lang    string
	Channel string
	// Disguise names how the text was disguised, if it was. Such rows count in no
	// main figure: they have a table of their own.
	Disguise string
	// Apart keeps the row out of the main figures and the thresholds: harmful
	// requests, and benign texts that quote attacks.
	Apart  bool
	Score  float64 // log-odds: what ranks texts; NaN when the text could not be scored
	PValue float64 // NaN if there is none
	Tokens int     // length; 0 if unknown
}

const (
	attackLabel = "attack"
	benignLabel = "benign"
	hardKind    = "hard_negative"
)

// Options of [Evaluate]. The zero value is usable.
type Options struct {
	Name    string // the detector's name in tables; empty: "detector"
	Title   string // heading of the report; empty: "Detection"
	Command string // the command that made the report, shown in it; may be empty

	// Rates are the false-alarm rates that thresholds and the calibration check
	// are asked for, each in (0, 1); empty: 0.05, 0.01, 0.001.
	Rates []float64
	// Controls are other detectors' scores of the same rows, aligned with them.
	// A row that any of them could not score (NaN) is left out of all figures.
	Controls map[string][]float64
	// Bootstrap is the number of replicates behind an [Estimate]; 0: 1000;
	// negative: none, and estimates carry no interval.
	Bootstrap int
	Seed      uint64 // of the bootstrap; the same seed gives the same report
	// Lengths are the upper bounds, in tokens, exclusive, of the length strata
	// but the last; nil: 32, 128, 512, the strata of a codebook.
	Lengths []int
	Worst   int // rows in each list of errors; 0: 20; negative: none
}

// A Report is what [Evaluate] found. Slices over scorers are in the order of
// Scorers, the detector first; slices over rates in that of Rates.
type Report struct {
	Title   string   `json:"title"`
	Command string   `json:"command,omitempty"`
	Scorers []string `json:"scorers"`
	Rates   []Number `json:"rates"`
	Rows    Counts   `json:"rows"`

	// Thresholds by scorer and rate: a text alarms when it scores above. Null
	// where no text or every text may alarm.
	Thresholds [][]Number `json:"thresholds"`
	Pooled     Group      `json:"pooled"`
	// PooledTPR by scorer and rate: bootstrap intervals that, unlike the
	// Clopper–Pearson intervals of the groups, also count in that the threshold
	// itself was estimated.
	PooledTPR [][]Estimate `json:"pooled_tpr"`

	AttackSources []Group `json:"attack_sources"`
	BenignSources []Group `json:"benign_sources"`
	Kinds         []Group `json:"kinds"`
	Languages     []Group `json:"languages"`
	Lengths       []Group `json:"lengths"`
	Channels      []Group `json:"channels"`
	Disguises     []Group `json:"disguises,omitempty"`
	HardNegatives Group   `json:"hard_negatives"`
	Apart         []Group `json:"apart"` // by kind; against the benign rows of the main figures

	Calibration []Calibration      `json:"calibration"` // over all rows, by channel, by length
	Curve       []CalibrationPoint `json:"calibration_curve"`
	ROC         [][]Point          `json:"roc"`        // by scorer
	Histograms  []Histogram        `json:"histograms"` // by scorer
	WorstBenign []Worst            `json:"worst_benign"`
	WorstAttack []Worst            `json:"worst_attacks"`
}

// Counts says what went into a report, and what did not.
type Counts struct {
	Attack      int `json:"attack"`
	Benign      int `json:"benign"`
	ApartAttack int `json:"apart_attack"`
	ApartBenign int `json:"apart_benign"`
	Disguised   int `json:"disguised"`
	Unlabelled  int `json:"unlabelled"` // left out
	Unscored    int `json:"unscored"`   // left out: a score was NaN
}

// A Group is a subset of the rows.
type Group struct {
	Name    string    `json:"name"`
	Attack  int       `json:"attack"`
	Benign  int       `json:"benign"`
	Figures []Figures `json:"figures"` // by scorer
}

// Figures of one scorer in one group.
type Figures struct {
	AUC    Estimate `json:"auc"`    // the group's attacks against all benign rows
	Within Number   `json:"within"` // AUC of the group's attacks against its own benign rows
	TPR    []Rate   `json:"tpr"`    // attacks above the global thresholds
	FPR    []Rate   `json:"fpr"`    // benign rows above the global thresholds
}

// A Calibration compares an asked false-alarm rate with what happened: the
// share of benign rows whose p-value is at most the rate.
type Calibration struct {
	Group    string `json:"group"`
	Asked    Number `json:"asked"`
	Measured Rate   `json:"measured"`
	// Pass: the asked rate is within the interval of the measured one, or above it.
	Pass bool `json:"pass"`
}

// A CalibrationPoint is one point of the calibration curve, over all benign rows.
type CalibrationPoint struct {
	Asked    Number `json:"asked"`
	Measured Number `json:"measured"`
}

// A Histogram counts the finite scores of one scorer; the outer bins take what
// lies beyond.
type Histogram struct {
	Low    Number `json:"low"`   // lower edge of the first bin
	Width  Number `json:"width"` // of each bin
	Benign []int  `json:"benign"`
	Attack []int  `json:"attack"`
}

// A Worst is a row that the detector judged worst.
type Worst struct {
	ID      string `json:"id"`
	Source  string `json:"source"`
	Kind    string `json:"kind"`
	Lang    string `json:"lang"`
	Channel string `json:"channel"`
	Tokens  int    `json:"tokens"`
	Score   Number `json:"score"`
	PValue  Number `json:"p_value"`
}

// Evaluate computes the report. Time is O(n log n) and, for the bootstrap,
// replicates × n. A control that is not aligned with the rows, or a rate
// outside (0, 1), is the caller's bug and panics.
func Evaluate(scored []Scored, opt Options) Report {
	rates := opt.Rates
	if len(rates) == 0 {
		rates = []float64{0.05, 0.01, 0.001}
	}
	for _, r := range rates {
		if !(r > 0 && r < 1) {
			panic(fmt.Sprintf("eval: rate %v is not between 0 and 1", r))
		}
	}
	e := &evaluation{rates: rates, lengths: opt.Lengths}
	if e.lengths == nil {
		e.lengths = []int{32, 128, 512}
	}
	e.strata = strataNames(e.lengths)
	r := Report{
		Title:   cmp.Or(clean(opt.Title), "Detection"),
		Command: opt.Command,
		Scorers: []string{cmp.Or(clean(opt.Name), "detector")},
	}
	for _, x := range rates {
		r.Rates = append(r.Rates, Number(x))
	}
	controls := slices.Sorted(maps.Keys(opt.Controls))
	for _, name := range controls {
		if n := len(opt.Controls[name]); n != len(scored) {
			panic(fmt.Sprintf("eval: control %q has %d scores for %d rows", name, n, len(scored)))
		}
		r.Scorers = append(r.Scorers, clean(name))
	}

	// The rows that count, and their scores by scorer.
	e.scores = make([][]float64, len(r.Scorers))
	for i, row := range scored {
		attack := row.Label == attackLabel
		if !attack && row.Label != benignLabel {
			r.Rows.Unlabelled++
			continue
		}
		unscored := math.IsNaN(row.Score)
		for _, name := range controls {
			unscored = unscored || math.IsNaN(opt.Controls[name][i])
		}
		if unscored {
			r.Rows.Unscored++
			continue
		}
		switch {
		case row.Disguise != "":
			r.Rows.Disguised++
		case row.Apart && attack:
			r.Rows.ApartAttack++
		case row.Apart:
			r.Rows.ApartBenign++
		case attack:
			r.Rows.Attack++
		default:
			r.Rows.Benign++
		}
		e.rows = append(e.rows, row)
		e.scores[0] = append(e.scores[0], row.Score)
		for c, name := range controls {
			e.scores[1+c] = append(e.scores[1+c], opt.Controls[name][i])
		}
	}

	for s := range e.scores {
		_, benign := e.split(s, e.main())
		e.benign = append(e.benign, benign)
		var ts []float64
		var ns []Number
		for _, rate := range rates {
			t := threshold(benign, rate)
			ts = append(ts, t)
			ns = append(ns, Number(t))
		}
		e.thresholds = append(e.thresholds, ts)
		r.Thresholds = append(r.Thresholds, ns)
	}

	r.Pooled = e.group("all", e.main())
	isAttack := func(row *Scored) bool { return row.Label == attackLabel }
	isBenign := func(row *Scored) bool { return row.Label == benignLabel }
	source := func(row *Scored) string { return row.Source }
	kind := func(row *Scored) string { return row.Kind }
	r.AttackSources = e.by(source, isAttack)
	r.BenignSources = e.by(source, isBenign)
	r.Kinds = e.by(kind, nil)
	rare := e.rareLanguages()
	r.Languages = e.by(func(row *Scored) string {
		if rare[row.Lang] {
			return "others"
		}
		return row.Lang
	}, nil)
	if foreign := e.where(func(row *Scored) bool { return row.main() && !slices.Contains(english, row.Lang) }); len(foreign) > 0 {
		r.Languages = append(r.Languages, e.group("all but English", foreign))
	}
	r.Lengths = e.by(func(row *Scored) string { return e.strata[e.stratum(row)] }, nil)
	slices.SortFunc(r.Lengths, func(a, b Group) int {
		return slices.Index(e.strata, a.Name) - slices.Index(e.strata, b.Name)
	})
	r.Channels = e.by(func(row *Scored) string { return row.Channel }, nil)
	disguised := e.where(func(row *Scored) bool { return !row.Apart && row.Disguise != "" })
	if len(disguised) > 0 {
		r.Disguises = e.partition(func(row *Scored) string { return row.Disguise }, disguised)
	}
	r.HardNegatives = e.group("hard negatives", e.where(func(row *Scored) bool {
		return row.main() && isBenign(row) && row.Kind == hardKind
	}))
	apart := e.where(func(row *Scored) bool { return row.Apart && row.Disguise == "" })
	r.Apart = e.partition(kind, apart)

	e.bootstrap(&r, cmp.Or(opt.Bootstrap, 1000), opt.Seed)
	e.calibration(&r)
	for s := range e.scores {
		attack, benign := e.split(s, e.main())
		r.ROC = append(r.ROC, roc(attack, benign))
		r.Histograms = append(r.Histograms, histogram(attack, benign))
	}
	e.worst(&r, max(0, cmp.Or(opt.Worst, 20)))
	return r
}

// evaluation holds the rows that count while a report is made.
type evaluation struct {
	rates      []float64
	lengths    []int
	strata     []string
	rows       []Scored
	scores     [][]float64 // (scorer, row)
	benign     [][]float64 // (scorer, benign rows of the main figures), sorted
	thresholds [][]float64 // (scorer, rate)
	members    []membership
}

// A membership remembers a group whose AUC the bootstrap gives an interval to.
type membership struct {
	figures []Figures // shared with the report: by scorer
	attacks []int     // rows
}

// where returns the rows, by index, that keep holds for.
func (e *evaluation) where(keep func(*Scored) bool) []int {
	var rows []int
	for i := range e.rows {
		if keep(&e.rows[i]) {
			rows = append(rows, i)
		}
	}
	return rows
}

// main returns the rows of the main figures.
func (e *evaluation) main() []int { return e.where((*Scored).main) }

func (row *Scored) main() bool { return !row.Apart && row.Disguise == "" }

// split returns the sorted scores of some rows by label.
func (e *evaluation) split(scorer int, rows []int) (attack, benign []float64) {
	for _, i := range rows {
		if e.rows[i].Label == attackLabel {
			attack = append(attack, e.scores[scorer][i])
		} else {
			benign = append(benign, e.scores[scorer][i])
		}
	}
	slices.Sort(attack)
	slices.Sort(benign)
	return attack, benign
}

// by cuts the rows of the main figures that keep holds for into groups.
func (e *evaluation) by(name func(*Scored) string, keep func(*Scored) bool) []Group {
	return e.partition(name, e.where(func(row *Scored) bool { return row.main() && (keep == nil || keep(row)) }))
}

// rareLanguages returns the languages with fewer than ten rows where there are
// more than forty languages: a line of its own for each would hide the others
// and say nothing about them.
func (e *evaluation) rareLanguages() map[string]bool {
	count := map[string]int{}
	for i := range e.rows {
		if e.rows[i].main() {
			count[e.rows[i].Lang]++
		}
	}
	rare := map[string]bool{}
	for lang, n := range count {
		rare[lang] = len(count) > 40 && n < 10
	}
	return rare
}

// english are the languages of rows that count as English: code and logs are
// not written in another one, and what is unknown is not claimed.
var english = []string{"en", "code", "log", ""}

// noName is the group of the rows that do not say.
const noName = "(none)"

// partition cuts rows into groups, by name.
func (e *evaluation) partition(name func(*Scored) string, rows []int) []Group {
	parts := map[string][]int{}
	for _, i := range rows {
		n := cmp.Or(clean(name(&e.rows[i])), noName)
		parts[n] = append(parts[n], i)
	}
	groups := []Group{}
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		groups = append(groups, e.group(n, parts[n]))
	}
	return groups
}

// group computes the figures of some rows.
func (e *evaluation) group(name string, rows []int) Group {
	g := Group{Name: name}
	var attacks []int
	for _, i := range rows {
		if e.rows[i].Label == attackLabel {
			g.Attack++
			attacks = append(attacks, i)
		} else {
			g.Benign++
		}
	}
	nan := Number(math.NaN())
	for s := range e.scores {
		attack, benign := e.split(s, rows)
		f := Figures{
			AUC:    Estimate{Number(auc(attack, e.benign[s])), nan, nan},
			Within: Number(auc(attack, benign)),
		}
		for _, t := range e.thresholds[s] {
			f.TPR = append(f.TPR, newRate(above(attack, t), len(attack)))
			f.FPR = append(f.FPR, newRate(above(benign, t), len(benign)))
		}
		g.Figures = append(g.Figures, f)
	}
	if len(attacks) > 0 {
		e.members = append(e.members, membership{g.Figures, attacks})
	}
	return g
}

// strataNames names the length strata in order, the unknown length last.
func strataNames(bounds []int) []string {
	var names []string
	low := 1
	for _, high := range bounds {
		if high <= low {
			panic("eval: Lengths do not rise from above 1")
		}
		names = append(names, fmt.Sprintf("%d–%d tokens", low, high-1))
		low = high
	}
	return append(names, fmt.Sprintf("≥ %d tokens", low), "unknown length")
}

// stratum returns the place of a row in strataNames.
func (e *evaluation) stratum(row *Scored) int {
	if row.Tokens <= 0 {
		return len(e.lengths) + 1
	}
	i := 0
	for i < len(e.lengths) && row.Tokens >= e.lengths[i] {
		i++
	}
	return i
}

// bootstrap gives every AUC, and the pooled TPR, a 95 % percentile interval
// (Efron and Tibshirani 1993, section 13.3). Rows are drawn with replacement
// within each source and label, so that every replicate has the sources of the
// data in their sizes: the interval says how sure a figure is for these
// sources, not what a new source would give.
func (e *evaluation) bootstrap(r *Report, replicates int, seed uint64) {
	nan := Number(math.NaN())
	r.PooledTPR = make([][]Estimate, len(e.scores))
	for s := range e.scores {
		for k := range e.rates {
			r.PooledTPR[s] = append(r.PooledTPR[s], Estimate{r.Pooled.Figures[s].TPR[k].Value, nan, nan})
		}
	}
	if replicates <= 0 || r.Rows.Benign == 0 {
		return
	}

	type key struct {
		source, label string
		main          bool
	}
	strata := map[key][]int{}
	var order []key
	for i, row := range e.rows {
		if !row.main() && row.Label == benignLabel {
			continue // in no AUC
		}
		k := key{row.Source, row.Label, row.main()}
		if strata[k] == nil {
			order = append(order, k)
		}
		strata[k] = append(strata[k], i)
	}
	// Each scorer's rows from the highest score down: one pass over them with
	// the drawn weights gives every figure of a replicate.
	down := make([][]int, len(e.scores))
	for s := range e.scores {
		down[s] = make([]int, len(e.rows))
		for i := range down[s] {
			down[s][i] = i
		}
		slices.SortFunc(down[s], func(a, b int) int {
			return cmp.Or(cmp.Compare(e.scores[s][b], e.scores[s][a]), cmp.Compare(a, b))
		})
	}

	rng := rand.New(rand.NewPCG(seed, 0x616c6b6e6574)) // "alknet"
	weight := make([]float64, len(e.rows))
	won := make([]float64, len(e.rows)) // benign weight below an attack, ties half
	nb, na := r.Rows.Benign, r.Rows.Attack
	aucs := make([][][]float64, len(e.members)) // (group, scorer, replicate)
	for g := range aucs {
		aucs[g] = make([][]float64, len(e.scores))
	}
	tprs := make([][][]float64, len(e.scores)) // (scorer, rate, replicate)
	for s := range tprs {
		tprs[s] = make([][]float64, len(e.rates))
	}
	for range replicates {
		clear(weight)
		for _, k := range order {
			rows := strata[k]
			for range rows {
				weight[rows[rng.IntN(len(rows))]]++
			}
		}
		for s, order := range down {
			benignAbove, attackAbove := 0.0, 0.0
			rate := make([]bool, len(e.rates)) // threshold found
			for i := 0; i < len(order); {
				j := i
				benign, attack := 0.0, 0.0
				for j < len(order) && e.scores[s][order[j]] == e.scores[s][order[i]] {
					if row := &e.rows[order[j]]; row.Label == benignLabel {
						benign += weight[order[j]]
					} else if row.main() {
						attack += weight[order[j]]
					}
					j++
				}
				for k, x := range e.rates {
					if !rate[k] && benignAbove+benign > float64(allowed(nb, x)) {
						rate[k] = true
						tprs[s][k] = append(tprs[s][k], attackAbove/float64(na))
					}
				}
				for _, row := range order[i:j] {
					won[row] = float64(nb) - benignAbove - benign/2
				}
				benignAbove += benign
				attackAbove += attack
				i = j
			}
			for g, m := range e.members {
				sum, n := 0.0, 0.0
				for _, row := range m.attacks {
					sum += weight[row] * won[row]
					n += weight[row]
				}
				if n > 0 { // a group may be a part of a stratum and not be drawn
					aucs[g][s] = append(aucs[g][s], sum/n/float64(nb))
				}
			}
		}
	}
	for g, m := range e.members {
		for s := range e.scores {
			m.figures[s].AUC.Low, m.figures[s].AUC.High = percentiles(aucs[g][s])
		}
	}
	if na > 0 {
		for s := range e.scores {
			for k := range e.rates {
				r.PooledTPR[s][k].Low, r.PooledTPR[s][k].High = percentiles(tprs[s][k])
			}
		}
	}
}

// percentiles returns the 2.5 and 97.5 % quantiles of x, which it sorts.
func percentiles(x []float64) (low, high Number) {
	if len(x) == 0 {
		return Number(math.NaN()), Number(math.NaN())
	}
	slices.Sort(x)
	tail := (1 - level) / 2 * float64(len(x)-1)
	return Number(x[int(tail)]), Number(x[len(x)-1-int(tail)])
}

// calibration compares asked with measured false-alarm rates on the benign rows
// of the main figures that have a p-value.
func (e *evaluation) calibration(r *Report) {
	r.Calibration = []Calibration{}
	r.Curve = []CalibrationPoint{}
	type group struct {
		part int // all, channels, lengths
		rank int
		name string
	}
	all := group{0, 0, "all"}
	groups := map[group][]float64{} // p-values
	for i := range e.rows {
		row := &e.rows[i]
		if !row.main() || row.Label != benignLabel || math.IsNaN(row.PValue) {
			continue
		}
		stratum := e.stratum(row)
		for _, g := range []group{
			all,
			{1, 0, "channel " + cmp.Or(clean(row.Channel), noName)},
			{2, stratum, e.strata[stratum]},
		} {
			groups[g] = append(groups[g], row.PValue)
		}
	}
	inOrder := slices.SortedFunc(maps.Keys(groups), func(a, b group) int {
		return cmp.Or(a.part-b.part, a.rank-b.rank, strings.Compare(a.name, b.name))
	})
	atMost := func(sorted []float64, x float64) int { return len(sorted) - above(sorted, x) }
	for _, g := range inOrder {
		ps := groups[g]
		slices.Sort(ps)
		for _, asked := range e.rates {
			m := newRate(atMost(ps, asked), len(ps))
			r.Calibration = append(r.Calibration, Calibration{g.name, Number(asked), m, Number(asked) >= m.Low})
		}
	}
	if ps := groups[all]; len(ps) > 0 {
		for i := range 81 { // 10⁻⁴ to 1, twenty a decade
			asked := math.Pow(10, float64(i)/20-4)
			r.Curve = append(r.Curve, CalibrationPoint{Number(asked), Number(float64(atMost(ps, asked)) / float64(len(ps)))})
		}
	}
}

// histogramBins is what a picture of half a screen's width can show.
const histogramBins = 60

// histogram counts scores, sorted upwards, between the 0.1 and 99.9 %
// quantiles of both classes; the outer bins take what lies beyond.
func histogram(attack, benign []float64) Histogram {
	h := Histogram{Benign: make([]int, histogramBins), Attack: make([]int, histogramBins)}
	low, high := math.Inf(1), math.Inf(-1)
	for _, scores := range [][]float64{attack, benign} {
		finite := slices.DeleteFunc(slices.Clone(scores), func(x float64) bool { return math.IsInf(x, 0) })
		if n := len(finite); n > 0 {
			tail := n / 1000
			low, high = min(low, finite[tail]), max(high, finite[n-1-tail])
		}
	}
	const limit = 1e300 // so that high-low is finite
	low, high = min(max(low, -limit), limit), min(max(high, -limit), limit)
	if !(low < high) { // one value, or none
		if math.Abs(low) == limit {
			low = 0
		}
		high = low + max(1, math.Abs(low)/1e6)
	}
	width := high/histogramBins - low/histogramBins
	h.Low, h.Width = Number(low), Number(width)
	bin := func(x float64) int {
		b := (x - low) / width
		switch {
		case !(b > 0):
			return 0
		case b >= histogramBins:
			return histogramBins - 1
		}
		return int(b)
	}
	for _, x := range attack {
		h.Attack[bin(x)]++
	}
	for _, x := range benign {
		h.Benign[bin(x)]++
	}
	return h
}

// worst lists the benign rows that score highest and the attacks that score lowest.
func (e *evaluation) worst(r *Report, n int) {
	r.WorstBenign, r.WorstAttack = []Worst{}, []Worst{}
	rows := e.main()
	slices.SortStableFunc(rows, func(a, b int) int {
		return cmp.Or(cmp.Compare(e.rows[b].Score, e.rows[a].Score), cmp.Compare(e.rows[a].ID, e.rows[b].ID))
	})
	entry := func(row *Scored) Worst {
		return Worst{
			clean(row.ID), clean(row.Source), clean(row.Kind), clean(row.Lang), clean(row.Channel),
			row.Tokens, Number(row.Score), Number(row.PValue),
		}
	}
	for _, i := range rows {
		if row := &e.rows[i]; row.Label == benignLabel && len(r.WorstBenign) < n {
			r.WorstBenign = append(r.WorstBenign, entry(row))
		}
	}
	for _, i := range slices.Backward(rows) {
		if row := &e.rows[i]; row.Label == attackLabel && len(r.WorstAttack) < n {
			r.WorstAttack = append(r.WorstAttack, entry(row))
		}
	}
}

// maxName bounds names that come from the data, in characters: an id is a name
// and not a way to carry a text into the report.
const maxName = 80

// clean makes a name from the data fit for a table: one line, printable, bounded.
func clean(name string) string {
	var b strings.Builder
	n := 0
	for _, c := range name {
		if n++; n > maxName {
			b.WriteRune('…')
			break
		}
		if !unicode.IsPrint(c) {
			c = '·'
		}
		b.WriteRune(c)
	}
	return b.String()
}
