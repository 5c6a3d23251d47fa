package text

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The labelled corpora say how often ordinary text looks concealed. Bounds are three times the shares measured on
// 2026-11-24: 0.05 % of prompts, 0.2 % of documents, 0.3 % of tool output score above 0.1. Rows that quote attacks and
// hard negatives hold real disguises and are not counted. The rules were corrected once after reading what these same rows,
// train and dev, had set off (before: 0.06, 0.48 and 2.6 %), so the shares are no estimate for new text.
func TestCorpora(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 48 MB")
	}
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the package")
		}
		dir = filepath.Dir(dir)
	}
	files, err := filepath.Glob(filepath.Join(dir, "..", "shared", "data", "*", "*.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no corpora in ../shared/data")
	}
	var in Inspector
	rows, high := map[string]int{}, map[string]int{}
	for _, name := range files {
		eachRow(t, name, func(id, text, kind string) {
			var all []Finding
			for b := []byte(text); len(b) > 0; {
				n := Cut(b, true)
				segment := string(b[:n])
				b = b[n:]
				res := in.Inspect(segment)
				checkResult(t, segment, res)
				all = append(all, res.Findings...)
			}
			rows[kind]++
			if Score(all) > 0.1 {
				high[kind]++
			}
		})
	}
	for kind, limit := range map[string]float64{"benign_prompt": 0.0015, "benign_document": 0.006, "benign_tool_output": 0.01} {
		share := float64(high[kind]) / float64(rows[kind])
		t.Logf("%s: %d of %d rows (%.2f %%) score above 0.1", kind, high[kind], rows[kind], 100*share)
		if share > limit {
			t.Errorf("%s: %.4f of rows score above 0.1, want at most %.4f", kind, share, limit)
		}
	}
}

func eachRow(t *testing.T, name string, f func(id, text, kind string)) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unzip)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var row struct{ ID, Text, Kind string }
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatalf("%s: %v", filepath.Base(name), err)
		}
		f(row.ID, row.Text, row.Kind)
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("%s: %v", filepath.Base(name), err)
	}
}
