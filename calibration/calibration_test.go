package calibration

import (
	"bytes"
	"compress/bzip2"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write set.jsonl.bz2 anew")

// maxSet is how much of the binary the set may take.
const maxSet = 1 << 20 // 1 MiB

// TestSet: the embedded file holds the rows beside it, all of them and in order.
// It compares rows, not compressed bytes: a compressor may change with the Go release.
func TestSet(t *testing.T) {
	want := sources(t)
	if *update {
		// The standard library only reads bzip2, which packs this set a quarter smaller than gzip.
		c := exec.Command("bzip2", "-9")
		c.Stdin = bytes.NewReader(want)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("compress the set with bzip2, which must be installed: %v", err)
		}
		if err := os.WriteFile("set.jsonl.bz2", out, 0o644); err != nil {
			t.Fatal(err)
		}
		set = out
	}
	got, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(Set())))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the embedded set has %d bytes of rows, the files have %d, or they differ: run go generate ./calibration", len(got), len(want))
	}
	if len(Set()) > maxSet {
		t.Errorf("the embedded set has %d bytes, more than %d", len(Set()), maxSet)
	}
}

// sources returns the rows of the files, each checked: a row without text, label
// or source would be skipped or pooled silently when it calibrates.
func sources(t *testing.T) []byte {
	t.Helper()
	var rows []byte
	seen := map[string]string{}
	for _, label := range []string{"attack", "benign"} {
		pattern := map[string]string{"attack": "attacks-*.jsonl", "benign": "benign-*.jsonl"}[label]
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		slices.Sort(names)
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(data) {
				var r struct{ ID, Text, Label, Source string }
				if err := json.Unmarshal(line, &r); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if r.ID == "" || r.Text == "" || r.Source == "" || r.Label != label {
					t.Errorf("%s: row %q lacks a text, a source or the label of its file", name, r.ID)
				}
				key := r.Label + " " + r.ID // a codebook samples documents by both
				if before, ok := seen[key]; ok {
					t.Errorf("%s is in %s and in %s", key, before, name)
				}
				seen[key] = name
				rows = append(rows, bytes.TrimRight(line, "\n")...)
				rows = append(rows, '\n')
			}
		}
	}
	return rows
}
