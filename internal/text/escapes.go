package text

import (
	"html"
	"unicode"
	"unicode/utf8"
)

const (
	maxEntity = 32 // longest named reference of HTML, with '&' and ';': 33
	// maxEscapeRun bounds how many escaped bytes are taken together. Longer runs continue in the next piece.
	maxEscapeRun = 1 << 10
)

// escapes decodes HTML character references, percent-encoding and backslash escapes where they stand.
func (in *Inspector) escapes() {
	src := in.src
	spaces, letters := 0, 0 // percent-encoded
	for i := 0; i < len(src); {
		n := 0
		switch src[i].r {
		case '&':
			n = in.entity(src[i:])
		case '%':
			n = in.encoded(src[i:], URLEncoded, 3, &letters, &spaces)
		case '\\':
			n = in.backslash(src[i:])
		}
		if n == 0 {
			in.put(src[i])
			n = 1
		}
		i += n
	}
	// Encoded spaces are ordinary; four make a sentence that a model reads worse than its target does.
	if letters >= 2 || spaces >= 4 {
		in.material[URLEncoded] += letters + spaces
	}
}

// entity decodes a reference at the start of s and returns its length, 0 if there is none.
func (in *Inspector) entity(s []atom) int {
	n := 1
	for n < len(s) && n <= maxEntity && (isASCIIAlnum(s[n].r) || s[n].r == '#' && n == 1) {
		n++
	}
	if n < 3 {
		return 0
	}
	if n < len(s) && s[n].r == ';' {
		n++
	} else if s[1].r != '#' {
		return 0 // &copy=1 in a URL
	}
	in.scratch = in.scratch[:0]
	for _, a := range s[:n] {
		in.scratch = append(in.scratch, byte(a.r))
	}
	var out string
	switch string(in.scratch) { // spares the common ones two allocations
	case "&nbsp;":
		out = "\u00a0"
	case "&amp;":
		out = "&"
	case "&lt;":
		out = "<"
	case "&gt;":
		out = ">"
	case "&quot;":
		out = "\""
	default:
		ref := string(in.scratch)
		if out = html.UnescapeString(ref); out == ref {
			return 0
		}
	}
	// Without a semicolon letters may follow the number.
	if s[1].r == '#' && s[n-1].r != ';' {
		_, size := utf8.DecodeRuneInString(out)
		n -= len(out) - size
		out = out[:size]
	}
	start, end := s[0].start, s[n-1].end
	for _, r := range out {
		in.emit(r, start, end)
		switch {
		case s[1].r == '#' && isASCIIAlnum(r):
			in.note(Entity, start, end, 1, 1)
			in.material[Entity]++
		case isLetter(r) || ignorable(r):
			in.note(Entity, start, end, 1, 0)
			in.material[Entity]++
		}
	}
	return n
}

// encoded decodes a run of %XX or \xXX, width characters each, as UTF-8, and returns its length; 0 if the first
// does not decode to something printable.
func (in *Inspector) encoded(s []atom, kind Kind, width int, letters, spaces *int) int {
	in.scratch = in.scratch[:0]
	n := 0
	for n+width <= len(s) && len(in.scratch) < maxEscapeRun && s[n].r == s[0].r && (width == 3 || s[n+1].r == 'x') {
		h, l := unhex(s[n+width-2].r), unhex(s[n+width-1].r)
		if h < 0 || l < 0 {
			break
		}
		in.scratch = append(in.scratch, byte(h<<4|l))
		n += width
		// A run that begins with junk is given up at once, not read to its end from each of its escapes.
		if len(in.scratch) == utf8.UTFMax {
			if r, _ := utf8.DecodeRune(in.scratch); !shows(r) {
				return 0
			}
		}
	}
	for i := 0; i < len(in.scratch); {
		r, size := utf8.DecodeRune(in.scratch[i:])
		a, z := i*width, (i+size)*width
		if !shows(r) {
			if i == 0 {
				return 0
			}
			for _, b := range s[a:z] {
				in.put(b)
			}
			i += size
			continue
		}
		i += size
		in.emit(r, s[a].start, s[z-1].end)
		switch {
		case isASCIIAlnum(r):
			in.note(kind, s[a].start, s[z-1].end, 1, 1)
			*letters++
		case isLetter(r) || ignorable(r):
			*letters++
		case r == ' ':
			*spaces++
		}
	}
	return n
}

// backslash decodes \uXXXX, \u{X…}, \UXXXXXXXX, \xXX and \OOO at the start of s, also behind doubled backslashes, and
// returns the length, 0 if there is none.
func (in *Inspector) backslash(s []atom) int {
	p := 1
	for p < len(s) && p < 8 && s[p].r == '\\' {
		p++
	}
	if p >= len(s) {
		return 0
	}
	number := func(from, digits, base int) (rune, int) {
		v := rune(0)
		i := from
		for ; i < len(s) && i < from+digits; i++ {
			d := unhex(s[i].r)
			if d < 0 || d >= base {
				break
			}
			v = v*rune(base) + rune(d)
		}
		return v, i - from
	}
	r, n := rune(-1), 0
	switch c := s[p].r; {
	case c == 'x':
		letters, spaces := 0, 0
		if n = in.encoded(s[p-1:], Escape, 4, &letters, &spaces); n == 0 {
			return 0
		}
		in.material[Escape] += letters
		return p - 1 + n
	case c == 'u' && p+1 < len(s) && s[p+1].r == '{':
		if v, d := number(p+2, 6, 16); d > 0 && p+2+d < len(s) && s[p+2+d].r == '}' {
			r, n = v, p+3+d
		}
	case c == 'u':
		if v, d := number(p+1, 4, 16); d == 4 {
			r, n = v, p+5
			if v >= 0xd800 && v < 0xdc00 && n+5 < len(s) && s[n].r == '\\' && s[n+1].r == 'u' {
				if w, d := number(n+2, 4, 16); d == 4 && w >= 0xdc00 && w < 0xe000 {
					r, n = (v-0xd800)<<10|(w-0xdc00)+0x10000, n+6
				}
			}
		}
	case c == 'U':
		if v, d := number(p+1, 8, 16); d == 8 {
			r, n = v, p+9
		}
	case c >= '0' && c <= '3':
		if v, d := number(p, 3, 8); d == 3 && v >= ' ' && v < 0x7f {
			r, n = v, p+3
		}
	}
	if n == 0 || !utf8.ValidRune(r) || !shows(r) {
		return 0
	}
	start, end := s[0].start, s[n-1].end
	in.emit(r, start, end)
	switch {
	case isASCIIAlnum(r):
		in.note(Escape, start, end, 1, 1)
		in.material[Escape]++
	case isLetter(r) || ignorable(r):
		in.note(Escape, start, end, 1, 0)
		in.material[Escape]++
	}
	return n
}

// shows reports whether an escape for r is worth decoding: printable, a newline, or invisible on purpose.
func shows(r rune) bool {
	return r == '\n' || r >= ' ' && r != utf8.RuneError && (unicode.IsPrint(r) || ignorable(r))
}

// unhex returns the value of a hexadecimal digit, -1 for other characters.
func unhex(r rune) int {
	switch {
	case r >= '0' && r <= '9':
		return int(r - '0')
	case r >= 'a' && r <= 'f':
		return int(r-'a') + 10
	case r >= 'A' && r <= 'F':
		return int(r-'A') + 10
	}
	return -1
}
