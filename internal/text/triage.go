package text

import (
	"unicode/utf8"
)

// trigger is a set of things that a segment may contain.
type trigger uint16

const (
	hasEscape trigger = 1 << iota // '&', '%' or '\' followed by what makes it an escape
	hasHidden                     // ignorable characters, controls, invalid UTF-8
	hasFold                       // compatibility characters, marks, words of mixed script
	hasMarkup                     // '<' right after a letter
	hasSpaced                     // four single letters or digits between separators
	hasLeet                       // a digit or symbol between letters
	hasRun                        // 16 characters of base64 in a row
	hasCodes                      // many digits, or many tokens of two characters

	hasDisguise = hasEscape | hasHidden | hasFold | hasMarkup | hasSpaced | hasLeet
)

// Classes of bytes. The first two are the bits that triage shifts into its registers.
const (
	separator = 1 << iota // neither letter nor digit
	notBase64             // in no base64 alphabet
	letter                // ASCII
	digit
	leet    // stands for a letter in leetspeak
	special // needs a look at its neighbours
	hexadecimal
)

// classes is (256): the classes of each byte.
var classes = func() (t [256]uint8) {
	for b := range t {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z':
			t[b] = letter
		case b >= '0' && b <= '9':
			t[b] = digit
		case b == '+' || b == '/' || b == '-' || b == '_' || b == '=':
			t[b] = separator
		default:
			t[b] = separator | notBase64
		}
		if b < 0x20 && b != '\t' && b != '\n' && b != '\r' && b != '\f' && b != '\v' || b >= 0x7f {
			t[b] |= special
		}
	}
	for _, b := range "&%\\<" {
		t[b] |= special
	}
	for b := range leetLetters {
		t[b] |= leet
	}
	for _, b := range "0123456789abcdefABCDEF" {
		t[b] |= hexadecimal
	}
	return t
}()

const (
	minPayload = 16 // characters of an encoded payload: less cannot hold an order
	minDigits  = 16 // digits of character codes worth looking for
)

// triage looks once at every byte and says which stages are worth running. It allocates nothing and may err towards yes.
func triage(s string) trigger {
	var (
		t      trigger
		gaps   uint32 = 1 // one bit a character, newest lowest: separator
		breaks uint32 = 1 // likewise: not base64
		digits int        // ASCII digits and other leet characters
		last   script     // script of the last non-ASCII letter…
		end    int        // …and where it ended

		alien  int // letters of scripts with Latin look-alikes
		accent int // consecutive accented letters
	)
	for i := 0; i < len(s); i++ {
		b := s[i]
		c := classes[b]
		gaps = gaps<<1 | uint32(c&separator)
		breaks = breaks<<1 | uint32(c&notBase64)>>1
		if gaps&0x7f == 0x55 {
			t |= hasSpaced
		}
		if gaps&0x1fff == 0x1249 {
			t |= hasCodes
		}
		if breaks&(1<<minPayload-1) == 0 && i >= minPayload-1 {
			t |= hasRun
		}
		if c&(special|leet|digit) == 0 {
			continue
		}
		switch {
		case c&(leet|digit) != 0:
			digits++
			if c&leet != 0 && i > 0 && classes[s[i-1]]&letter != 0 && i+1 < len(s) {
				d := classes[s[i+1]]
				if d&letter != 0 || d&leet != 0 && i+2 < len(s) && classes[s[i+2]]&letter != 0 {
					t |= hasLeet
				}
			}
		case b < utf8.RuneSelf:
			t |= triageASCII(s, i)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				t |= hasHidden
				continue
			}
			sc := scriptOf(r)
			switch sc {
			case latinScript:

				if end == i {
					accent++
				} else {
					accent = 0
				}
				if accent >= 2 || end == i && last != sc && last != common {
					t |= hasFold
				}
				gaps &^= 1
			case greekScript, cyrillicScript, lookalikeScript:
				alien++
				if i > 0 && classes[s[i-1]]&letter != 0 || i+n < len(s) && classes[s[i+n]]&letter != 0 || end == i && last != sc && last != common {
					t |= hasFold
				}
				gaps &^= 1
			case foldScript:
				t |= hasFold
			case hiddenScript:
				t |= hasHidden
			case common:
			default:
				gaps &^= 1
			}
			last, end = sc, i+n
			i += n - 1
		}
	}
	if digits >= minDigits {
		t |= hasCodes
	}
	if alien > 0 && len(s) > 6*alien {
		t |= hasFold // perhaps words wholly of look-alikes
	}

	return t
}

// triageASCII looks at what follows a special ASCII byte.
func triageASCII(s string, i int) trigger {
	var next, second uint8
	if i+1 < len(s) {
		next = s[i+1]
	}
	if i+2 < len(s) {
		second = s[i+2]
	}
	switch s[i] {
	case '&':
		if next == '#' || classes[next]&letter != 0 {
			return hasEscape
		}
	case '%':
		if classes[next]&classes[second]&hexadecimal != 0 {
			return hasEscape
		}
	case '\\':
		if next == 'u' || next == 'U' || next == 'x' || next >= '0' && next <= '3' || next == '\\' {
			return hasEscape
		}
	case '<':
		if i > 0 && (classes[s[i-1]]&letter != 0 || s[i-1] >= utf8.RuneSelf) && (classes[next]&letter != 0 || next == '/' || next == '!') {
			return hasMarkup
		}
	default:
		return hasHidden
	}
	return 0
}

// script is as much about a character's script as the rules here ask for.
type script uint8

const (
	common          script = iota // punctuation, symbols, emoji, digits, and all that needs no attention
	latinScript                   // letters, beyond ASCII too
	greekScript                   //
	cyrillicScript                //
	lookalikeScript               // Armenian, Cherokee, Coptic, Lisu, …: scripts rarely met that have Latin look-alikes
	rtlScript                     // Hebrew, and Arabic and its kin, which join
	joiningScript                 // Indic and South-East Asian scripts, Mongolian: joiners and ZWSP are spelling
	cjkScript                     // Han, Kana, Hangul
	foldScript                    // compatibility characters, marks, phonetic letters: to be looked at
	hiddenScript                  // ignorable characters
)

// scriptRanges is sorted; characters between ranges are foldScript: what is not known to be innocent is looked at.
// Blocks of Unicode 15.
var scriptRanges = []struct {
	lo, hi rune
	s      script
}{
	{0x00a0, 0x00a9, common},
	{0x00ab, 0x00ac, common},
	{0x00ae, 0x00b9, common},
	{0x00bb, 0x00bf, common},
	{0x00c0, 0x024f, latinScript},
	{0x02b0, 0x02ff, foldScript},
	{0x0300, 0x036f, foldScript},
	{0x0370, 0x03ff, greekScript},
	{0x0400, 0x0482, cyrillicScript},
	{0x048a, 0x052f, cyrillicScript},
	{0x0531, 0x0587, lookalikeScript},
	{0x0589, 0x058f, common},
	{0x0590, 0x08ff, rtlScript},
	{0x0900, 0x109f, joiningScript},
	{0x10a0, 0x10ff, lookalikeScript}, // Georgian
	{0x1100, 0x11ff, cjkScript},
	{0x1200, 0x137f, common}, // Ethiopic: no look-alikes listed
	{0x13a0, 0x13ff, lookalikeScript},
	{0x1780, 0x18af, joiningScript},
	{0x1a00, 0x1aaf, joiningScript},
	{0x1b00, 0x1c4f, joiningScript},
	{0x1e00, 0x1eff, latinScript},
	{0x1f00, 0x1fff, greekScript},
	{0x2000, 0x200a, common},
	{0x2010, 0x2029, common},
	{0x202f, 0x205f, common},
	{0x2070, 0x2070, common},
	{0x2074, 0x207e, common},
	{0x2080, 0x208e, common},
	{0x20a0, 0x20bf, common},
	{0x2103, 0x2103, common},
	{0x2116, 0x2117, common},
	{0x2120, 0x2122, common},
	{0x2150, 0x215f, common},
	{0x2190, 0x2429, common},
	{0x2460, 0x249b, common}, // circled and parenthesised digits
	{0x2500, 0x2bff, common},
	{0x2c80, 0x2cff, lookalikeScript}, // Coptic
	{0x2e00, 0x2fff, common},
	{0x3000, 0x3030, common},
	{0x3031, 0x3163, cjkScript},
	{0x3165, 0x318e, cjkScript},
	{0x31a0, 0x31ff, cjkScript},
	{0x3200, 0x33ff, common},
	{0x3400, 0x9fff, cjkScript},
	{0xa4d0, 0xa4ff, lookalikeScript}, // Lisu
	{0xac00, 0xd7ff, cjkScript},
	{0xe000, 0xfaff, common}, // private use; CJK compatibility ideographs
	{0xfb1d, 0xfdff, rtlScript},
	{0xfe10, 0xfe6f, common},
	{0xfe70, 0xfefc, rtlScript},
	{0xff01, 0xff20, common}, // fullwidth punctuation and digits
	{0xff3b, 0xff40, common},
	{0xff5b, 0xff65, common},
	{0xff66, 0xff9f, cjkScript}, // halfwidth Kana
	{0xfffc, 0xfffd, common},
	{0x10400, 0x1044f, lookalikeScript}, // Deseret
	{0x104b0, 0x104ff, lookalikeScript}, // Osage
	{0x10800, 0x10fff, rtlScript},
	{0x11000, 0x11fff, joiningScript},
	{0x1e900, 0x1eeff, rtlScript},
	{0x1f000, 0x1f0ff, common},
	{0x1f1e6, 0x1f1ff, foldScript},
	{0x1f200, 0x1faff, common}, // emoji
	{0x20000, 0x3ffff, cjkScript},
}

// scriptOf returns the script of a character beyond ASCII, and common for ASCII.
func scriptOf(r rune) script {
	if r < 0x80 {
		return common
	}
	if r >= 0x3400 && r <= 0x9fff {
		return cjkScript
	}
	if ignorable(r) {
		return hiddenScript
	}
	lo, hi := 0, len(scriptRanges)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if scriptRanges[m].hi < r {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(scriptRanges) && scriptRanges[lo].lo <= r {
		return scriptRanges[lo].s
	}
	return foldScript
}

// ignorable reports characters that usually show nothing: default ignorable code points (UAX #44), controls other than
// white space, and the stand-ins for invalid bytes.
func ignorable(r rune) bool {
	switch {
	case r < 0x7f:
		return r < 0x20 && (r < '\t' || r > '\r')
	case r <= 0x9f:
		return r != 0x85
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x3164, r == 0xfeff, r == 0xffa0:
		return true
	case r < 0x180b:
		return false
	case r <= 0x180f, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f:
		return true
	case r < 0xfe00:
		return false
	case r <= 0xfe0f, r >= 0xfff9 && r <= 0xfffb, r >= 0x1bca0 && r <= 0x1bca3, r >= 0x1d173 && r <= 0x1d17a:
		return true
	case r >= 0xe0000 && r <= 0xe0fff, r >= badByte:
		return true
	}
	return false
}
