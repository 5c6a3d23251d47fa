package tokenizer

import (
	"bytes"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

var textFile = flag.String("text", "../../LICENSE", "text for benchmarks")

// benchTokenizers are those to measure: real ones where they are, else one of testdata.
func benchTokenizers(b *testing.B, run func(b *testing.B, tok *Tokenizer)) {
	for _, path := range [][]string{
		{"smollm2", "tokenizer.json"},
		{"tokenizers", "gpt2", "tokenizer.json"},
		{"tokenizers", "pythia", "tokenizer.json"},
		{"tokenizers", "tinyllama", "tokenizer.json"},
	} {
		b.Run(path[len(path)-2], func(b *testing.B) { run(b, mustParse(b, shared(b, path...))) })
	}
	b.Run("nano", func(b *testing.B) {
		data, err := os.ReadFile("testdata/nano.json")
		if err != nil {
			b.Fatal(err)
		}
		run(b, mustParse(b, data))
	})
}

func BenchmarkEncode(b *testing.B) {
	data, err := os.ReadFile(*textFile)
	if err != nil {
		b.Fatal(err)
	}
	for len(data) < 1<<20 {
		data = append(data, data...)
	}
	text := string(data[:1<<20])
	benchTokenizers(b, func(b *testing.B, tok *Tokenizer) {
		var e Encoding
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			e.Reset()
			if err := tok.Encode(&e, text); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(text))/float64(len(e.IDs)), "bytes/token")
	})
}

// BenchmarkSegments encodes as screening does, 2 KiB at a time.
func BenchmarkSegments(b *testing.B) {
	data, err := os.ReadFile(*textFile)
	if err != nil {
		b.Fatal(err)
	}
	text := string(data)
	benchTokenizers(b, func(b *testing.B, tok *Tokenizer) {
		var e Encoding
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			for rest := text; rest != ""; {
				n := min(2048, len(rest))
				e.Reset()
				if err := tok.Encode(&e, rest[:n]); err != nil {
					b.Fatal(err)
				}
				rest = rest[n:]
			}
		}
	})
}

func BenchmarkOneLetter(b *testing.B) {
	for _, size := range []int{1 << 20, 10 << 20} {
		text := strings.Repeat("a", size)
		b.Run(map[int]string{1 << 20: "1MB", 10 << 20: "10MB"}[size], func(b *testing.B) {
			benchTokenizers(b, func(b *testing.B, tok *Tokenizer) {
				var e Encoding
				b.SetBytes(int64(size))
				for b.Loop() {
					e.Reset()
					if err := tok.Encode(&e, text); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkParse(b *testing.B) {
	data := shared(b, "smollm2", "tokenizer.json")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, data)
	}
}

// TestLongWords holds the time for words of a megabyte far below quadratic. The words are those that have most to merge: one letter,
// two that alternate, a run of marks that a normaliser must sort, and white space.
func TestLongWords(t *testing.T) {
	for name, tok := range testTokenizers(t) {
		for _, unit := range []string{"a", "th", "the ", "\u0301\u0323", " ", "\x04", "\xff", "한", "1", "'", "▁", "<|"} {
			text := strings.Repeat(unit, (256<<10)/len(unit))
			var e Encoding
			start := time.Now()
			if err := tok.Encode(&e, text); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d > 20*time.Second { // 0.1 s on an idle machine; quadratic time would be minutes
				t.Errorf("%s: 256 KiB of %q took %v", name, unit, d)
			}
			checkEncoding(t, &e, text)
		}
	}
}

// TestAllocations holds that nothing is allocated for a text once the memory is there.
func TestAllocations(t *testing.T) {
	text := string(bytes.Repeat([]byte("The orders of 1999 say: don't écrire «e\u0301» 日本語 \xff!\n"), 40))
	for name, tok := range testTokenizers(t) {
		var e Encoding
		n := math.Inf(1)
		for range 30 { // the pool may be emptied in between, and drops at random under the race detector
			n = min(n, testing.AllocsPerRun(1, func() {
				e.Reset()
				if err := tok.Encode(&e, text); err != nil {
					t.Fatal(err)
				}
			}))
		}
		if n > 0 {
			t.Errorf("%s: %v allocations for a text", name, n)
		}
	}
}
