package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alkimiadev/alknet-firewall/detector"
)

// stopper is a standard error that ends a context when it reads a word.
type stopper struct {
	bytes.Buffer
	word string
	stop func()
}

func (s *stopper) Write(b []byte) (int, error) {
	if strings.Contains(string(b), s.word) {
		s.stop()
	}
	return s.Buffer.Write(b)
}

// TestCalibrateStopped: a run that was stopped is taken up by the same command,
// thrown away by another one, and leaves nothing behind when it is done.
func TestCalibrateStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("it calibrates three times")
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"config.json": detector.Config(), "tokenizer.json": detector.Tokenizer(), "model.safetensors": detector.Weights()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("XDG_CONFIG_HOME", dir)
	book := filepath.Join(dir, "codebook.safetensors")
	calibrate := func(ctx context.Context, errs io.Writer, rows string) error {
		ui := newTUI(strings.NewReader(""), io.Discard, errs)
		ui.sparse = 0 // a line for each step: something to stop at
		root := newRoot(ui)
		root.SetArgs([]string{"calibrate", "--model", dir, "--rows", rows})
		return root.ExecuteContext(ctx)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := calibrate(ctx, &stopper{word: "calibrate: 64 of", stop: cancel}, "1"); !errors.Is(err, context.Canceled) {
		t.Fatalf("a stopped run: %v", err)
	}
	if _, err := os.Stat(filepath.Join(book+".state", "state.json")); err != nil {
		t.Fatalf("a stopped run left no state: %v", err)
	}
	var errs bytes.Buffer
	again, cancel := context.WithCancel(context.Background())
	other := &stopper{word: "calibrate: 32 of", stop: cancel}
	if err := calibrate(again, other, "2"); !strings.Contains(other.String(), "beginning anew") {
		t.Errorf("on other rows the state was taken up (%v): %s", err, other)
	}
	if err := calibrate(context.Background(), &errs, "2"); err != nil || strings.Contains(errs.String(), "anew") {
		t.Errorf("the same command again: %v: %s", err, &errs)
	}
	if _, err := os.Stat(book); err != nil {
		t.Errorf("no codebook: %v", err)
	}
	if _, err := os.Stat(book + ".state"); !os.IsNotExist(err) {
		t.Errorf("the finished run left its state: %v", err)
	}
}
