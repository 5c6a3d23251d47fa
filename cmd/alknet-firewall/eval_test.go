package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/internal/corpus"
)

// TestRank: rarer is higher whatever the log-odds, until the threshold; from
// there on log-odds decide, though p-values can fall no further.
func TestRank(t *testing.T) {
	rising := []firewall.Verdict{
		{PValue: 1, LogOdds: 5, Threshold: 9},
		{PValue: 0.2, LogOdds: -3, Threshold: 1},
		{PValue: 0.02, LogOdds: -9, Threshold: -8},
		{PValue: 0.01, LogOdds: 2, Threshold: 2},
		{PValue: 0.004, LogOdds: 3, Threshold: 2},
		{PValue: 0.004, LogOdds: -2, Threshold: -4},
	}
	last := math.Inf(-1)
	for _, v := range rising {
		r := rank(v, 0.01)
		if r <= last || math.IsNaN(r) {
			t.Errorf("p %v, log-odds %v over %v: rank %v, want above %v", v.PValue, v.LogOdds, v.Threshold, r, last)
		}
		last = r
	}
}

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
			if err == io.EOF {
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
