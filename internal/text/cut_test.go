package text

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func cutAll(t testing.TB, s []byte) []int {
	var cuts []int
	for len(s) > 0 {
		n := Cut(s, true)
		if n <= 0 || n > MaxSegment || n > len(s) {
			t.Fatalf("Cut(%d bytes, true) = %d", len(s), n)
		}
		cuts = append(cuts, n)
		s = s[n:]
	}
	return cuts
}

// cutStream feeds s in pieces of the sizes that next returns.
func cutStream(t testing.TB, s []byte, next func() int) []int {
	var cuts []int
	var buf []byte
	for len(s) > 0 || len(buf) > 0 {
		n := min(next(), len(s))
		buf = append(buf, s[:n]...)
		s = s[n:]
		for len(buf) > 0 {
			n := Cut(buf, len(s) == 0)
			if n == 0 {
				if len(s) == 0 || len(buf) >= MaxSegment+cutAhead {
					t.Fatalf("Cut(%d bytes, %v) = 0", len(buf), len(s) == 0)
				}
				break
			}
			cuts = append(cuts, n)
			buf = buf[n:]
		}
	}
	return cuts
}

func samples() map[string]string {
	return map[string]string{
		"prose":         strings.Repeat("The quick brown fox jumps over the lazy dog. ", 400),
		"lines":         strings.Repeat("key: value\n\n  indented\r\nnext\n", 500),
		"one letter":    strings.Repeat("a", 20000),
		"spaces":        strings.Repeat(" ", 20000),
		"newlines":      strings.Repeat("\n", 20000),
		"Chinese":       strings.Repeat("我们今天去公园。", 1500),
		"emoji":         strings.Repeat("👨‍👩‍👧‍👦", 1000),
		"spaced":        strings.Repeat("i g n o r e ", 1500),
		"continuation":  strings.Repeat("\x80", 20000),
		"truncated":     strings.Repeat("\xf0\x9f\x98", 5000),
		"percent":       strings.Repeat("%69%67", 3000),
		"references":    strings.Repeat("&#105;", 3000),
		"ideographic":   strings.Repeat("あ　い", 3000),
		"nbsp":          strings.Repeat("a\u00a0 b", 3000),
		"late newline":  strings.Repeat("x", 3000) + "\nabc " + strings.Repeat("y", 5000),
		"just short":    strings.Repeat("z", cutFrom),
		"just long":     strings.Repeat("z", MaxSegment+1),
		"exactly":       strings.Repeat("z", MaxSegment),
		"space at edge": strings.Repeat("z", MaxSegment) + " a" + strings.Repeat("z", 9),
	}
}

func TestCutIgnoresChunks(t *testing.T) {
	for name, s := range samples() {
		want := cutAll(t, []byte(s))
		rng := rand.New(rand.NewPCG(1, 2))
		for _, next := range []func() int{
			func() int { return 1 }, func() int { return 7 }, func() int { return 2560 }, func() int { return 1 << 20 },
			func() int { return 1 + rng.IntN(6000) },
		} {
			got := cutStream(t, []byte(s), next)
			if len(got) != len(want) {
				t.Fatalf("%s: %d segments, want %d", name, len(got), len(want))
			}
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%s: segment %d has %d bytes, want %d", name, i, got[i], want[i])
				}
			}
		}
	}
}

func TestCutPlaces(t *testing.T) {
	for _, tt := range []struct {
		name, left, right string
	}{
		{"space before a letter", strings.Repeat("x", 2100), " abc"},
		{"space before a digit", strings.Repeat("x", 2100), " 1"},
		{"newline before the nearest space", strings.Repeat("x", 2100) + " abc\n", "def"},
		{"newline far away is not awaited", strings.Repeat("x", 2100), " abc" + strings.Repeat("x", 600) + "\ndef"},
		{"not inside spaced-out letters", strings.Repeat("x", 2047) + " i g n o r e", " end"},
		{"two spaces are kept together", strings.Repeat("x", 2100) + "  abc", " def"},
		{"not before an indent", strings.Repeat("x", 2100) + "\n  abc", " def"},
		{"space after no-break space is kept", strings.Repeat("x", 2100) + "\u00a0 abc", " def"},
		{"beyond the window", strings.Repeat("x", 3000), " abc"},
		{"rune boundary", strings.Repeat("é", 2047) + "x", "é"},
		{"not inside an escape", strings.Repeat("x", 4094), "%69"},
		{"not before a mark", strings.Repeat("x", 4095), "e\u0301"},
		{"not inside an emoji", strings.Repeat("x", 4096-11), "👨\u200d👩\u200d👧"},
		{"not inside a reference", strings.Repeat("x", 4092), "&#105;"},
	} {
		buf := []byte(tt.left + tt.right + strings.Repeat("z", 4000))
		if got := Cut(buf, true); got != len(tt.left) {
			t.Errorf("%s: Cut = %d, want %d", tt.name, got, len(tt.left))
		}
	}
}

func TestCutEnds(t *testing.T) {
	if got := Cut(nil, true); got != 0 {
		t.Errorf("Cut(nil, true) = %d", got)
	}
	if got := Cut([]byte("short text"), false); got != 0 {
		t.Errorf("Cut(short, false) = %d, want 0", got)
	}
	if got := Cut([]byte("short text"), true); got != 10 {
		t.Errorf("Cut(short, true) = %d, want 10", got)
	}
}

func FuzzCut(f *testing.F) {
	for _, s := range samples() {
		f.Add([]byte(s[:min(len(s), 9000)]), uint64(1))
	}
	f.Fuzz(func(t *testing.T, s []byte, seed uint64) {
		if len(s) > 0 && len(s) < 6000 { // short inputs say little
			s = bytes.Repeat(s, 6000/len(s)+1)
		}
		want := cutAll(t, s)
		rng := rand.New(rand.NewPCG(seed, 1))
		got := cutStream(t, s, func() int { return 1 + rng.IntN(1+int(seed%5000)) })
		if len(got) != len(want) {
			t.Fatalf("%d segments, want %d", len(got), len(want))
		}
		at := 0
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("segment %d has %d bytes, want %d", i, got[i], want[i])
			}
			at += got[i]
		}
		if at != len(s) {
			t.Fatalf("segments have %d bytes of %d", at, len(s))
		}
		if utf8.Valid(s) {
			for _, n := range want {
				if !utf8.Valid(s[:n]) {
					t.Fatal("a cut splits a rune")
				}
				s = s[n:]
			}
		}
	})
}
