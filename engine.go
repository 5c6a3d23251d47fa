package firewall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/detector"
	"github.com/alkimiadev/alknet-firewall/internal/lm"
	"github.com/alkimiadev/alknet-firewall/internal/reading"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

// CodebookFile is the name of a codebook inside a model directory.
const CodebookFile = "codebook.safetensors"

const maxCodebookBytes = 256 << 20 // 256 MiB; nano's has a few hundred KB

// engine is a loaded detector: a codebook, and a reader that gives it readings.
// It does not change once loaded.
type engine struct {
	files    *reading.Files
	reader   *reading.Reader
	book     *codebook.Codebook
	signals  []string // that the codebook reads
	detector Detector
}

func (e *engine) close() error {
	return errors.Join(e.reader.Close(), e.files.Weights.Close())
}

// loader loads an engine once, on first use. Callers that come while a load is
// under way wait for it; a failed load is forgotten, so that the next caller
// tries again.
type loader struct {
	load func(ctx context.Context) (*engine, error)

	mu      sync.Mutex
	engine  *engine
	loading chan struct{} // closed when the load under way ends; nil if none is
	err     error         // of the load that just ended, for those who waited
}

// get returns the engine, loading it if need be. The load runs under the
// context of the caller that started it; the others stop waiting when theirs
// ends, and try for themselves if the load was given up by its caller.
func (l *loader) get(ctx context.Context) (*engine, error) {
	for {
		l.mu.Lock()
		if l.engine != nil {
			defer l.mu.Unlock()
			return l.engine, nil
		}
		if l.loading == nil {
			done := make(chan struct{})
			l.loading = done
			l.mu.Unlock()
			return l.run(ctx, done)
		}
		wait := l.loading
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, failure(ClassCancelled, "wait for the detector to load", context.Cause(ctx))
		case <-wait:
		}
		l.mu.Lock()
		e, err := l.engine, l.err
		l.mu.Unlock()
		if e != nil {
			return e, nil
		}
		if err != nil && !errors.Is(err, ErrCancelled) {
			return nil, err
		}
		// The caller that loaded went away. That is no reason for us to fail.
	}
}

func (l *loader) run(ctx context.Context, done chan struct{}) (e *engine, err error) {
	defer func() {
		l.mu.Lock()
		l.engine, l.err, l.loading = e, err, nil
		l.mu.Unlock()
		close(done)
	}()
	return l.load(ctx)
}

// loadEngine reads model, tokenizer and codebook as the options say, and binds
// them: a codebook of another model is refused.
func loadEngine(ctx context.Context, opt *Options) (_ *engine, err error) {
	const op = "load detector"
	e := &engine{}
	var book []byte
	if opt.Model == nil {
		e.detector.Name, e.detector.Revision = detector.Name, detector.Revision
		weights, err := safetensors.Parse(detector.Weights())
		if err != nil {
			return nil, failure(ClassModel, op, err)
		}
		e.files = &reading.Files{Config: detector.Config(), Tokenizer: detector.Tokenizer(), Weights: weights}
		book = detector.Codebook()
	} else {
		dir, err := opt.Model.Dir(ctx)
		if err != nil {
			return nil, failure(ClassModel, op, err)
		}
		e.detector.Name = fmt.Sprint(opt.Model)
		if r, ok := opt.Model.(interface{ Revision() string }); ok {
			e.detector.Revision = r.Revision()
		}
		if e.files, err = reading.OpenFiles(dir); err != nil {
			return nil, failure(ClassModel, op, err)
		}
		if opt.Codebook == "" {
			book, err = reading.ReadBounded(filepath.Join(dir, CodebookFile), maxCodebookBytes)
			if errors.Is(err, os.ErrNotExist) {
				err = fmt.Errorf("%w (make one with: alknet-firewall calibrate)", err)
			}
			if err != nil {
				e.files.Weights.Close()
				return nil, failure(ClassCodebook, op, err)
			}
		}
	}
	defer func() {
		if err != nil {
			e.files.Weights.Close()
		}
	}()
	if opt.Codebook != "" {
		if book, err = reading.ReadBounded(opt.Codebook, maxCodebookBytes); err != nil {
			return nil, failure(ClassCodebook, op, err)
		}
	}
	if e.book, err = codebook.Read(book); err != nil {
		return nil, failure(ClassCodebook, op, err)
	}
	e.detector.Codebook = reading.Digest(book)
	e.signals = e.book.Signals()
	if e.detector.Model, err = e.files.ModelDigest(); err != nil {
		return nil, failure(ClassModel, op, err)
	}
	plan := e.book.Spec()
	if _, err := lm.ParseArithmetic(plan.DType); err != nil {
		return nil, failure(ClassCodebook, op, err)
	}
	if err := e.book.Check(e.detector.Model, e.files.TokenizerDigest(), plan.DType); err != nil {
		return nil, failure(ClassCodebook, op, err)
	}
	plan.DType = cmp.Or(opt.Arithmetic, plan.DType)
	if e.reader, err = e.files.Load(ctx, plan, opt.Threads); err != nil {
		return nil, failure(ClassModel, op, err)
	}
	return e, nil
}
