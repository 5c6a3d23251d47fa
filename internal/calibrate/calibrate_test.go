package calibrate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/detector"
	"github.com/alkimiadev/alknet-firewall/internal/corpus"
	"github.com/alkimiadev/alknet-firewall/internal/reading"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

func nano(t *testing.T) *reading.Files {
	t.Helper()
	w, err := safetensors.Parse(detector.Weights())
	if err != nil {
		t.Fatal(err)
	}
	return &reading.Files{Config: detector.Config(), Tokenizer: detector.Tokenizer(), Weights: w}
}

// rows returns every n-th of our own calibration texts.
func rows(t *testing.T, n int) []corpus.Row {
	t.Helper()
	var out []corpus.Row
	for _, pattern := range []string{"attacks-*.jsonl", "benign-*.jsonl"} {
		names, err := filepath.Glob(filepath.Join("../../calibration", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("calibration texts: %v, %v", names, err)
		}
		i := 0
		for _, name := range names {
			read, err := corpus.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range read {
				if i++; i%n == 0 {
					out = append(out, r)
				}
			}
		}
	}
	return out
}

// source hands out rows, and fails with err after the last if it is not nil.
func source(rows []corpus.Row, err error) Source {
	return func() (corpus.Row, error) {
		if len(rows) == 0 {
			if err != nil {
				return corpus.Row{}, err
			}
			return corpus.Row{}, io.EOF
		}
		r := rows[0]
		rows = rows[1:]
		return r, nil
	}
}

func bytesOf(t *testing.T, c *codebook.Codebook) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var options = Options{
	Threads: 1,
	Builder: codebook.Options{MinCell: 20, Extras: map[string]codebook.Curve{codebook.Concealment: ConcealmentCurve()}},
}

// TestResume: a run that is stopped and taken up again gives the codebook of one
// that was not, to the byte, and leaves no state behind.
func TestResume(t *testing.T) {
	files, all := nano(t), rows(t, 15)
	want, err := Run(context.Background(), files, source(all, nil), options)
	if err != nil {
		t.Fatal(err)
	}
	opt := options
	opt.State = filepath.Join(t.TempDir(), "state")
	ctx, cancel := context.WithCancel(context.Background())
	opt.Progress = func(n int) {
		if n >= 96 {
			cancel()
		}
	}
	if _, err := Run(ctx, files, source(all, nil), opt); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled run: %v", err)
	}
	if _, err := os.Stat(filepath.Join(opt.State, "state.json")); err != nil {
		t.Fatalf("a stopped run left no state: %v", err)
	}
	opt.Progress = nil
	got, err := Run(context.Background(), files, source(all, nil), opt)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytesOf(t, got), bytesOf(t, want)) {
		t.Error("the resumed run gave another codebook")
	}
	if _, err := os.Stat(opt.State); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the finished run left its state: %v", err)
	}
	if err := got.Check(mustDigest(t, files), files.TokenizerDigest(), "int8"); err != nil {
		t.Errorf("the codebook does not fit the model it was made for: %v", err)
	}
	if got.Check("another", files.TokenizerDigest(), "int8") == nil {
		t.Error("the codebook fits another model")
	}
}

func mustDigest(t *testing.T, f *reading.Files) string {
	t.Helper()
	d, err := f.ModelDigest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRecalibrate: clean rows without labels set thresholds; attacks are refused.
func TestRecalibrate(t *testing.T) {
	files := nano(t)
	book, err := codebook.Read(detector.Codebook())
	if err != nil {
		t.Fatal(err)
	}
	var clean, attacks []corpus.Row
	for _, r := range rows(t, 15) {
		if r.Label == corpus.Benign {
			clean = append(clean, corpus.Row{ID: r.ID, Text: r.Text, Channel: "user"})
		} else {
			attacks = append(attacks, r)
		}
	}
	fresh, err := Recalibrate(context.Background(), files, book, source(clean, nil), options)
	if err != nil {
		t.Fatal(err)
	}
	_, n, err := fresh.Threshold("user", 10, 0.05)
	if err != nil || n > len(clean) {
		t.Errorf("threshold after recalibration: n = %d, %v, want at most %d", n, err, len(clean))
	}
	if got := fresh.Spec().DType; got != book.Spec().DType {
		t.Errorf("recalibration made a codebook of dtype %q from one of %q", got, book.Spec().DType)
	}
	other := options
	other.Arithmetic = map[string]string{"f32": "int8", "int8": "f32"}[book.Spec().DType]
	if _, err := Recalibrate(context.Background(), files, book, source(clean, nil), other); !errors.Is(err, codebook.ErrMismatch) {
		t.Errorf("thresholds set in %s on the densities of %s: %v, want %v", other.Arithmetic, book.Spec().DType, err, codebook.ErrMismatch)
	}
	if _, err := Recalibrate(context.Background(), files, book, source(attacks, nil), options); err == nil || strings.Contains(err.Error(), attacks[0].Text) {
		t.Errorf("thresholds set on attacks: %v", err)
	}
}

// TestErrors: a source that fails fails the run; too few rows are said to be too few.
func TestErrors(t *testing.T) {
	files := nano(t)
	broken := errors.New("disk on fire")
	if _, err := Run(context.Background(), files, source(rows(t, 180), broken), options); !errors.Is(err, broken) {
		t.Errorf("Run = %v, want the source's error", err)
	}
	if _, err := Run(context.Background(), files, source(nil, nil), options); !errors.Is(err, codebook.ErrTooFew) {
		t.Errorf("Run without rows = %v, want ErrTooFew", err)
	}
	opt := options
	opt.Arithmetic = "int4"
	if _, err := Run(context.Background(), files, source(rows(t, 10), nil), opt); err == nil {
		t.Error("an unknown arithmetic was no error")
	}
	opt = options
	opt.State = "/dev/null/state" // no directory can be made there
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, files, source(rows(t, 90), nil), opt); err == nil {
		t.Error("a state that cannot be written was no error")
	}
}
