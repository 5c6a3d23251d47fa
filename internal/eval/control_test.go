package eval

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"flag"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	perSource = flag.Int("persource", 25, "rows of each source and label that the controls are trained and checked on (the reference used 400)")
	trainRows = flag.Int("trainrows", 25, "x")
)

type sharedRow struct {
	ID, Text, Label, Kind, Source, Lang string
}

func (r sharedRow) apart() bool { return r.Kind == "harmful_request" || r.Kind == "quotes_attacks" }

// sharedRows returns up to n rows of each source of a split, in an
// order that depends on their ids only.
func sharedRows(t testing.TB, split string, n int) []sharedRow {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "..", "shared", "data", split, "*.jsonl.gz"))
	if len(files) == 0 {
		t.Skip("no labelled data in ../shared/data/" + split)
	}
	bySource := map[string][]sharedRow{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(z)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			var r sharedRow
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			bySource[r.Source] = append(bySource[r.Source], r)
		}
		if err := lines.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.Close()
	}
	hash := func(s string) uint64 { h := fnv.New64a(); h.Write([]byte(s)); return h.Sum64() * 0x9e3779b97f4a7c15 }
	var rows []sharedRow
	for _, rs := range bySource {
		slices.SortFunc(rs, func(a, b sharedRow) int {
			ha, hb := hash(a.ID), hash(b.ID)
			switch {
			case ha < hb:
				return -1
			case ha > hb:
				return 1
			}
			return strings.Compare(a.ID, b.ID)
		})
		rows = append(rows, rs[:min(n, len(rs))]...)
	}
	slices.SortFunc(rows, func(a, b sharedRow) int { return strings.Compare(a.ID, b.ID) })
	return rows
}

func TestControlsOnSharedData(t *testing.T) {
	var train []Text
	for _, r := range sharedRows(t, "train", *trainRows) {
		if !r.apart() {
			train = append(train, Text{r.Text, r.Label == "attack"})
		}
	}
	dev := sharedRows(t, "dev", *perSource)
	for _, c := range []func([]Text) (Control, error){TrainNaiveBayes, TrainTFIDF} {
		start := time.Now()
		control, err := c(train)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(control.Name(), "trained", time.Since(start))
		var at, be []float64
		for _, r := range dev {
			if r.apart() {
				continue
			}
			s := control.Score(r.Text)
			if r.Label == "attack" {
				at = append(at, s)
			} else {
				be = append(be, s)
			}
		}
		slices.Sort(be)
		var auc float64
		for _, a := range at {
			lo, _ := slices.BinarySearch(be, a)
			auc += float64(lo)
		}
		tpr := func(f float64) float64 {
			th := be[len(be)-1-int(f*float64(len(be)))]
			k := 0
			for _, a := range at {
				if a > th {
					k++
				}
			}
			return float64(k) / float64(len(at))
		}
		t.Logf("%s: %d attacks %d benign AUC %.4f TPR@1%% %.3f @0.1%% %.3f", control.Name(), len(at), len(be), auc/float64(len(at)*len(be)), tpr(.01), tpr(.001))
		t.Log(time.Since(start))
	}
}
