package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var goldenFile = flag.String("golden", "testdata/golden.jsonl", "ids and offsets of the reference, as gen/golden.mjs writes them")

// testTokenizers returns the small tokenizers of testdata, made by gen/train.go.
func testTokenizers(t testing.TB) map[string]*Tokenizer {
	t.Helper()
	names, err := filepath.Glob("testdata/*.json")
	if err != nil || len(names) == 0 {
		t.Fatal("testdata has no tokenizers", err)
	}
	all := map[string]*Tokenizer{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[filepath.Base(name)] = tok
	}
	return all
}

// TestGolden compares with the reference on texts that mix everything that its parts treat differently. A longer comparison:
//
//	NODE_MODULES=… node gen/golden.mjs 5000 7 testdata/*.json > /tmp/g.jsonl && go test -run Golden -golden /tmp/g.jsonl .
func TestGolden(t *testing.T) {
	data, err := os.ReadFile(*goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	toks := testTokenizers(t)
	failed := map[string]int{}
	n := 0
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var want struct {
			Tokenizer, Text string
			IDs             []int32
			Offsets         [][2]int
		}
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		tok := toks[want.Tokenizer]
		if tok == nil {
			tok = toks[filepath.Base(want.Tokenizer)]
		}
		if tok == nil {
			data, err := os.ReadFile(want.Tokenizer)
			if err != nil {
				t.Fatal(err)
			}
			tok = mustParse(t, data)
			toks[want.Tokenizer] = tok
		}
		n++
		var e Encoding
		if err := tok.EncodeTemplate(&e, want.Text); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.IDs, want.IDs) {
			if failed[want.Tokenizer]++; failed[want.Tokenizer] <= 3 {
				t.Errorf("%s: Encode(%q)\n got %v\n     %q\nwant %v\n     %q", want.Tokenizer, want.Text, e.IDs, spellings(tok, e.IDs), want.IDs, spellings(tok, want.IDs))
			}
			continue
		}
		checkEncoding(t, &e, want.Text)
		if len(e.Lost) > 0 || len(tok.normalizers) > 0 && want.Tokenizer != "spm.json" {
			continue // the reference's offsets shift by what it lost, and cover less than what a normaliser changed
		}
		for i, w := range want.Offsets {
			start, end := charOffsets(want.Text, int(e.Start[i]), int(e.End[i]))
			if e.Start[i] == e.End[i] {
				continue // put in by a normaliser
			}
			if start != w[0] || end != w[1] {
				t.Errorf("%s: Encode(%q): token %d is at characters %d to %d, want %v", want.Tokenizer, want.Text, i, start, end, w)
				break
			}
		}
	}
	if n < 1000 && *goldenFile == "testdata/golden.jsonl" {
		t.Errorf("%d texts, want at least 1000", n)
	}
	for name, k := range failed {
		t.Errorf("%s: %d texts differ", name, k)
	}
}

func spellings(tok *Tokenizer, ids []int32) (s []string) {
	for _, id := range ids {
		s = append(s, tok.Token(id))
	}
	return s
}

// charOffsets turns a range of bytes into the range of characters that it touches.
func charOffsets(text string, start, end int) (int, int) {
	for start > 0 && !utf8.RuneStart(text[start]) {
		start--
	}
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end++
	}
	return utf8.RuneCountInString(text[:start]), utf8.RuneCountInString(text[:end])
}

// checkEncoding checks what holds of every encoding: offsets in order and in range, and that with Lost they cover the text.
func checkEncoding(t testing.TB, e *Encoding, text string) {
	t.Helper()
	if len(e.Start) != len(e.IDs) || len(e.End) != len(e.IDs) {
		t.Fatalf("%d ids, %d starts, %d ends", len(e.IDs), len(e.Start), len(e.End))
	}
	covered := make([]bool, len(text))
	cover := func(start, end, done int32) {
		if start < 0 || start > end || int(end) > len(text) {
			t.Fatalf("Encode(%q): range %d to %d", text, start, end)
		}
		for i := max(start, done); i < end; i++ {
			covered[i] = true
		}
	}
	for i := range e.IDs {
		done := int32(0)
		if i > 0 && e.Start[i] <= e.End[i-1] && e.Start[i-1] <= e.Start[i] {
			done = e.End[i-1]
		}
		cover(e.Start[i], e.End[i], done)
		if i > 0 && (e.Start[i] < e.Start[i-1] || e.End[i] < e.End[i-1]) {
			t.Fatalf("Encode(%q): offsets %d to %d after %d to %d", text, e.Start[i], e.End[i], e.Start[i-1], e.End[i-1])
		}
	}
	for i, r := range e.Lost {
		cover(r.Start, r.End, 0)
		if r.Start == r.End || i > 0 && r.Start <= e.Lost[i-1].End {
			t.Fatalf("Encode(%q): lost %v", text, e.Lost)
		}
	}
	if i := slices.Index(covered, false); i >= 0 {
		t.Fatalf("Encode(%q): byte %d is in no token and not lost", strings.ToValidUTF8(text, "?"), i)
	}
}
