// Package calibrate turns labelled texts and a detector model into a codebook.
//
// It reads every text exactly as screening does (package reading), feeds the
// readings to a [codebook.Builder] and fits it. A run can be stopped and goes
// on where it was. The package opens no files of texts and draws nothing.
package calibrate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/internal/corpus"
	"github.com/alkimiadev/alknet-firewall/internal/lm"
	"github.com/alkimiadev/alknet-firewall/internal/reading"
	"github.com/alkimiadev/alknet-firewall/internal/text"
	"github.com/alkimiadev/alknet-firewall/internal/tokenizer"
)

// Options say how to calibrate. The zero value calibrates on every document
// with the default plan.
type Options struct {
	Name     string // of the model, as verdicts will show it
	Revision string
	Plan     codebook.Spec // sites, templates, sizes; digests are filled in. No sites: DefaultPlan
	// Arithmetic of the model, "f32" or "int8", to which the codebook will be bound.
	// Empty means the plan's, and "int8" if that has none.
	Arithmetic string
	Builder    codebook.Options

	// FitOnly names sources whose clean documents set no thresholds: those that
	// the model itself was tuned on, where clean text looks cleaner than it is.
	FitOnly []string

	// MaxBytes of a document are read, whatever its length. 0 = 64 KiB.
	MaxBytes int
	Threads  int // of the model; 0 = GOMAXPROCS

	// State names a directory for a stopped run's progress; "" keeps none. It
	// is removed after a run that came to its end.
	State string
	// Progress is told how many documents are done. Nil tells nobody.
	Progress func(documents int)
}

// group is how many documents share forward passes.
const group = 32

// saveEvery is how many documents lie between two saves of the state.
const saveEvery = 2048

// DefaultPlan returns where a model is read when nothing else was measured: the
// residual stream at the middle and the end of a shallow model (up to 8 blocks),
// at a third, a half and two thirds of a deep one; windows of 128 tokens with
// spans of 32. A tokenizer that has the tokens <|endoftext|> and <|close|> gets
// them as prefix and suffix; others get a question in words.
func DefaultPlan(files *reading.Files) (codebook.Spec, error) {
	dim, layers, err := files.Hidden()
	if err != nil {
		return codebook.Spec{}, err
	}
	tok, err := tokenizer.Parse(files.Tokenizer)
	if err != nil {
		return codebook.Spec{}, err
	}
	plan := codebook.Spec{Dim: dim, Window: 128, Stride: 96, Span: 32, Step: 16}
	at := []int{(layers + 1) / 2, layers}
	if layers > 8 {
		at = []int{layers / 3, layers / 2, layers * 2 / 3}
	}
	for _, l := range slices.Compact(at) {
		for _, pool := range []string{codebook.Mean, codebook.Last} {
			plan.Sites = append(plan.Sites, codebook.Site{Layer: l, Stream: "residual", Pool: pool})
		}
	}
	if _, ok := tok.ID("<|endoftext|>"); ok {
		plan.Prefix = "<|endoftext|>"
	} else if _, ok := tok.ID("<s>"); ok {
		plan.Prefix = "<s>"
	}
	if _, ok := tok.ID("<|close|>"); ok {
		plan.Suffix = "<|close|>"
	} else {
		plan.Suffix = "\n\nWhat this text wants its reader to do is to"
	}
	return plan, nil
}

// A Source hands out the rows to calibrate on; io.EOF ends it. It must hand out
// the same rows in the same order when a stopped run is taken up again.
type Source func() (corpus.Row, error)

// Run reads all rows and fits a codebook. Rows of the kinds that stand apart
// (harmful requests, texts that quote attacks) are used as what their label
// says only if they have a signal; others are skipped.
func Run(ctx context.Context, files *reading.Files, rows Source, opt Options) (*codebook.Codebook, error) {
	c, err := newCalibration(ctx, files, &opt)
	if err != nil {
		return nil, err
	}
	defer c.reader.Close()
	b, err := codebook.NewBuilder(c.plan, opt.Builder)
	if err != nil {
		return nil, err
	}
	done := 0
	if opt.State != "" {
		if restored, n, err := c.restore(opt); err != nil {
			return nil, err
		} else if restored != nil {
			b, done = restored, n
		}
	}
	seen, saved := 0, done
	for {
		batch, end, err := take(rows, group)
		if err != nil {
			return nil, err
		}
		seen += len(batch)
		if seen > done {
			docs, err := c.read(ctx, batch[max(0, len(batch)-(seen-done)):])
			if err != nil {
				return nil, errors.Join(err, c.save(opt, b, seen-len(batch)))
			}
			for _, d := range docs {
				if err := b.Add(d); err != nil {
					return nil, fmt.Errorf("calibrate: source %s, id %s: %w", d.Source, d.ID, err)
				}
			}
			done = seen
			if done-saved >= saveEvery {
				if err := c.save(opt, b, done); err != nil {
					return nil, err
				}
				saved = done
			}
		}
		if opt.Progress != nil {
			opt.Progress(seen)
		}
		if end {
			break
		}
	}
	book, err := b.Fit(ctx, nil)
	if err != nil {
		return nil, errors.Join(err, c.save(opt, b, done))
	}
	if opt.State != "" {
		if err := os.RemoveAll(opt.State); err != nil {
			return nil, fmt.Errorf("remove the state of the finished run: %w", err)
		}
	}
	return book, nil
}

// Recalibrate sets the thresholds of an existing codebook anew from clean rows
// alone, with or without a label; the basis and the densities stay. Rows that are labelled attack are an
// error: thresholds must not be set on them.
func Recalibrate(ctx context.Context, files *reading.Files, book *codebook.Codebook, rows Source, opt Options) (*codebook.Codebook, error) {
	opt.Plan = book.Spec()
	c, err := newCalibration(ctx, files, &opt)
	if err != nil {
		return nil, err
	}
	defer c.reader.Close()
	if err := book.Check(c.plan.ModelDigest, c.plan.TokenizerDigest, c.plan.DType); err != nil {
		return nil, err
	}
	// The codebook asks for documents one by one; they are read by the group.
	var docs []codebook.Document
	var failed error
	end, n := false, 0
	next := func() (codebook.Document, bool) {
		for len(docs) == 0 {
			if end || failed != nil {
				return codebook.Document{}, false
			}
			var batch []corpus.Row
			if batch, end, failed = take(rows, group); failed != nil {
				return codebook.Document{}, false
			}
			for i, r := range batch {
				if r.Label == corpus.Attack {
					failed = fmt.Errorf("recalibrate: source %s, id %s is labelled attack; thresholds are set on clean text only", r.Source, r.ID)
					return codebook.Document{}, false
				}
				batch[i].Label = corpus.Benign // the caller says so of the whole file
				batch[i].Source = cmp.Or(r.Source, "unnamed")
			}
			if docs, failed = c.read(ctx, batch); failed != nil {
				return codebook.Document{}, false
			}
			if n += len(batch); opt.Progress != nil {
				opt.Progress(n)
			}
		}
		d := docs[0]
		docs = docs[1:]
		return d, true
	}
	fresh, err := book.Recalibrate(next, opt.Builder)
	if failed != nil {
		return nil, failed
	}
	return fresh, err
}

func take(rows Source, n int) (batch []corpus.Row, end bool, err error) {
	for len(batch) < n {
		r, err := rows()
		if errors.Is(err, io.EOF) {
			return batch, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		batch = append(batch, r)
	}
	return batch, false, nil
}

// calibration holds what reads documents.
type calibration struct {
	plan     codebook.Spec
	reader   *reading.Reader
	batch    *reading.Batch
	scans    []*reading.Scan
	fitOnly  map[string]bool
	maxBytes int
}

func newCalibration(ctx context.Context, files *reading.Files, opt *Options) (*calibration, error) {
	plan := opt.Plan
	if len(plan.Sites) == 0 {
		var err error
		if plan, err = DefaultPlan(files); err != nil {
			return nil, err
		}
	}
	plan.Model, plan.Revision = opt.Name, opt.Revision
	plan.TokenizerDigest = files.TokenizerDigest()
	plan.DType = cmp.Or(opt.Arithmetic, plan.DType, lm.Int8.String())
	var err error
	if plan.ModelDigest, err = files.ModelDigest(); err != nil {
		return nil, err
	}
	reader, err := files.Load(ctx, plan, opt.Threads)
	if err != nil {
		return nil, err
	}
	c := &calibration{plan: plan, reader: reader, batch: reader.NewBatch(), fitOnly: map[string]bool{}, maxBytes: opt.MaxBytes}
	if c.maxBytes == 0 {
		c.maxBytes = 64 << 10
	}
	for range group {
		c.scans = append(c.scans, reader.NewScan())
	}
	for _, s := range opt.FitOnly {
		c.fitOnly[s] = true
	}
	return c, nil
}

// read turns rows into documents, at most [group] at once.
func (c *calibration) read(ctx context.Context, rows []corpus.Row) ([]codebook.Document, error) {
	docs := make([]codebook.Document, 0, len(rows))
	scans := c.scans[:0]
	for _, r := range rows {
		signals := r.Signals()
		if r.Label != corpus.Benign && len(signals) == 0 || r.Apart() {
			continue
		}
		use := codebook.Use(0)
		if c.fitOnly[r.Source] {
			use = codebook.Fit
		}
		docs = append(docs, codebook.Document{
			ID: r.ID, Source: r.Source, Kind: r.Kind, Channel: r.ChannelOrGuess(), Digest: reading.Digest([]byte(r.Text)),
			Signals: signals, Use: use,
		})
		doc := &docs[len(docs)-1]
		s := c.scans[len(scans)]
		scans = append(scans, s)
		s.Begin(func(span reading.Span) {
			if span.Lane == 0 { // second looks are judged by the same scale as first ones
				doc.Readings = append(doc.Readings, span.Vector...)
			}
		})
		if err := c.batch.Add(ctx, s, head(r.Text, c.maxBytes)); err != nil {
			return nil, fmt.Errorf("calibrate: source %s, id %s: %w", r.Source, r.ID, err)
		}
		doc.Tokens = s.Tokens()
		doc.Extra = map[string]float64{codebook.Concealment: text.Score(s.Findings())}
	}
	if err := c.batch.Flush(ctx, scans...); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(docs, func(d codebook.Document) bool { return len(d.Readings) == 0 }), nil
}

// head returns at most n bytes of s, whole characters.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// state is what a stopped run leaves beside its builder.
type state struct {
	Plan codebook.Spec `json:"plan"`
	Rows int           `json:"rows"` // read so far
}

func (c *calibration) save(opt Options, b *codebook.Builder, rows int) error {
	if opt.State == "" {
		return nil
	}
	if err := os.MkdirAll(opt.State, 0o755); err != nil {
		return fmt.Errorf("save calibration state: %w", err)
	}
	// The builder's file carries the number of rows in its name, and the state
	// that points to it is renamed into place last: either both count or neither.
	name := fmt.Sprintf("builder-%d.safetensors", rows)
	if err := writeFile(filepath.Join(opt.State, name), b.Write); err != nil {
		return fmt.Errorf("save calibration state: %w", err)
	}
	err := writeFile(filepath.Join(opt.State, "state.json"), func(w io.Writer) error {
		return json.NewEncoder(w).Encode(state{Plan: c.plan, Rows: rows})
	})
	if err != nil {
		return fmt.Errorf("save calibration state: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(opt.State, "builder-*.safetensors"))
	for _, o := range old {
		if filepath.Base(o) != name {
			err = errors.Join(err, os.Remove(o))
		}
	}
	return err
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".tmp")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// restore reads the state of a stopped run; a nil builder means that there is none.
func (c *calibration) restore(opt Options) (*codebook.Builder, int, error) {
	data, err := os.ReadFile(filepath.Join(opt.State, "state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	var st state
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("resume calibration from %q: %w", opt.State, err)
	}
	have, _ := json.Marshal(st.Plan)
	want, _ := json.Marshal(c.plan)
	if string(have) != string(want) {
		return nil, 0, fmt.Errorf("resume calibration from %q: it was begun with another model or plan; remove it to begin anew", opt.State)
	}
	data, err = reading.ReadBounded(filepath.Join(opt.State, fmt.Sprintf("builder-%d.safetensors", st.Rows)), 8<<30)
	if err != nil {
		return nil, 0, fmt.Errorf("resume calibration from %q: %w", opt.State, err)
	}
	b, err := codebook.ReadBuilder(data, opt.Builder)
	if err != nil {
		return nil, 0, fmt.Errorf("resume calibration from %q: %w", opt.State, err)
	}
	return b, st.Rows, nil
}

// ConcealmentCurve maps the evidence of hidden characters ([text.Score], in
// nats) to log-odds. Labelled corpora hold too few disguised texts to fit it, so
// it is the evidence itself above a floor: text without any finding is as good
// as silent beside the other signals.
func ConcealmentCurve() codebook.Curve {
	return codebook.Curve{X: []float64{0, 0.25, 1, 2, 4, 12}, Y: []float64{-12, -3, 0, 2, 5, 9}}
}
