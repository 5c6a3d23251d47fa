package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alkimiadev/alknet-firewall/internal/corpus"
)

// TestSample: of every source and label as many rows as asked for, the same
// ones in whatever order they stand.
func TestSample(t *testing.T) {
	var lines []string
	for i := range 60 {
		label := []string{corpus.Attack, corpus.Benign}[i%2]
		lines = append(lines, fmt.Sprintf(`{"id":"%d","text":"x","label":%q,"source":"s%d"}`, i, label, i/20))
	}
	take := func(lines []string) map[string]bool {
		name := filepath.Join(t.TempDir(), "rows.jsonl")
		if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		next, n, err := sample([]string{name}, []string{"s2"}, 3)
		if err != nil {
			t.Fatal(err)
		}
		got, groups := map[string]bool{}, map[string]int{}
		for {
			r, err := next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got[r.ID] = true
			groups[r.Source+r.Label]++
		}
		if len(got) != n || n != 12 || len(groups) != 4 {
			t.Errorf("sampled %d rows of %v, announced %d, want 12 of four groups", len(got), groups, n)
		}
		return got
	}
	a := take(lines)
	for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
		lines[i], lines[j] = lines[j], lines[i]
	}
	for id := range take(lines) {
		if !a[id] {
			t.Errorf("row %s is of the sample in one order only", id)
		}
	}
}
