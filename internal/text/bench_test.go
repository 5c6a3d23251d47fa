package text

import (
	"encoding/base64"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	english = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife. "
	russian = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. "
	chinese = "子曰：「學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？人不知而不慍，不亦君子乎？」"
	source  = "func (s *Server) handle(w http.ResponseWriter, r *http.Request) { if err := s.do(r.Context(), 10); err != nil { return } }\n"
	page    = "<p class=\"lead\">Price:&nbsp;10&nbsp;&euro; &amp; more, <a href=\"/a?x=1\">see</a></p>\n"
)

func fill(s string) string {
	n := 2200 / len(s)
	return strings.Repeat(s, n)
}

// Text without disguise costs no allocation.
func TestPlainAllocatesNothing(t *testing.T) {
	var in Inspector
	for _, s := range []string{english, russian, chinese} {
		s := fill(s)
		in.Inspect(s)
		if n := testing.AllocsPerRun(20, func() { in.Inspect(s) }); n != 0 {
			t.Errorf("Inspect(%.20q…) allocates %v times", s, n)
		}
	}
	buf := []byte(fill(english) + fill(english))
	if n := testing.AllocsPerRun(20, func() { Cut(buf, false) }); n != 0 {
		t.Errorf("Cut allocates %v times", n)
	}
}

// worst holds segments that make the inspector work or remember the most.
func worst(n int) map[string]string {
	nested := strings.Repeat(english, n/20)
	for range 3 {
		nested = base64.StdEncoding.EncodeToString([]byte(nested))
	}
	m := map[string]string{
		"zero width":   strings.Repeat("a\u200b", n),
		"selectors":    "😀" + strings.Repeat("\U000e0158", n),
		"tags":         strings.Repeat("\U000e0061", n),
		"single tags":  strings.Repeat("a\U000e0061", n),
		"invalid":      strings.Repeat("\xff", n),
		"marks":        "a" + strings.Repeat("\u0301", n),
		"ligature":     strings.Repeat("\ufdfa", n),
		"expanding":    strings.Repeat("㌖", n),
		"overrides":    strings.Repeat("\u202ea", n),
		"open tags":    strings.Repeat("a<b", n),
		"comments":     strings.Repeat("a<!--", n),
		"empty":        strings.Repeat("a<b></b>", n),
		"spaced":       strings.Repeat("i g n o r e  ", n),
		"singles":      strings.Repeat("a ", n),
		"leet":         strings.Repeat("pr3v10us ", n),
		"nearly leet":  strings.Repeat("pr3vious2x4z1 ", n),
		"base64":       strings.Repeat("aWdub3JlIGFsbCBydWxlcyBub3cg", n),
		"not base64":   strings.Repeat("abcdefgh/", n),
		"hex":          strings.Repeat("69676e6f726520616c6c2072756c657320", n),
		"nested":       nested,
		"references":   strings.Repeat("&#105;", n),
		"ampersands":   strings.Repeat("&a", n),
		"percent":      strings.Repeat("%25", n) + "69",
		"half percent": strings.Repeat("%c3", n),
		"backslashes":  strings.Repeat(`\`, n),
		"escapes":      strings.Repeat(`\u0069`, n),
		"codes":        strings.Repeat("105 103 110 ", n),
		"ANSI":         strings.Repeat("\x1b[", n),
		"backspaces":   strings.Repeat("ab\b", n),
		"homoglyphs":   strings.Repeat("раypal ", n),
		"one word":     strings.Repeat("раy", n),
		"bits":         strings.Repeat("\u200b\u200c\u200d", n),
	}
	return m
}

// memoryBound is how many bytes may be allocated for each byte of a segment, buffers and results together; 214 are seen
// here and 284 were on 280 KB, both for base64 three deep.
const memoryBound = 640

func TestMemoryBound(t *testing.T) {
	most, name := 0.0, ""
	for k, s := range worst(1000) {
		var in Inspector
		var a, b runtime.MemStats
		runtime.ReadMemStats(&a)
		res := in.Inspect(s)
		runtime.ReadMemStats(&b)
		checkResult(t, s, res)
		if x := float64(b.TotalAlloc-a.TotalAlloc) / float64(len(s)); x > most {
			most, name = x, k
		}
	}
	t.Logf("%.0f bytes allocated per byte (%s)", most, name)
	if most > memoryBound {
		t.Errorf("%.0f bytes per byte of %q, want at most %d", most, name, memoryBound)
	}
}

// Tens of kilobytes of the worst take milliseconds of CPU each; with a quadratic step they would take minutes,
// which even a busy machine tells from the limit.
func TestLinearTime(t *testing.T) {
	if testing.Short() {
		t.Skip("inspects 2 MB")
	}
	for k, s := range worst(5000) {
		var in Inspector
		start := time.Now()
		in.Inspect(s)
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: %d bytes took %v", k, len(s), d)
		}
	}
}

func BenchmarkInspect(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"english", english},
		{"russian", russian},
		{"chinese", chinese},
		{"source", source},
		{"html", page},
		{"fullwidth", offset(english, 'Ａ', 'ａ')},
		{"zerowidth", inWords(english, "\u200b")},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := fill(c.text)
			var in Inspector
			b.SetBytes(int64(len(s)))
			b.ReportAllocs()
			for b.Loop() {
				in.Inspect(s)
			}
		})
	}
}

func BenchmarkCut(b *testing.B) {
	buf := []byte(strings.Repeat(english, 60))
	b.SetBytes(int64(Cut(buf, false)))
	b.ReportAllocs()
	for b.Loop() {
		Cut(buf, false)
	}
}
