package text

import (
	"unicode"
	"unicode/utf8"
)

const (
	// MaxSegment is the length in bytes that no segment exceeds.
	MaxSegment = 4 << 10
	// cutFrom is where looking for a cut begins; most segments end a few bytes later.
	cutFrom = 2 << 10
	// cutWindow is how far past cutFrom the best kind of cut is preferred to the nearest one.
	cutWindow = 512
	// cutAhead is how many bytes right of a cut have a say: a space and one rune.
	cutAhead = 1 + utf8.UTFMax
	// cutBack is how far a cut at MaxSegment moves left to spare an escape or an emoji.
	cutBack = 64
)

// Cut returns the length of the next segment of buf, or 0 when more input is needed to decide, which never happens when
// final says that buf ends the text (0 then means that buf is empty).
//
// A cut is made where byte-level pre-tokenisers split in any case: after a newline that a non-space follows, or before a
// single space between a non-space and a letter or digit; only text without such places is cut at [MaxSegment], between
// runes. Where a cut falls depends on at most MaxSegment bytes to its left and a few to its right, never on how the
// text came in pieces. A call costs nothing until a decision is possible.
func Cut(buf []byte, final bool) int {
	const early = cutFrom + cutWindow
	if len(buf) < early+cutAhead {
		if !final {
			return 0
		}
		if len(buf) <= cutFrom {
			return len(buf)
		}
	}
	if n := cutIn(buf, cutFrom, early); n > 0 {
		return n
	}
	if !final && len(buf) < MaxSegment+cutAhead {
		return 0
	}
	if len(buf) > early {
		if n := cutIn(buf, early, MaxSegment+1); n > 0 {
			return n
		}
	}
	if len(buf) <= MaxSegment {
		return len(buf)
	}
	return hardCut(buf)
}

// cutIn returns the best cut in [from, to): a newline, else a space that does not belong to spaced-out letters, else any
// space; 0 if there is none.
func cutIn(buf []byte, from, to int) int {
	plain, spaced := 0, 0
	for i := from; i < min(to, len(buf)); i++ {
		switch {
		case buf[i-1] == '\n':
			if r, _ := utf8.DecodeRune(buf[i:]); !unicode.IsSpace(r) {
				return i
			}
		case buf[i] == ' ' && plain == 0:
			if r, _ := utf8.DecodeLastRune(buf[:i]); unicode.IsSpace(r) {
				continue
			}
			if i+1 == len(buf) {
				continue
			}
			if r, _ := utf8.DecodeRune(buf[i+1:]); !unicode.IsLetter(r) && !unicode.IsNumber(r) {
				continue
			}
			if buf[i-2] == ' ' && i+2 < len(buf) && buf[i+2] == ' ' {
				if spaced == 0 {
					spaced = i
				}
				continue
			}
			plain = i
		}
	}
	if plain != 0 {
		return plain
	}
	return spaced
}

// hardCut returns the last place at or before MaxSegment that splits neither a rune nor, if one is near, a character with
// its marks, an emoji sequence or an escape. It looks at most cutBack bytes back.
func hardCut(buf []byte) int {
	n := MaxSegment
	for n > MaxSegment-utf8.UTFMax && !utf8.RuneStart(buf[n]) {
		n--
	}
	if !utf8.RuneStart(buf[n]) {
		return MaxSegment // not UTF-8
	}
	for i := n; i >= MaxSegment-cutBack; i-- {
		if !utf8.RuneStart(buf[i]) {
			continue
		}
		next, _ := utf8.DecodeRune(buf[i:])
		last, _ := utf8.DecodeLastRune(buf[:i])
		if ignorable(next) || unicode.Is(unicode.M, next) || ignorable(last) || inEscape(buf[i-9:i]) {
			continue
		}
		return i
	}
	return n
}

// inEscape reports whether an escape may be open at the end of left: %XX, \uXXXX, &#NNN;.
func inEscape(left []byte) bool {
	for i := len(left) - 1; i >= 0; i-- {
		back := len(left) - i
		switch left[i] {
		case '%':
			return back <= 2
		case '\\':
			return back <= 5
		case '&':
			return true
		case ';', ' ', '\n':
			return false
		}
	}
	return false
}
