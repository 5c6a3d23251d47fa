package codebook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
)

// Progress is told the stage of a fit and how much of it is done.
type Progress func(stage string, done, total int)

// Fit makes the codebook of everything that was added. The Builder is not
// changed. progress may be nil; ctx is looked at between steps of seconds.
//
// Read [Builder] for what is sampled. The steps, each a function below:
//
//  1. centre and scale of every channel, and the covariance within sources, of
//     clean readings (channels, scatter, factor)
//  2. for each signal, the differences between each attack source and matched
//     clean readings, whitened; the few directions that carry most of them; before
//     them the discriminant; the attack documents' telling spans, and again (fitSignal)
//  3. of each direction, two densities (fitDensity)
//  4. all of that once for each fold without the fold's sources, to score them
//     as strangers (outOfFold)
//  5. from these scores: weights of the coordinates (compose), evidence to
//     log-odds of a document (document), false-alarm calibration (tabulate)
//  6. and once with all sources: the codebook
func (b *Builder) Fit(ctx context.Context, progress Progress) (*Codebook, error) {
	c, err := b.fit(ctx, progress)
	if err != nil {
		return nil, fmt.Errorf("codebook: fit: %w", err)
	}
	return c, nil
}

func (b *Builder) fit(ctx context.Context, progress Progress) (*Codebook, error) {
	if progress == nil {
		progress = func(string, int, int) {}
	}
	f := &fitter{b: b, opt: b.opt, spec: b.spec, width: b.spec.Width(), ctx: ctx, threads: cmp.Or(b.opt.Threads, runtime.GOMAXPROCS(0)), half: halfTable()}
	if err := f.collect(); err != nil {
		return nil, err
	}
	folds := f.opt.Folds
	steps := folds + 1
	progress("channels", 0, 1)
	f.channels()
	progress("covariance", 0, 1)
	if err := f.scatter(); err != nil {
		return nil, err
	}
	// Out-of-fold log-likelihood ratios of each document that may be fitted on.
	ratios := make([][][]float32, len(f.signals)) // [signal][document] (spans, coordinates)
	for s := range ratios {
		ratios[s] = make([][]float32, len(f.docs))
	}
	surprise := make([][]float32, len(f.docs)) // [document] (spans)
	for fold := range folds {
		progress("folds", fold, steps)
		m, err := f.fitModel(fold)
		if err != nil {
			return nil, err
		}
		if err := f.outOfFold(fold, m, ratios, surprise); err != nil {
			return nil, err
		}
	}
	progress("folds", folds, steps)
	final, err := f.fitModel(-1)
	if err != nil {
		return nil, err
	}
	progress("composition", 0, 1)
	c, err := f.assemble(final, ratios, surprise)
	if err != nil {
		return nil, err
	}
	progress("composition", 1, 1)
	return c, nil
}

// fitter is the working state of one fit.
type fitter struct {
	b       *Builder
	opt     Options
	spec    Spec
	width   int
	ctx     context.Context
	threads int
	half    *[1 << 16]float32

	docs    []fitDoc // in the order of groups, then of samples
	sources []string
	signals []string // those that are fitted
	omitted []string
	groups  []groupKey // in order

	center, inverse []float32
	clean           [][]unit           // [source][fold] sums of clean readings
	scatters        [][]blas64.General // [fold][site] weighted scatter within clean units
	weights         []float64          // [fold] their weight
}

type fitDoc struct {
	rec    *record
	group  int
	source int
	fold   int
	clean  bool
	fit    bool    // may be fitted on (else: thresholds only)
	has    []bool  // [signal]
	weight float64 // of the document, so that a source weighs √documents
}

// unit is the clean readings of one source in one fold.
type unit struct {
	sum    []float64 // (width) weighted, standardised
	weight float64
}

// collect lists the sampled documents, decides on signals and deals folds.
func (f *fitter) collect() error {
	sourceOf := map[string]int{}
	attacks := map[string]int{}
	cleanDocs := 0
	for _, key := range f.b.keys() {
		f.groups = append(f.groups, key)
		g := f.b.groups[key]
		src, ok := sourceOf[key.source]
		if !ok {
			src = len(f.sources)
			sourceOf[key.source] = src
			f.sources = append(f.sources, key.source)
		}
		signals := strings.Fields(key.signals)
		for _, s := range signals {
			attacks[s] += len(g.sample)
		}
		if len(signals) == 0 && key.use&Fit != 0 {
			cleanDocs += len(g.sample)
		}
		for _, r := range g.sample {
			d := fitDoc{rec: r, group: len(f.groups) - 1, source: src, clean: len(signals) == 0, fit: key.use&Fit != 0}
			d.weight = 1 / math.Sqrt(float64(len(g.sample)))
			f.docs = append(f.docs, d)
		}
	}
	if cleanDocs < max(50, 2*f.opt.Folds) {
		return fmt.Errorf("%w: %d clean documents to fit on, want at least %d", ErrTooFew, cleanDocs, max(50, 2*f.opt.Folds))
	}
	for _, s := range f.opt.Signals {
		if attacks[s] >= f.opt.MinAttack {
			f.signals = append(f.signals, s)
		} else {
			f.omitted = append(f.omitted, s)
		}
	}
	if len(f.signals) == 0 {
		return fmt.Errorf("%w: no signal has %d attack documents", ErrTooFew, f.opt.MinAttack)
	}
	for i := range f.docs {
		d := &f.docs[i]
		have := strings.Fields(f.groups[d.group].signals)
		d.has = make([]bool, len(f.signals))
		for s, name := range f.signals {
			d.has[s] = slices.Contains(have, name)
		}
	}
	f.dealFolds()
	return nil
}

// dealFolds gives whole sources to folds: the sources of each signal, largest
// first, to the fold that has least of that signal, then the clean ones. The
// only source of a signal, or of clean text, is dealt out by document: its
// figures are of documents that were not seen, in a source that was.
func (f *fitter) dealFolds() {
	folds := f.opt.Folds
	fold := make([]int, len(f.sources))
	for i := range fold {
		fold[i] = -2 // not dealt
	}
	const byDocument = -1
	deal := func(member func(d *fitDoc) bool) {
		count := make([]int, len(f.sources))
		load := make([]int, folds)
		var order []int
		for i := range f.docs {
			if d := &f.docs[i]; member(d) {
				if count[d.source]++; count[d.source] == 1 {
					order = append(order, d.source)
				}
			}
		}
		for _, s := range order {
			if fold[s] >= 0 {
				load[fold[s]] += count[s]
			}
		}
		slices.SortStableFunc(order, func(a, b int) int { return count[b] - count[a] })
		for _, s := range order {
			switch {
			case len(order) == 1:
				fold[s] = byDocument
			case fold[s] == -2:
				best := 0
				for k, l := range load {
					if l < load[best] {
						best = k
					}
				}
				fold[s] = best
				load[best] += count[s]
			}
		}
		// Sources dealt for an earlier signal can have met in one fold.
		if len(order) > 0 && fold[order[0]] >= 0 && !slices.ContainsFunc(order, func(s int) bool { return fold[s] != fold[order[0]] }) {
			fold[order[0]] = byDocument
		}
	}
	for s := range f.signals {
		deal(func(d *fitDoc) bool { return d.has[s] })
	}
	deal(func(d *fitDoc) bool { return d.clean && d.fit })
	for i := range f.docs {
		d := &f.docs[i]
		d.fold = fold[d.source]
		if d.fold < 0 {
			d.fold = int(d.rec.order[15]) % folds
		}
	}
}

// raw sets dst (n, width) to the document's readings.
func (f *fitter) raw(d *fitDoc, dst []float32) {
	for i, h := range d.rec.readings {
		dst[i] = f.half[h]
	}
}

// each calls do for i in 0..n-1 from several goroutines, each with scratch space
// for the spans of a document. Results must be written by index.
func (f *fitter) each(n int, do func(i int, x, z []float32)) error {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(f.threads, max(n, 1)) {
		wg.Go(func() {
			x := make([]float32, f.width*f.opt.Spans)
			z := make([]float32, f.width)
			for i := range next {
				do(i, x, z)
			}
		})
	}
	var err error
	for i := range n {
		if i%64 == 0 && err == nil {
			err = f.ctx.Err()
		}
		if err != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	return err
}

// channels sets centre and scale: median and the 10–90 % range over 2.563 (what
// a normal has) of clean readings, both from a balanced subset. Robust, because
// the few massive values of a channel would otherwise be its scale and squash
// the rest. A channel that is nearly constant has a range near zero: its scale is
// at least 1/32 of the exact standard deviation within sources.
func (f *fitter) channels() {
	const perSource, perDocument = 256, 4
	var rows [][]uint16
	for i, taken := 0, 0; i < len(f.docs); i++ {
		d := &f.docs[i]
		if i > 0 && f.docs[i-1].group != d.group {
			taken = 0
		}
		if !d.clean || !d.fit || taken >= perSource {
			continue
		}
		step := max(1, d.rec.Spans/perDocument)
		for s := 0; s < d.rec.Spans && s < step*perDocument; s += step {
			rows = append(rows, d.rec.readings[s*f.width:(s+1)*f.width])
			taken++
		}
	}
	within := make([]float64, f.width)
	var n float64
	for _, key := range f.groups {
		if key.signals != "" || key.use&Fit == 0 {
			continue
		}
		g := f.b.groups[key]
		n += float64(g.readings)
		for j := range within {
			within[j] += max(0, g.square[j]-g.sum[j]*g.sum[j]/float64(g.readings))
		}
	}
	f.center, f.inverse = make([]float32, f.width), make([]float32, f.width)
	const block = 32 // channels
	blocks := (f.width + block - 1) / block
	_ = f.each(blocks, func(b int, _, _ []float32) {
		v := make([]float32, len(rows))
		for j := b * block; j < min(f.width, (b+1)*block); j++ {
			for i, r := range rows {
				v[i] = f.half[r[j]]
			}
			slices.Sort(v)
			last := float64(len(v) - 1)
			q := func(p float64) float64 { return float64(v[int(math.Round(p*last))]) }
			scale := max((q(0.9)-q(0.1))/2.563, math.Sqrt(within[j]/n)/32)
			f.center[j] = float32(q(0.5))
			if scale > 1e-12 { // else constant: the channel says nothing
				f.inverse[j] = float32(1 / scale)
			}
		}
	})
}

// scatter sums, of the clean readings of each fold, the sums of each source and
// the scatter within sources of each site's block. A few spans of a document are
// enough for a covariance of channels.
func (f *fitter) scatter() error {
	const perDocument, batch = 8, 512
	folds, sites, dim := f.opt.Folds, len(f.spec.Sites), f.spec.Dim
	f.clean = make([][]unit, len(f.sources))
	for s := range f.clean {
		f.clean[s] = make([]unit, folds)
	}
	f.scatters = make([][]blas64.General, folds)
	f.weights = make([]float64, folds)
	for k := range f.scatters {
		f.scatters[k] = make([]blas64.General, sites)
		for s := range f.scatters[k] {
			f.scatters[k][s] = blas64.General{Rows: dim, Cols: dim, Stride: dim, Data: make([]float64, dim*dim)}
		}
	}
	var docs []*fitDoc
	for i := range f.docs {
		if d := &f.docs[i]; d.clean && d.fit {
			docs = append(docs, d)
			u := &f.clean[d.source][d.fold]
			if u.sum == nil {
				u.sum = make([]float64, f.width)
			}
		}
	}
	slices.SortStableFunc(docs, func(a, b *fitDoc) int { return cmp.Or(a.source-b.source, a.fold-b.fold) })
	// One site at a time and thread: sums are then in one order whatever the threads.
	err := f.each(sites, func(site int, _, z []float32) {
		a := blas64.General{Rows: 0, Cols: dim, Stride: dim, Data: make([]float64, batch*dim)}
		flush := func(fold int) {
			if a.Rows > 0 {
				blas64.Gemm(blas.Trans, blas.NoTrans, 1, a, a, 1, f.scatters[fold][site])
			}
			a.Rows = 0
		}
		from := site * dim
		for i, d := range docs {
			u := &f.clean[d.source][d.fold]
			step := max(1, d.rec.Spans/perDocument)
			n := min(perDocument, (d.rec.Spans+step-1)/step)
			w := d.weight / float64(n)
			root := math.Sqrt(w)
			for s := range n {
				row := d.rec.readings[s*step*f.width+from:][:dim]
				for j, h := range row {
					v := clip(float32((f.half[h] - f.center[from+j]) * f.inverse[from+j]))
					u.sum[from+j] += w * float64(v)
					a.Data[a.Rows*dim+j] = root * float64(v)
				}
				if a.Rows++; a.Rows == batch {
					flush(d.fold)
				}
			}
			if site == 0 {
				u.weight += d.weight
				f.weights[d.fold] += d.weight
			}
			if i+1 == len(docs) || docs[i+1].source != d.source || docs[i+1].fold != d.fold {
				flush(d.fold)
			}
		}
	})
	if err != nil {
		return err
	}
	// Σ w z zᵀ - (1 - between)·(Σ w z)(Σ w z)ᵀ / Σ w of each unit.
	for s := range f.clean {
		for k, u := range f.clean[s] {
			if u.weight == 0 {
				continue
			}
			for site := range sites {
				v := blas64.Vector{N: dim, Inc: 1, Data: u.sum[site*dim : (site+1)*dim]}
				blas64.Ger((f.opt.Between-1)/u.weight, v, v, f.scatters[k][site])
			}
		}
	}
	return f.ctx.Err()
}

// factor returns the Cholesky factors of the shrunk covariance within clean
// sources of each site, fold left out (-1 = none).
func (f *fitter) factor(fold int) ([]mat.Cholesky, error) {
	dim := f.spec.Dim
	out := make([]mat.Cholesky, len(f.spec.Sites))
	var total float64
	for k, w := range f.weights {
		if k != fold {
			total += w
		}
	}
	if total == 0 {
		return nil, fmt.Errorf("%w: all clean sources are in one fold", ErrTooFew)
	}
	ok := make([]bool, len(out))
	err := f.each(len(out), func(site int, _, _ []float32) {
		cov := mat.NewSymDense(dim, nil)
		keep := (1 - f.opt.Shrink) / total
		for i := range dim {
			for j := i; j < dim; j++ {
				var v float64
				for k := range f.scatters {
					if k != fold {
						v += f.scatters[k][site].Data[i*dim+j]
					}
				}
				if i == j {
					// A constant channel has no variance: one scale, so that it is left alone.
					if v /= total; v < 1e-6 {
						v = 1
					}
				} else {
					v *= keep
				}
				cov.SetSym(i, j, v)
			}
		}
		ok[site] = out[site].Factorize(cov)
	})
	if err != nil {
		return nil, err
	}
	if site := slices.Index(ok, false); site >= 0 {
		return nil, fmt.Errorf("%w: the covariance at %v is not positive definite; raise Shrink", ErrTooFew, f.spec.Sites[site])
	}
	return out, nil
}

// whiten sets x to Σ⁻¹x, block by block.
func (f *fitter) whiten(chol []mat.Cholesky, x []float64) error {
	dim := f.spec.Dim
	for site := range chol {
		v := mat.NewVecDense(dim, x[site*dim:(site+1)*dim])
		if err := chol[site].SolveVecTo(v, v); err != nil {
			var ill mat.Condition
			if !errors.As(err, &ill) { // ill-conditioned is still solved
				return fmt.Errorf("solve at %v: %w", f.spec.Sites[site], err)
			}
		}
	}
	return nil
}

// model is what is fitted on a set of sources: all, or all but a fold.
type model struct {
	signals []signalModel
	basis   []float32 // (rows, width): coordinates, then outside rows
	curves  []density
	novelty density
}

type signalModel struct {
	first, k int
	spectrum []float64
	sources  int
}

// fitModel fits all signals without the sources of a fold (-1 = with all).
func (f *fitter) fitModel(fold int) (*model, error) {
	chol, err := f.factor(fold)
	if err != nil {
		return nil, err
	}
	m := &model{}
	var patterns [][]float64
	for s := range f.signals {
		sm, dirs, curves, err := f.fitSignal(fold, s, chol)
		if err != nil {
			return nil, err
		}
		sm.first, sm.k = len(m.curves), len(dirs)
		m.signals = append(m.signals, sm)
		for _, d := range dirs {
			for _, v := range d {
				m.basis = append(m.basis, float32(v))
			}
			// What a coordinate responds to, as a pattern of channels, is Σ·direction
			// (Haufe et al. 2014, On the interpretation of weight vectors, eq. 6).
			p := make([]float64, f.width)
			f.colour(fold, d, p)
			patterns = append(patterns, p)
		}
		m.curves = append(m.curves, curves...)
	}
	for _, q := range orthonormal(patterns) {
		for _, v := range q {
			m.basis = append(m.basis, float32(v))
		}
	}
	err = f.fitNovelty(fold, m)
	return m, err
}

// colour sets p to Σ·d, Σ the unshrunk covariance within clean sources.
func (f *fitter) colour(fold int, d, p []float64) {
	dim := f.spec.Dim
	for k := range f.scatters {
		if k == fold {
			continue
		}
		for site := range f.spec.Sites {
			blas64.Gemv(blas.NoTrans, 1, f.scatters[k][site], blas64.Vector{N: dim, Inc: 1, Data: d[site*dim : (site+1)*dim]},
				1, blas64.Vector{N: dim, Inc: 1, Data: p[site*dim : (site+1)*dim]})
		}
	}
}

// orthonormal returns an orthonormal basis of the vectors' span (Gram-Schmidt,
// twice, as Giraud et al. 2005 show is enough); dependent ones are dropped.
func orthonormal(v [][]float64) (q [][]float64) {
	for _, x := range v {
		x = slices.Clone(x)
		before := math.Sqrt(dot(x, x))
		for range 2 {
			for _, b := range q {
				t := dot(x, b)
				for j := range x {
					x[j] -= t * b[j]
				}
			}
		}
		if norm := math.Sqrt(dot(x, x)); norm > 1e-6*before && norm > 0 {
			for j := range x {
				x[j] /= norm
			}
			q = append(q, x)
		}
	}
	return q
}

func dot(a, b []float64) (s float64) {
	for i, x := range a {
		s += x * b[i]
	}
	return s
}

// training returns the clean documents and those of signal s outside a fold.
func (f *fitter) training(fold, s int) (clean, attack []int) {
	for i := range f.docs {
		d := &f.docs[i]
		switch {
		case d.fold == fold || !d.fit:
		case d.clean:
			clean = append(clean, i)
		case s >= 0 && d.has[s]:
			attack = append(attack, i)
		}
	}
	return clean, attack
}

// fitSignal finds the directions of one signal and their densities. Attack
// documents are bags: somewhere in them is an attack, most spans of a long one
// are harmless. So directions and telling spans are found in turn.
func (f *fitter) fitSignal(fold, s int, chol []mat.Cholesky) (sm signalModel, dirs [][]float64, curves []density, err error) {
	clean, attack := f.training(fold, s)
	// Few clean documents will do until the last round.
	const early = 4000
	some := clean
	if n := len(clean); n > early {
		some = make([]int, early)
		for i := range some {
			some[i] = clean[i*n/early]
		}
	}
	if len(attack) == 0 { // every attack of this signal is in the fold: see dealFolds
		return sm, nil, nil, fmt.Errorf("%w: all documents of %q are in one fold", ErrTooFew, f.signals[s])
	}
	all, sources := f.cleanMeans(fold)

	// First selection: the spans furthest along the mean difference.
	chosen := make([][]int, len(attack))
	for i, d := range attack {
		chosen[i] = telling(nil, f.docs[d].rec.Spans)
	}
	groups, err := f.attackMeans(attack, chosen)
	if err != nil {
		return sm, nil, nil, err
	}
	first := make([]float64, f.width)
	for _, g := range groups {
		for j, v := range g.sum {
			first[j] += v - g.weight*all[j]
		}
	}
	if err := f.whiten(chol, first); err != nil {
		return sm, nil, nil, err
	}
	if err := f.choose(attack, [][]float64{first}, nil, chosen); err != nil {
		return sm, nil, nil, err
	}
	for round := range f.opt.Rounds {
		groups, err := f.attackMeans(attack, chosen)
		if err != nil {
			return sm, nil, nil, err
		}
		if sm.spectrum, dirs, err = f.directions(groups, all, sources, chol); err != nil {
			return sm, nil, nil, err
		}
		sm.sources = len(groups)
		from := some
		if round == f.opt.Rounds-1 {
			from = clean
		}
		d, err := f.discriminant(from, attack, chosen)
		if err != nil {
			return sm, nil, nil, err
		}
		dirs = append([][]float64{d}, dirs[:min(len(dirs), f.opt.Coordinates-1)]...)
		if curves, err = f.densities(from, attack, chosen, dirs); err != nil {
			return sm, nil, nil, err
		}
		if round < f.opt.Rounds-1 {
			if err := f.choose(attack, dirs, curves, chosen); err != nil {
				return sm, nil, nil, err
			}
		}
	}
	return sm, dirs, curves, nil
}

// telling returns which of n spans to learn from: those with the highest
// evidence, up to two all, of more a quarter, at least two and at most four; nil
// evidence is before the first look: all of them.
func telling(evidence []float32, n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if evidence == nil || n <= 2 {
		return order
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(evidence[b], evidence[a]) })
	return order[:max(2, min(4, n/4))]
}

// choose sets chosen to the telling spans by the sum of log-likelihood ratios,
// or by the projection alone where there are no densities yet.
func (f *fitter) choose(attack []int, dirs [][]float64, curves []density, chosen [][]int) error {
	scores, err := f.projected(attack, flat(dirs), len(dirs), nil)
	if err != nil {
		return err
	}
	k := len(dirs)
	for i, v := range scores {
		e := make([]float32, len(v)/k)
		for span := range e {
			for j, x := range v[span*k : (span+1)*k] {
				if curves != nil {
					x = curves[j].llr(x)
				}
				e[span] += x
			}
		}
		chosen[i] = telling(e, len(e))
	}
	return nil
}

func flat(dirs [][]float64) []float32 {
	var out []float32
	for _, d := range dirs {
		for _, v := range d {
			out = append(out, float32(v))
		}
	}
	return out
}

// projected returns, of each document, its spans on the basis's k rows: (spans,
// k). energy, if not nil, gets Σ z² of each span.
func (f *fitter) projected(docs []int, basis []float32, k int, energy [][]float32) ([][]float32, error) {
	out := make([][]float32, len(docs))
	err := f.each(len(docs), func(i int, x, z []float32) {
		d := &f.docs[docs[i]]
		n := d.rec.Spans
		x = x[:n*f.width]
		f.raw(d, x)
		out[i] = make([]float32, n*k)
		if energy != nil {
			energy[i] = make([]float32, n)
		}
		for s := range n {
			e, _ := standardise(z, x[s*f.width:(s+1)*f.width], f.center, f.inverse)
			if energy != nil {
				energy[i][s] = e
			}
			project(out[i][s*k:(s+1)*k], basis, z)
		}
	})
	return out, err
}

// sourceSum is the chosen attack readings of one source.
type sourceSum struct {
	source int
	docs   int
	sum    []float64 // (width) weighted, standardised
	weight float64
}

// attackMeans sums the chosen spans of each source.
func (f *fitter) attackMeans(attack []int, chosen [][]int) ([]sourceSum, error) {
	members := map[int][]int{} // source → indices into attack
	for i, d := range attack {
		members[f.docs[d].source] = append(members[f.docs[d].source], i)
	}
	order := slices.Sorted(maps.Keys(members))
	out := make([]sourceSum, len(order))
	err := f.each(len(order), func(g int, x, z []float32) {
		s := sourceSum{source: order[g], docs: len(members[order[g]]), sum: make([]float64, f.width)}
		for _, i := range members[order[g]] {
			d := &f.docs[attack[i]]
			f.raw(d, x[:d.rec.Spans*f.width])
			w := d.weight / float64(len(chosen[i]))
			for _, span := range chosen[i] {
				standardise(z, x[span*f.width:(span+1)*f.width], f.center, f.inverse)
				for j, v := range z {
					s.sum[j] += w * float64(v)
				}
			}
			s.weight += d.weight
		}
		out[g] = s
	})
	return out, err
}

// cleanMeans returns the mean of all clean readings outside a fold, and of each
// source (nil where it has none).
func (f *fitter) cleanMeans(fold int) (all []float64, sources [][]float64) {
	all = make([]float64, f.width)
	sources = make([][]float64, len(f.sources))
	var total float64
	for s := range f.clean {
		var weight float64
		for k, u := range f.clean[s] {
			if k == fold || u.weight == 0 {
				continue
			}
			if sources[s] == nil {
				sources[s] = make([]float64, f.width)
			}
			for j, v := range u.sum {
				sources[s][j] += v
			}
			weight += u.weight
		}
		for j := range sources[s] {
			all[j] += sources[s][j]
			sources[s][j] /= weight
		}
		total += weight
	}
	for j := range all {
		all[j] /= total
	}
	return all, sources
}

// directions returns the singular values and the leading right singular vectors
// of the (sources, width) matrix D of whitened differences, row g weighted by
// √documents (which gives every row the same noise). Through its small Gram
// matrix G = D Σ⁻¹ Dᵀ = U·S²·Uᵀ: direction k is Σ⁻¹ Dᵀ uₖ / sₖ, to be applied to
// standardised readings. Clean readings have about unit variance along it.
func (f *fitter) directions(groups []sourceSum, all []float64, sources [][]float64, chol []mat.Cholesky) (spectrum []float64, dirs [][]float64, err error) {
	n := len(groups)
	diff, white := make([][]float64, n), make([][]float64, n)
	root := make([]float64, n)
	for i, g := range groups {
		base := all
		if sources[g.source] != nil {
			base = sources[g.source]
		}
		root[i] = math.Sqrt(float64(g.docs))
		diff[i] = make([]float64, f.width)
		for j, v := range g.sum {
			diff[i][j] = (v/g.weight - base[j]) * root[i]
		}
		white[i] = slices.Clone(diff[i])
		if err := f.whiten(chol, white[i]); err != nil {
			return nil, nil, err
		}
	}
	gram := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			gram.SetSym(i, j, (dot(diff[i], white[j])+dot(diff[j], white[i]))/2)
		}
	}
	var eig mat.EigenSym
	if !eig.Factorize(gram, true) {
		return nil, nil, fmt.Errorf("%w: the differences between sources have no decomposition", ErrTooFew)
	}
	values := eig.Values(nil) // rising
	var u mat.Dense
	eig.VectorsTo(&u)
	for k := n - 1; k >= 0; k-- {
		spectrum = append(spectrum, math.Sqrt(max(0, values[k])))
	}
	for k := range min(f.opt.Coordinates, n) {
		if spectrum[k] <= 1e-6*spectrum[0] || spectrum[k] == 0 {
			break
		}
		d := make([]float64, f.width)
		var sign float64
		for g := range n {
			t := u.At(g, n-1-k)
			sign += t * root[g]
			for j, v := range white[g] {
				d[j] += t / spectrum[k] * v
			}
		}
		if sign < 0 { // the weighted mean of the sources' differences is to be positive
			for j := range d {
				d[j] = -d[j]
			}
		}
		dirs = append(dirs, d)
	}
	if len(dirs) == 0 {
		return nil, nil, fmt.Errorf("%w: attack readings do not differ from clean ones", ErrTooFew)
	}
	return spectrum, dirs, nil
}

// densities fits the pair of densities of each direction: clean readings, every
// document the same weight within its source, and the chosen attack readings.
func (f *fitter) densities(clean, attack []int, chosen [][]int, dirs [][]float64) ([]density, error) {
	k := len(dirs)
	basis := flat(dirs)
	b, err := f.projected(clean, basis, k, nil)
	if err != nil {
		return nil, err
	}
	a, err := f.projected(attack, basis, k, nil)
	if err != nil {
		return nil, err
	}
	out := make([]density, k)
	err = f.each(k, func(j int, _, _ []float32) {
		var bv, av []weighted
		for i, v := range b {
			w := f.docs[clean[i]].weight / float64(len(v)/k)
			for s := j; s < len(v); s += k {
				bv = append(bv, weighted{float64(v[s]), w})
			}
		}
		for i, v := range a {
			w := f.docs[attack[i]].weight / float64(len(chosen[i]))
			for _, s := range chosen[i] {
				av = append(av, weighted{float64(v[s*k+j]), w})
			}
		}
		out[j] = fitDensity(bv, av, j == 0)
	})
	return out, err
}

// fitNovelty fits the distribution of the energy outside the coordinates.
func (f *fitter) fitNovelty(fold int, m *model) error {
	clean, _ := f.training(fold, -1)
	energies, err := f.energies(clean, m)
	if err != nil {
		return err
	}
	var v []weighted
	for i, e := range energies {
		w := f.docs[clean[i]].weight / float64(len(e))
		for _, x := range e {
			v = append(v, weighted{float64(x), w})
		}
	}
	m.novelty = fitDensity(v, nil, false)
	return nil
}

func (f *fitter) energies(docs []int, m *model) ([][]float32, error) {
	k := len(m.basis)/f.width - len(m.curves)
	energy := make([][]float32, len(docs))
	rows, err := f.projected(docs, m.basis[len(m.curves)*f.width:], k, energy)
	if err != nil {
		return nil, err
	}
	for i, e := range energy {
		for s := range e {
			e[s] = outside(e[s], rows[i][s*k:(s+1)*k], f.width)
		}
	}
	return energy, nil
}

// outOfFold scores a fold's documents with the model that did not see them.
func (f *fitter) outOfFold(fold int, m *model, ratios [][][]float32, surprise [][]float32) error {
	var docs []int
	for i := range f.docs {
		if d := &f.docs[i]; d.fit && d.fold == fold {
			docs = append(docs, i)
		}
	}
	k := len(m.curves)
	rows, err := f.projected(docs, m.basis[:k*f.width], k, nil)
	if err != nil {
		return err
	}
	for i, v := range rows {
		for s, sm := range m.signals {
			ratios[s][docs[i]] = m.ratios(v, sm, f.opt.Coordinates)
		}
	}
	var clean []int
	for _, i := range docs {
		if f.docs[i].clean {
			clean = append(clean, i)
		}
	}
	energies, err := f.energies(clean, m)
	if err != nil {
		return err
	}
	for i, e := range energies {
		for j := range e {
			e[j] = m.novelty.surprise(e[j])
		}
		surprise[clean[i]] = e
	}
	return nil
}

// ratios returns a signal's log-likelihood ratios (spans, k) from a document's
// coordinates; coordinates that a fold could not fit say 0.
func (m *model) ratios(coords []float32, sm signalModel, k int) []float32 {
	all := len(m.curves)
	n := len(coords) / all
	out := make([]float32, n*k)
	for s := range n {
		for j := range min(sm.k, k) {
			out[s*k+j] = m.curves[sm.first+j].llr(coords[s*all+sm.first+j])
		}
	}
	return out
}
