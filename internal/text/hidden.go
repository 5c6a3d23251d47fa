package text

import (
	"unicode"
	"unicode/utf8"
)

const (
	zwsp, zwnj, zwj = 0x200b, 0x200c, 0x200d
	softHyphen      = 0xad
	byteOrderMark   = 0xfeff
	rlo, lro, pdf   = 0x202e, 0x202d, 0x202c
	pdi             = 0x2069
	escapeByte      = 0x1b
	blackFlag       = 0x1f3f4
	cancelTag       = 0xe007f

	// maxANSI is how many parameter bytes of an ANSI escape sequence are taken.
	maxANSI = 32
)

// overrides turns text under a right-to-left override to the order in which it shows. All characters of such a stretch
// map to the whole stretch, so that offsets stay in order.
func (in *Inspector) overrides() {
	src := in.src
	for i := 0; i < len(src); i++ {
		if src[i].r != rlo {
			in.put(src[i])
			continue
		}
		j, rtl := i+1, 0
		for j < len(src) && src[j].r != pdf && src[j].r != pdi && src[j].r != '\n' {
			if scriptOf(src[j].r) == rtlScript {
				rtl++
			}
			j++
		}
		body := src[i+1 : j]
		start, end := src[i].start, src[j-1].end
		if j < len(src) && src[j].r == pdf {
			end = src[j].end
		} else {
			j--
		}
		in.changed = true
		if rtl > 0 {
			in.note(Bidi, src[i].start, src[i].end, 1, 0.2) // runs from right to left without help; odd, not backwards
			for _, a := range body {
				in.put(a)
			}
		} else if len(body) > 0 {
			in.note(Bidi, start, end, len(body), 1)
			in.material[Bidi] += len(body)
			for k := len(body) - 1; k >= 0; k-- {
				in.emit(body[k].r, start, end)
			}
		}
		i = j
	}
}

// invisible removes ignorable characters except where spelling or emoji need them, and decodes what tags and variation
// selectors carry.
func (in *Inspector) invisible() {
	src := in.src
	shy := -2 // length of dst at the last soft hyphen
	for i := 0; i < len(src); {
		if !ignorable(src[i].r) {
			in.put(src[i])
			i++
			continue
		}
		j := i + 1
		for j < len(src) && ignorable(src[j].r) {
			j++
		}
		next := rune(0)
		if j < len(src) {
			next = src[j].r
		}
		prev := in.last()
		inWord := isLetter(prev) && isLetter(next)
		long, tryBits := j-i >= 8, true
		for k := i; k < j; {
			a := src[k]
			in.changed = true
			switch r := a.r; {
			case r >= badByte:
				k = in.invalid(src, k, j, inWord)
			case r == escapeByte && k+1 == j && next == '[':
				// An ANSI sequence: parameters 0x20–0x3F, then one final byte (ECMA-48, section 5.4).
				k += 2
				for n := 0; k < len(src) && n < maxANSI && src[k].r >= 0x20 && src[k].r <= 0x3f; n++ {
					k++
				}
				if k < len(src) && src[k].r >= 0x40 && src[k].r <= 0x7e {
					k++
				}
				j = k
				factor := 0.0
				if k < len(src) && isLetter(prev) && isLetter(src[k].r) {
					factor = 0.5
					in.material[Control]++
				}
				in.note(Control, a.start, src[k-1].end, k-i, factor)
			case r == '\b' && len(in.dst) > 0:
				// Printing terminals strike over; pagers of manual pages still rely on it.
				factor := 0.5
				if r := in.last(); r == next || r == '_' || next == '_' {
					factor = 0.05
				}
				in.dst = in.dst[:len(in.dst)-1]
				in.note(Control, a.start, a.end, 1, factor)
				in.material[Control]++
				k++
			case r < 0xa0:
				if inWord && r >= 0x80 {
					in.note(Control, a.start, a.end, 1, 0.1) // text that went through the wrong code page
					in.material[Control]++
				} else {
					in.hide(Control, a, inWord, 0.05)
				}
				k++
			case r > 0xe0000 && r <= cancelTag:
				k = in.tags(src, k, j, next)
			case isSelector(r):
				k = in.selectors(src, k, j, next)
			case r == 0x200e || r == 0x200f || r == 0x61c || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
				switch {
				case r == rlo || r == lro:
					in.note(Bidi, a.start, a.end, 1, 0.5)
				case in.letters[rtlScript] > 0:
					in.put(a) // as the standard means it
				case inWord:
					in.note(Bidi, a.start, a.end, 1, 0.2)
					in.material[Bidi]++
				default:
					in.note(Bidi, a.start, a.end, 1, 0.02)
				}
				k++
			default:
				if tryBits {
					if n := in.bits(src[k:j]); n > 0 {
						k += n
						continue
					}
					tryBits = false // once a run: linear time
				}
				switch {
				case joins(r, in.last(), next) || r == byteOrderMark && (prev == 0 || prev == '\n'):
					in.put(a)
				case r == softHyphen:
					factor := 0.0
					if len(in.dst)-shy == 1 {
						factor = 1 // hyphenation leaves two letters at least
					}
					shy = len(in.dst)
					in.note(ZeroWidth, a.start, a.end, 1, factor)
					if inWord {
						in.material[ZeroWidth]++
					}
				case long:
					in.note(ZeroWidth, a.start, a.end, 1, 0.5)
					in.material[ZeroWidth]++
				default:
					in.hide(ZeroWidth, a, inWord, 0.1)
				}
				k++
			}
		}
		i = j
	}
	// Characters that were put back may equal what was read; then nothing changed.
	if len(in.dst) == len(src) {
		in.changed = false
		for i := range src {
			if in.dst[i] != src[i] {
				in.changed = true
				break
			}
		}
	}
}

// hide drops an atom, at full weight and for the view inside a word, else at the given factor.
func (in *Inspector) hide(k Kind, a atom, inWord bool, outside float64) {
	if inWord {
		in.note(k, a.start, a.end, 1, 1)
		in.material[k]++
		return
	}
	in.note(k, a.start, a.end, 1, outside)
}

// joins reports whether an invisible character is part of correct spelling or of an emoji between prev and next.
func joins(r, prev, next rune) bool {
	p, n := scriptOf(prev), scriptOf(next)
	switch r {
	case zwnj, zwj:
		if p == rtlScript || p == joiningScript {
			return true
		}
		return r == zwj && (pictographic(prev) || prev == 0xfe0f || prev == cancelTag) && pictographic(next)
	case zwsp, 0x2060:
		return p == joiningScript || n == joiningScript || p == cjkScript || n == cjkScript
	case 0x17b4, 0x17b5, 0x180e:
		return p == joiningScript
	case 0x115f, 0x1160, 0x3164, 0xffa0: // fillers
		return p == cjkScript || n == cjkScript
	case 0x34f: // combining grapheme joiner: sorting of marks
		return p == rtlScript || p == joiningScript
	}
	return false
}

// pictographic reports characters that emoji sequences are made of; a superset of Extended_Pictographic (UTS #51).
func pictographic(r rune) bool {
	switch {
	case r >= 0x1f000 && r <= 0x1faff:
		return true
	case r >= 0x2190 && r <= 0x2bff:
		return true
	case r == 0xa9, r == 0xae, r == 0x203c, r == 0x2049, r == 0x2122, r == 0x2139, r == 0x3030, r == 0x303d, r == 0x3297, r == 0x3299:
		return true
	}
	return false
}

func isSelector(r rune) bool {
	return r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef || r >= 0x180b && r <= 0x180f && r != 0x180e
}

// selects reports whether a variation sequence of base and selector may exist (UTS #37, StandardizedVariants.txt).
func selects(base, r rune) bool {
	s := scriptOf(base)
	switch {
	case r >= 0x180b && r <= 0x180f:
		return s == joiningScript
	case r >= 0xe0100:
		return s == cjkScript
	case r >= 0xfe0e: // text and emoji style
		return pictographic(base) || base >= '0' && base <= '9' || base == '#' || base == '*'
	case r <= 0xfe02:
		return s == cjkScript || s == joiningScript || s == common && base >= 0x80 || base == '0'
	}
	return s == common && base >= 0x80
}

// selectors handles src[k:j), which begins with variation selectors, and returns where they end.
func (in *Inspector) selectors(src []atom, k, j int, next rune) int {
	if selects(in.last(), src[k].r) {
		in.put(src[k])
		k++
	}
	e := k
	for e < j && isSelector(src[e].r) {
		e++
	}
	if e == k {
		return k
	}
	run := src[k:e]
	if len(run) == 1 {
		in.note(Variation, run[0].start, run[0].end, 1, 0.1)
	} else {
		in.note(Variation, run[0].start, run[len(run)-1].end, len(run), float64(len(run)))
	}
	// The usual smuggling: selector n of 256 is byte n.
	in.scratch = in.scratch[:0]
	for _, a := range run {
		b := byte(0)
		switch {
		case a.r >= 0xe0100:
			b = byte(a.r - 0xe0100 + 16)
		case a.r >= 0xfe00:
			b = byte(a.r - 0xfe00)
		}
		in.scratch = append(in.scratch, b)
	}
	in.smuggled(Variation, run, in.scratch, next)
	return e
}

// tags handles src[k:j), which begins with tag characters, and returns where they end.
func (in *Inspector) tags(src []atom, k, j int, next rune) int {
	e := k
	for e < j && src[e].r > 0xe0000 && src[e].r <= cancelTag {
		e++
	}
	run := src[k:e]
	in.scratch = in.scratch[:0]
	for _, a := range run {
		in.scratch = append(in.scratch, byte(a.r-0xe0000))
	}
	// The three flags that exist, up to the cancel tag (UTS #51, annex B).
	if in.last() == blackFlag && len(run) >= 6 && run[5].r == cancelTag {
		switch string(in.scratch[:5]) {
		case "gbeng", "gbsct", "gbwls":
			for _, a := range run[:6] {
				in.put(a)
			}
			return k + 6
		}
	}
	in.note(Tag, run[0].start, run[len(run)-1].end, len(run), float64(len(run)))
	in.smuggled(Tag, run, in.scratch, next)
	return e
}

// smuggled writes payload, one byte for each atom of run, where the run was if it is text. Short pieces between visible
// characters are collected instead, to be read together.
func (in *Inspector) smuggled(kind Kind, run []atom, payload []byte, next rune) {
	in.material[kind] += len(run)
	good := 0
	for i := 0; i < len(payload); {
		r, n := utf8.DecodeRune(payload[i:])
		if r != utf8.RuneError && (unicode.IsPrint(r) || r == '\n') {
			good += n
		}
		i += n
	}
	if good*4 < len(payload)*3 && kind != Tag {
		return // not text: the characters go, nothing comes
	}
	short := good < 3
	first := true
	for i := 0; i < len(payload); {
		r, n := utf8.DecodeRune(payload[i:])
		start, end := run[i].start, run[i+n-1].end
		i += n
		if r == utf8.RuneError || !unicode.IsPrint(r) && r != '\n' {
			continue
		}
		if short {
			in.hidden = append(in.hidden, atom{r, start, end})
			continue
		}
		if first && isAlnum(in.last()) && isAlnum(r) {
			in.emit(' ', start, start)
		}
		first = false
		in.emit(r, start, end)
	}
	if end := run[len(run)-1].end; !short && isAlnum(in.last()) && isAlnum(next) {
		in.emit(' ', end, end)
	}
}

// bits decodes a run that begins with at least 16 characters from two invisible ones as binary ASCII, most significant bit
// first, and returns how many characters it consumed; 0 if they are no text.
func (in *Inspector) bits(run []atom) int {
	n, one := 0, rune(-1)
	for n < len(run) {
		r := run[n].r
		if r < 0x200b || r > 0x2064 && r != byteOrderMark || isSelector(r) {
			break
		}
		if r != run[0].r {
			if one >= 0 && r != one {
				break
			}
			one = r
		}
		n++
	}
	n &^= 7
	if n < 16 || one < 0 {
		return 0
	}
	for _, set := range [2]rune{one, run[0].r} {
		in.scratch = in.scratch[:0]
		ok := true
		for i := 0; i < n && ok; i += 8 {
			b := byte(0)
			for _, a := range run[i : i+8] {
				b <<= 1
				if a.r == set {
					b |= 1
				}
			}
			ok = b >= ' ' && b < 0x7f || b == '\n'
			in.scratch = append(in.scratch, b)
		}
		if !ok {
			continue
		}
		in.note(ZeroWidth, run[0].start, run[n-1].end, n, float64(n)/4)
		in.material[ZeroWidth] += n
		if isAlnum(in.last()) {
			in.emit(' ', run[0].start, run[0].start)
		}
		for i, b := range in.scratch {
			in.emit(rune(b), run[8*i].start, run[8*i+7].end)
		}
		in.emit(' ', run[n-1].end, run[n-1].end)
		return n
	}
	return 0
}

// invalid handles a byte that is not UTF-8 at src[k], within src[k:j), and returns the index after it.
func (in *Inspector) invalid(src []atom, k, j int, inWord bool) int {
	b := byte(src[k].r - badByte)
	at := func(i int) int { // continuation bits of byte i, or -1
		if i >= j || src[i].r < badByte+0x80 || src[i].r > badByte+0xbf {
			return -1
		}
		return int(src[i].r-badByte) & 0x3f
	}
	// Overlong forms of ASCII, which lenient decoders accept.
	c, n := -1, 0
	switch x, y := at(k+1), at(k+2); {
	case b&^1 == 0xc0 && x >= 0:
		c, n = int(b&1)<<6|x, 2
	case b == 0xe0 && (x == 0 || x == 1) && y >= 0:
		c, n = x<<6|y, 3
	}
	if c >= ' ' && c < 0x7f {
		in.note(InvalidUTF8, src[k].start, src[k+n-1].end, n, 5)
		in.material[InvalidUTF8]++
		in.emit(rune(c), src[k].start, src[k+n-1].end)
		return k + n
	}
	alone := (k == 0 || src[k-1].r < badByte) && at(k+1) < 0 && (k+1 >= len(src) || src[k+1].r < badByte)
	if alone && b >= 0xc0 && b < 0xfe && isLetter(rune(b)) && 6*in.bad < in.letters[latinScript] {
		in.note(InvalidUTF8, src[k].start, src[k].end, 1, 0.1) // Latin-1
		in.emit(rune(b), src[k].start, src[k].end)
		return k + 1
	}
	in.hide(InvalidUTF8, src[k], inWord, 0.05)
	return k + 1
}
