package tokenizer

import "unicode/utf8"

// The regular expressions that are known, as they are written in tokenizer.json. Each is run by a scanner of its own: Go's regexp has no
// lookahead, and a general engine would be the slowest part of the encoder.
const (
	patternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	// The same language, as OpenAI's tiktoken writes it.
	patternR50k   = `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// A scanner returns the length of the next piece of b, which is not empty. Pieces cover the text: every one of the patterns
// matches at every position.
type scanner interface {
	next(t *classTable, b []byte) int
}

// run returns the length of the longest prefix of b whose characters are all of class c.
func (t *classTable) run(b []byte, c class) int {
	i := 0
	for i < len(b) {
		if b[i] < utf8.RuneSelf {
			if t.ascii[b[i]]&classMask != c {
				break
			}
			i++
			continue
		}
		k, n := t.of(b[i:])
		if k != c && (c != other || k != lateNumber) {
			break
		}
		i += n
	}
	return i
}

// spaces is \s+(?!\S)|\s+ on a text that begins with n bytes of white space: all of it at the end of the text, else all but its
// last character, which belongs to the word that follows, unless it is the only one.
func spaces(b []byte, n int) int {
	if n == len(b) {
		return n
	}
	if last := lastSize(b[:n]); last < n {
		return n - last
	}
	return n
}

// lastSize returns the length of the last character of valid UTF-8.
func lastSize(b []byte) int {
	_, n := utf8.DecodeLastRune(b)
	return n
}

// gpt2 scans patternGPT2.
type gpt2 struct{}

func (gpt2) next(t *classTable, b []byte) int {
	if b[0] == '\'' && len(b) > 1 {
		switch b[1] {
		case 's', 't', 'm', 'd':
			return 2
		case 'r', 'v':
			if len(b) > 2 && b[2] == 'e' {
				return 3
			}
		case 'l':
			if len(b) > 2 && b[2] == 'l' {
				return 3
			}
		}
	}
	c, n := t.of(b)
	if b[0] == ' ' && len(b) > 1 {
		if k, _ := t.of(b[1:]); k != space {
			c = k
		}
	}
	if c == space {
		return spaces(b, t.run(b, space))
	}
	if c == lateNumber {
		c = other
	}
	return n + t.run(b[n:], c)
}

// llama3 scans patternLlama3, and patternQwen2, which takes numbers one by one.
type llama3 struct {
	digits int // numbers in a piece, at most
}

func (l llama3) next(t *classTable, b []byte) int {
	if b[0] == '\'' && len(b) > 1 {
		switch b[1] | 0x20 {
		case 's', 't', 'm', 'd':
			return 2
		case 'r', 'v':
			if len(b) > 2 && b[2]|0x20 == 'e' {
				return 3
			}
		case 'l':
			if len(b) > 2 && b[2]|0x20 == 'l' {
				return 3
			}
		}
		// U+017F, the long s, is the one character outside ASCII that folds into this list.
		if len(b) > 2 && b[1] == 0xC5 && b[2] == 0xBF {
			return 3
		}
	}
	c, n := t.of(b)
	switch c {
	case letter:
		return n + t.run(b[n:], letter)
	case number:
		for i := 1; i < l.digits && n < len(b); i++ {
			k, size := t.of(b[n:])
			if k != number {
				break
			}
			n += size
		}
		return n
	}
	if b[0] != '\r' && b[0] != '\n' {
		if m := t.run(b[n:], letter); m > 0 {
			return n + m
		}
	}
	if c != space || b[0] == ' ' && len(b) > 1 && isOther(t, b[1:]) {
		n += t.run(b[n:], other)
		for n < len(b) && (b[n] == '\r' || b[n] == '\n') {
			n++
		}
		return n
	}
	n = t.run(b, space)
	for i := n; i > 0; i-- {
		if b[i-1] == '\r' || b[i-1] == '\n' {
			return i
		}
	}
	return spaces(b, n)
}

func isOther(t *classTable, b []byte) bool {
	c, _ := t.of(b)
	return c == other || c == lateNumber
}

// digits sets numbers apart from everything else, each one for itself or a run as one piece.
type digits struct{ single bool }

func (d digits) next(t *classTable, b []byte) int {
	i := 0
	for i < len(b) {
		c, n := t.of(b[i:])
		if c == number || c == lateNumber {
			if i > 0 && (d.single || !d.numeric(t, b)) {
				return i
			}
			if d.single {
				return n
			}
		} else if i > 0 && !d.single && d.numeric(t, b) {
			return i
		}
		i += n
	}
	return i
}

func (digits) numeric(t *classTable, b []byte) bool {
	c, _ := t.of(b)
	return c == number || c == lateNumber
}

// marker cuts before every occurrence of the white-space marker that does not follow another one.
type marker struct{}

const metaspace = "▁" // U+2581, the white space of SentencePiece

func (marker) next(_ *classTable, b []byte) int {
	i := 0
	for i < len(b) && at(b, i, metaspace) {
		i += len(metaspace)
	}
	for i < len(b) && !at(b, i, metaspace) {
		i++
	}
	return i
}

// each cuts before every occurrence of the white-space marker.
type each struct{}

func (each) next(_ *classTable, b []byte) int {
	i := 1
	for i < len(b) && !at(b, i, metaspace) {
		i++
	}
	return i
}

// after cuts behind every occurrence of a string.
type after string

func (s after) next(_ *classTable, b []byte) int {
	for i := range b {
		if at(b, i, string(s)) {
			return i + len(s)
		}
	}
	return len(b)
}

func at(b []byte, i int, s string) bool {
	return b[i] == s[0] && len(b)-i >= len(s) && string(b[i:i+len(s)]) == s
}

// A prefix rewrites each piece before it is scanned further: white space may be put in front of it or replaced.
type prefix struct {
	text  string // put before a piece that does not begin with it
	only  bool   // before the first piece of the caller's text alone
	space string // replaces every ' '; empty for none
}

func (p prefix) apply(dst, src *view, cuts []int32) []int32 {
	dst.reset()
	lo := 0
	for k, cut := range cuts {
		hi := int(cut)
		start, _ := src.at(lo, lo)
		piece := src.text[lo:hi]
		begins := p.text != "" && at(piece, 0, p.text) || p.space != "" && p.space == p.text && piece[0] == ' '
		if p.text != "" && !begins && (!p.only || start == 0) {
			dst.insert(p.text, start, start)
		}
		for i := lo; i < hi; {
			j := i
			for j < hi && (p.space == "" || src.text[j] != ' ') {
				j++
			}
			dst.copy(src, i, j)
			if j < hi {
				start, end := src.at(j, j+1)
				dst.insert(p.space, start, end)
				j++
			}
			i = j
		}
		lo = hi
		cuts[k] = int32(len(dst.text))
	}
	return cuts
}
