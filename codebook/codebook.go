// Package codebook turns the hidden states of a small language model into
// calibrated evidence that a text attacks the model that will read it.
//
// A text is cut by others into overlapping spans of tokens; each span gives one
// reading, a vector of hidden states taken at a few sites of the model. A
// [Builder] is fed the readings of labelled documents (Add), is joined with the
// builders of other machines (Merge) and fitted once (Fit). The resulting
// [Codebook] is one file. A [Scorer] reads it: [Scorer.Reading] says what one
// span tells about each signal, [Scorer.Document] joins the spans into log-odds
// and into p-values whose false-alarm rate was calibrated on whole clean
// documents. Every log-odds is a sum of contributions that the caller can show.
//
// The package takes vectors and returns probabilities. It runs no model, sees no
// text and keeps none; document ids and sources are kept, as exemplars and as
// counts, so they must not be confidential. A codebook is bound to the digests
// of the model and tokenizer that made its readings: [Codebook.Check] refuses
// others, because readings of another model look like numbers too.
//
// A p-value promises its rate for clean documents that are exchangeable with
// those of its calibration: the same channel, the same sort of text. It promises
// nothing about attacks; how many are found is measured, not promised.
//
// Files carry a format version. This package reads the versions up to its own,
// [FormatVersion], and refuses newer ones.
package codebook

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
)

// FormatVersion is the version of the files that this package writes, and the
// newest that it reads. In version 1 every coordinate's ratio ends at 6 nats; in
// version 2 the ratios stand in the file as they are meant, within 12.
const FormatVersion = 2

// Bounds of what is accepted, far above what is useful. They keep hostile files
// from asking for memory, not users from asking for quality.
const (
	maxSites    = 256
	maxDim      = 1 << 16
	maxWidth    = 1 << 18 // floats in a reading: 1 MiB
	maxSignals  = 16
	maxCoords   = 64   // per signal
	maxGrid     = 4096 // samples of a density
	maxString   = 4096 // bytes of a name, id or command
	maxSources  = 1 << 16
	maxCells    = 1 << 16
	maxEntries  = 1 << 26 // calibration entries of a file
	maxExemplar = 1 << 16
	maxCurve    = 256 // knots of an extra's curve
)

// Clip is the bound of a standardised channel, in scales. Small models have a
// few channels with activations a thousand times the others'; without a bound
// one token owns the whole sum. Beyond 8 scales a channel says "far", not how far.
const Clip = 8

// Errors that callers branch on. Each is wrapped with the numbers that disagree.
var (
	// ErrMismatch: the codebook was made with another model, tokenizer or dtype.
	ErrMismatch = errors.New("codebook does not belong to this detector")
	// ErrVersion: the file is of a newer format than this build reads.
	ErrVersion = errors.New("format version is newer than this build reads")
	// ErrFormat: the bytes are no codebook, or one that contradicts itself. The
	// errors below it in this list wrap it and say how.
	ErrFormat    = errors.New("not a valid codebook")
	ErrMissing   = fmt.Errorf("%w: a part is missing", ErrFormat)
	ErrShape     = fmt.Errorf("%w: a shape does not fit", ErrFormat)
	ErrBound     = fmt.Errorf("%w: a value is out of its bounds", ErrFormat)
	ErrNotFinite = fmt.Errorf("%w: a number is not finite", ErrFormat)
	ErrMonotone  = fmt.Errorf("%w: a sequence that must rise or fall does not", ErrFormat)

	// ErrReading: a reading holds NaN or infinity, so no evidence exists.
	ErrReading = errors.New("reading is not finite")
	// ErrDocument: a document given to a Builder is malformed.
	ErrDocument = errors.New("document is malformed")
	// ErrRate: a rate was asked that is finer than the calibration can promise.
	ErrRate = errors.New("rate is finer than the calibration can promise")
	// ErrTooFew: there are too few documents to fit or calibrate.
	ErrTooFew = errors.New("too few documents")
	// ErrSpec: two things that must describe the same readings do not.
	ErrSpec = errors.New("specifications differ")
)

// Pools of a [Site].
const (
	Mean = "mean" // the mean of the tap's states over the span's tokens
	Last = "last" // the state of the last token of the window that holds the span
)

// Names with a meaning of their own.
const (
	Novelty     = "novelty"     // unlike anything calibrated; never part of the composite
	Composite   = "composite"   // all other signals together
	Concealment = "concealment" // the usual key of Document.Extra
)

// A Site is one place where the model's states are read: (layer, stream, pool).
type Site struct {
	Layer  int    `json:"layer"`  // 0 = embeddings, i = after block i
	Stream string `json:"stream"` // "residual", "attention" or "mlp"
	Pool   string `json:"pool"`   // Mean or Last
}

// String returns a name like "residual.12.mean".
func (s Site) String() string { return fmt.Sprintf("%s.%d.%s", s.Stream, s.Layer, s.Pool) }

// A Spec says which readings a codebook is about. Two specs are the same, and
// their readings may be mixed, when all fields are equal.
type Spec struct {
	Model           string `json:"model"`
	Revision        string `json:"revision"`
	ModelDigest     string `json:"model_digest"`     // of the weights and their configuration
	TokenizerDigest string `json:"tokenizer_digest"` // of the tokenizer's file
	DType           string `json:"dtype"`            // arithmetic of the forward pass, such as "f32" or "int8"

	Sites []Site `json:"sites"` // order of a reading's blocks
	Dim   int    `json:"dim"`   // floats per site

	Prefix string `json:"prefix"` // template before the window
	Suffix string `json:"suffix"` // template after it
	Window int    `json:"window"` // tokens of a forward pass, template apart
	Stride int    `json:"stride"` // tokens between windows
	Span   int    `json:"span"`   // tokens of a reading
	Step   int    `json:"step"`   // tokens between readings
}

// Width returns the number of float32 in a reading: len(Sites)·Dim.
func (s Spec) Width() int { return len(s.Sites) * s.Dim }

func (s Spec) check() error {
	switch {
	case len(s.Sites) < 1 || len(s.Sites) > maxSites:
		return fmt.Errorf("%w: spec: %d sites, want 1 to %d", ErrBound, len(s.Sites), maxSites)
	case s.Dim < 1 || s.Dim > maxDim:
		return fmt.Errorf("%w: spec: dim %d, want 1 to %d", ErrBound, s.Dim, maxDim)
	case s.Width() > maxWidth:
		return fmt.Errorf("%w: spec: width %d, want at most %d", ErrBound, s.Width(), maxWidth)
	case min(s.Window, s.Stride, s.Span, s.Step) < 0 || max(s.Window, s.Stride, s.Span, s.Step) > 1<<20:
		return fmt.Errorf("%w: spec: window, stride, span or step", ErrBound)
	}
	for _, v := range []string{s.Model, s.Revision, s.ModelDigest, s.TokenizerDigest, s.DType, s.Prefix, s.Suffix} {
		if len(v) > maxString {
			return fmt.Errorf("%w: spec: a string of %d bytes", ErrBound, len(v))
		}
	}
	for i, site := range s.Sites {
		switch {
		case site.Layer < 0 || site.Layer > 1<<16 || len(site.Stream) > 64:
			return fmt.Errorf("%w: spec: site %d", ErrBound, i)
		case site.Pool != Mean && site.Pool != Last:
			return fmt.Errorf("%w: spec: site %d: pool is neither %q nor %q", ErrBound, i, Mean, Last)
		case slices.Contains(s.Sites[:i], site):
			return fmt.Errorf("%w: spec: site %v appears twice", ErrBound, site)
		}
	}
	return nil
}

func (s Spec) equal(t Spec) bool {
	a, b := s, t
	a.Sites, b.Sites = nil, nil
	return slices.Equal(s.Sites, t.Sites) && fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b)
}

// A Codebook is a fitted or read codebook. It is immutable and safe for
// concurrent use.
type Codebook struct {
	spec    Spec
	center  []float32 // (width) of benign readings
	inverse []float32 // (width) 1/scale
	basis   []float32 // (rows, width): the coordinates of all signals, then the outside rows
	outside int       // rows of basis that only serve novelty
	signals []signal
	extras  []extra
	novelty linear
	curves  []density // one per coordinate, then that of novelty
	tables  []table
	samples []Exemplar
	coords  []float32 // (len(samples), number of coordinates)
	minCell int
	origin  Origin
}

// signal is what a codebook knows of one signal read from the states.
type signal struct {
	name     string
	first, k int       // its coordinates: first … first+k-1
	weights  []float64 // (k) of the log-likelihood ratios, ≥ 0
	linear   linear    // document log-odds of the evidence
	spectrum []float64 // all singular values of the fit, descending
	sources  int       // attack sources behind it
}

// linear is log-odds = Bias + Slope·evidence − Length·ln(spans).
type linear struct {
	Bias   float64 `json:"bias"`
	Slope  float64 `json:"slope"`  // ≥ 0
	Length float64 `json:"length"` // ≥ 0
}

func (l linear) at(evidence float64, spans int) float64 {
	return l.Bias + l.Slope*evidence - l.Length*math.Log(float64(spans))
}

// An extra is a reading that comes from elsewhere and its map to log-odds.
type extra struct {
	name  string
	curve Curve
}

// A Curve is a piecewise linear, never falling map; constant outside its knots.
type Curve struct {
	X []float64 `json:"x"` // strictly rising
	Y []float64 `json:"y"` // never falling; log-odds
}

func (c Curve) at(x float64) float64 {
	n := len(c.X)
	if !(x > c.X[0]) { // NaN included
		return c.Y[0]
	}
	if x >= c.X[n-1] {
		return c.Y[n-1]
	}
	i, _ := slices.BinarySearch(c.X, x)
	t := (x - c.X[i-1]) / (c.X[i] - c.X[i-1])
	return c.Y[i-1] + t*(c.Y[i]-c.Y[i-1])
}

func (c Curve) check() error {
	if len(c.X) < 1 || len(c.X) > maxCurve || len(c.X) != len(c.Y) {
		return fmt.Errorf("%w: curve with %d and %d knots", ErrShape, len(c.X), len(c.Y))
	}
	for i := range c.X {
		switch {
		case !finite(c.X[i]) || !finite(c.Y[i]):
			return fmt.Errorf("%w: curve knot %d", ErrNotFinite, i)
		case math.Abs(c.X[i]) > 1e9 || math.Abs(c.Y[i]) > maxLogOdds:
			return fmt.Errorf("%w: curve knot %d", ErrBound, i)
		case i > 0 && (c.X[i] <= c.X[i-1] || c.Y[i] < c.Y[i-1]):
			return fmt.Errorf("%w: curve knot %d", ErrMonotone, i)
		}
	}
	return nil
}

// maxLogOdds bounds every coefficient of the composition, so that sums of
// products stay finite in float32.
const maxLogOdds = 1e6

// Origin says what a codebook was made from.
type Origin struct {
	Corpus  string         `json:"corpus"`  // digest of the documents, whatever their order: [Builder.Digest]
	Sources []SourceCount  `json:"sources"` // sorted by source, then signals
	Omitted []string       `json:"omitted"` // signals with too few documents to fit
	Command string         `json:"command"` // as Options gave it
	Date    string         `json:"date"`    // as Options gave it
	Updates []Recalibrated `json:"updates"` // recalibrations, oldest first
}

// SourceCount counts what was added from one source under one label.
type SourceCount struct {
	Source    string   `json:"source"`
	Signals   []string `json:"signals"` // empty = benign
	Documents int64    `json:"documents"`
	Readings  int64    `json:"readings"`
	Sampled   int64    `json:"sampled"` // documents that the fit looked at
}

// Recalibrated records one [Codebook.Recalibrate].
type Recalibrated struct {
	Channels  []string `json:"channels"`
	Documents int64    `json:"documents"`
	Corpus    string   `json:"corpus"`
	Command   string   `json:"command"`
	Date      string   `json:"date"`
}

// Spec returns what the codebook's readings must be.
func (c *Codebook) Spec() Spec {
	s := c.spec
	s.Sites = slices.Clone(s.Sites)
	return s
}

// Check returns an error that wraps [ErrMismatch] unless the codebook was made
// with exactly this model, tokenizer and arithmetic. A codebook that names no
// digest matches only a detector that has none either.
func (c *Codebook) Check(modelDigest, tokenizerDigest, dtype string) error {
	for _, v := range []struct{ what, have, want string }{
		{"model digest", modelDigest, c.spec.ModelDigest},
		{"tokenizer digest", tokenizerDigest, c.spec.TokenizerDigest},
		{"dtype", dtype, c.spec.DType},
	} {
		if v.have != v.want {
			return fmt.Errorf("codebook: %w: its %s is %.80q, the detector's is %.80q", ErrMismatch, v.what, v.want, v.have)
		}
	}
	return nil
}

// Signals returns the names in the order of [Evidence] and [Assessment]: the
// signals read from the states, then the extras.
func (c *Codebook) Signals() []string {
	var names []string
	for _, s := range c.signals {
		names = append(names, s.name)
	}
	for _, e := range c.extras {
		names = append(names, e.name)
	}
	return names
}

// Tables are kept for these scores, in this order: Signals(), Novelty, Composite.
func (c *Codebook) scores() int { return len(c.signals) + len(c.extras) + 2 }

func (c *Codebook) scoreName(i int) string {
	return append(c.Signals(), Novelty, Composite)[i]
}

// coordinates returns the number of coordinates of all signals.
func (c *Codebook) coordinates() int { return len(c.curves) - 1 }

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// checkName accepts names of signals and channels: short, printable, no spaces.
func checkName(s string) bool {
	return len(s) > 0 && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || r == 0xfffd || !unicode.IsPrint(r) })
}
