package text

import (
	"math/bits"
	"unicode"
	"unicode/utf8"
)

// leetLetters maps ASCII to the letter that it stands for in leetspeak. '1' may be 'l' too.
var leetLetters = map[byte]byte{'0': 'o', '1': 'i', '3': 'e', '4': 'a', '5': 's', '7': 't', '8': 'b', '9': 'g', '@': 'a', '$': 's'}

// follows holds, for each letter, those that commonly come next in English: the 364 most frequent pairs of lower-case
// letters, 99.7 % of the 12.2 million pairs in 24 MB of English books and software documentation, counted on 2026-11-24.
var follows = func() (t [26]uint32) {
	for i, s := range [26]string{
		"bcdfgiklmnprstuvwxyz", "abeijlmorstuy", "acehiklorstuy", "adefgilmnorsuvy", "abcdefghijklmnopqrstuvwxy", "aefilorstuy",
		"aeghilnorstuy", "aeilmnorstuy", "abcdefgklmnopqrstvxz", "aeosu", "aefgilnosty", "acdefgiklmnoprstuvwy", "abdefilmnopsuy",
		"acdefghijklmnopqstuvy", "abcdefgijklmnoprstuvwxy", "adehilmoprstuy", "u", "abcdefghiklmnoprstuvwy", "abcefhiklmnopqrstuwy",
		"acdefhilmnoprstuwxy", "abcdefgilmnoprst", "aeiou", "aehilnorsw", "aceipt", "abeilmnopstw", "aei",
	} {
		for _, c := range s {
			t[i] |= 1 << (c - 'a')
		}
	}
	return t
}()

// shape reports how many pairs of neighbouring letters w has, how many of them are common, and whether a vowel occurs. w is
// ASCII letters of either case.
func shape(w []byte) (pairs, good int, vowel bool) {
	for i, c := range w {
		c |= 0x20
		switch c {
		case 'a', 'e', 'i', 'o', 'u', 'y':
			vowel = true
		}
		if i > 0 {
			pairs++
			if follows[(w[i-1]|0x20)-'a']&(1<<(c-'a')) != 0 {
				good++
			}
		}
	}
	return pairs, good, vowel
}

// wordlike reports whether every pair of letters in w is common and w has a vowel.
func wordlike(w []byte) bool {
	p, g, v := shape(w)
	return v && p == g
}

// spaced joins letters that stand alone between equal separators: "i g n o r e", "i.g.n.o.r.e". A wider or other separator
// ends a word.
func (in *Inspector) spaced() {
	const maxGap = 3
	src := in.src
	single := func(i int) bool {
		return isAlnum(src[i].r) && (i+1 == len(src) || !isAlnum(src[i+1].r) && !combining(src[i+1].r))
	}
	for i := 0; i < len(src); {
		if i > 0 && isAlnum(src[i-1].r) || !single(i) {
			in.put(src[i])
			i++
			continue
		}
		// The run of single characters from i, ending after its last.
		end, n, gap := i, 1, 0
		for {
			g := 1
			for end+g < len(src) && g <= maxGap && !isAlnum(src[end+g].r) {
				g++
			}
			if end+g >= len(src) || g > maxGap+1 || !single(end+g) {
				break
			}
			if isAlnum(src[end+g-1].r) { // no separator: cannot be, singles are followed by one
				break
			}
			if gap == 0 || g-1 < gap {
				gap = g - 1
			}
			end += g
			n++
		}
		if n < 4 || !in.join(src[i:end+1], n, gap) {
			in.dst = append(in.dst, src[i:end+1]...)
		}
		i = end + 1
	}
}

// join writes a run of n single characters joined, if it reads like words. gap is the width of its narrowest separator.
func (in *Inspector) join(run []atom, n, gap int) bool {
	var sep rune // the first separator of that width
	was := 0
	for i := 1; i < len(run); i++ {
		if isAlnum(run[i].r) {
			if i-was-1 == gap {
				sep = run[was+1].r
				break
			}
			was = i
		}
	}
	in.scratch = in.scratch[:0]
	pairs, good, letters, order, longest, latin := 0, 0, 0, 0, 0, 0
	vowel, cjk, set := false, false, uint32(0)
	measure := func() {
		p, g, v := shape(in.scratch)
		pairs, good, vowel = pairs+p, good+g, vowel || v
		in.scratch = in.scratch[:0]
	}
	was = -1
	length := 0
	for i, a := range run {
		if !isAlnum(a.r) {
			continue
		}
		if was >= 0 && (i-was-1 != gap || run[was+1].r != sep) {
			measure()
			length = 0
		}
		if was >= 0 && (a.r == run[was].r || a.r == run[was].r+1) {
			order++
		}
		was = i
		if length++; length > longest {
			longest = length
		}
		if isLetter(a.r) {
			letters++
		}
		switch {
		case isASCIILetter(a.r):
			in.scratch = append(in.scratch, byte(a.r))
			set |= 1 << ((byte(a.r) | 0x20) - 'a')
			latin++
		case scriptOf(a.r) == cjkScript:
			cjk = true
		case a.r < 0x80 && leetLetters[byte(a.r)] != 0:
			in.scratch = append(in.scratch, leetLetters[byte(a.r)])
		default:
			measure()
		}
	}
	measure()
	switch {
	case letters < 4 || 10*letters < 6*n || longest < 3:
		return false
	case 2*order >= n:
		return false // A B C D
	case latin > 0 && (!vowel || 20*good < 17*pairs):
		return false
	case longest < 5 && sep == '.':
		return false // U.S.S.R.
	case cjk:
		return false // written one by one anyway
	}
	if latin >= 8 && bits.OnesCount32(set) < 5 {
		return false // A C G T
	}
	factor := 0.0
	if letters >= 6 && longest >= 4 {
		factor = float64(letters)
	}
	in.note(Spaced, run[0].start, run[len(run)-1].end, letters, factor)
	in.material[Spaced] += letters
	was = -1
	for i, a := range run {
		if !isAlnum(a.r) {
			continue
		}
		if was >= 0 && (i-was-1 != gap || run[was+1].r != sep) {
			in.emit(' ', run[was+1].start, run[i-1].end)
		}
		in.put(a)
		was = i
	}
	in.changed = true
	return true
}

// leetspeak undoes digits for letters where the result has the shape of a word. One such word is enough for clear cases;
// beside them, less clear ones count too.
func (in *Inspector) leetspeak() {
	src := in.src
	for i, clear := 0, -1; i < len(src); {
		if !isLeet(src[i].r) {
			in.put(src[i])
			i++
			continue
		}
		j := i + 1
		for j < len(src) && isLeet(src[j].r) {
			j++
		}
		subs, strength := in.unleet(src[i:j])
		if strength == 1 {
			if clear < 0 {
				clear = in.clearLeet()
			}
			if clear >= 2 {
				strength = 2
			}
		}
		if subs == 0 || strength < 2 {
			in.dst = append(in.dst, src[i:j]...)
			i = j
			continue
		}
		in.unleet(src[i:j]) // clearLeet has used scratch
		factor := 1.0
		if subs == 1 {
			factor = 0.25
		}
		in.note(Leet, src[i].start, src[j-1].end, subs, factor)
		in.material[Leet] += subs
		for k, c := range in.scratch {
			in.put(atom{rune(c), src[i+k].start, src[i+k].end})
		}
		in.changed = true
		i = j
	}
}

// clearLeet counts the words that are leetspeak beyond doubt, up to two.
func (in *Inspector) clearLeet() int {
	n := 0
	src := in.src
	for i := 0; i < len(src) && n < 2; i++ {
		if !isLeet(src[i].r) {
			continue
		}
		j := i + 1
		for j < len(src) && isLeet(src[j].r) {
			j++
		}
		if _, strength := in.unleet(src[i:j]); strength >= 2 {
			n++
		}
		i = j
	}
	return n
}

// isLeet reports characters of words in leetspeak.
func isLeet(r rune) bool { return r >= 0 && r < 0x80 && classes[r]&(letter|digit|leet) != 0 }

// unleet leaves w with letters for digits in scratch and returns the number of substitutions and whether w is clearly (2),
// possibly (1) or not (0) leetspeak.
func (in *Inspector) unleet(w []atom) (subs, strength int) {
	const maxWord = 32
	if len(w) < 2 || len(w) > maxWord {
		return 0, 0
	}
	letters, upper, hex, other := 0, 0, 0, 0
	groups, inner := 0, 0 // runs of digits before a letter; those of them after one
	open := -1            // where the run of digits at hand began
	for i, a := range w {
		c := byte(a.r)
		switch cl := classes[c]; {
		case cl&letter != 0:
			letters++
			if open >= 0 {
				groups++
				if open > 0 {
					inner++
				}
				open = -1
			}
			if c < 'a' {
				upper++
			}
		case cl&leet == 0:
			return 0, 0 // 2 and 6 stand for nothing
		default:
			subs++
			if open < 0 {
				open = i
			}
			if c == '@' && (i == 0 || i > 3) {
				return 0, 0 // an address, a mention
			}
			if c != '0' && c != '3' {
				other++
			}
		}
		if classes[c]&hexadecimal != 0 {
			hex++
		}
	}
	first := classes[w[0].r]&letter != 0 && w[0].r < 'a'
	switch {
	case subs == 0 || letters == 0 || hex == len(w) && len(w) > 5:
		return 0, 0
	case open < 0 && groups == 1 && inner == 0 && letters == 1:
		return 0, 0 // 10m
	case upper != 0 && upper != letters && !(upper == 1 && first):
		return 0, 0
	case subs > letters+1:
		return 0, 0
	}
	found := false
	for _, one := range [2]byte{'i', 'l'} {
		in.scratch = in.scratch[:0]
		for _, a := range w {
			c := byte(a.r)
			switch {
			case classes[c]&letter != 0:
			case c == '1':
				c = one
			default:
				c = leetLetters[c]
			}
			if upper > 1 && c >= 'a' {
				c -= 'a' - 'A'
			}
			in.scratch = append(in.scratch, c)
		}
		if found = wordlike(in.scratch); found {
			break
		}
	}
	if !found {
		return 0, 0
	}

	switch {
	case len(w) >= 5 && letters >= subs && inner >= 1 && groups >= 2:
		return subs, 2
	case len(w) >= 6 && inner == 1 && subs == 1 && other == 0:
		return subs, 2
	}
	return subs, 1
}

// markup removes tags and comments that stand inside a word.
func (in *Inspector) markup() {
	src := in.src
	soft := 0
	for i := 0; i < len(src); {
		if src[i].r != '<' || !isLetter(in.last()) {
			in.put(src[i])
			i++
			continue
		}
		j, comments, empty, rich := i, 0, 0, false
		open := false
		for j < len(src) && src[j].r == '<' {
			n, kind := tag(src[j:])
			if n == 0 {
				break
			}
			switch kind {
			case tagComment:
				comments++
			case tagOpen:
				open = true
			case tagRich:
				open, rich = false, true
			case tagClose:
				if open {
					empty++
				}
				open = false
			}
			j += n
		}
		if j == i || j == len(src) || !isLetter(src[j].r) || rich && comments+empty == 0 {
			n := max(j-i, 1)
			in.dst = append(in.dst, src[i:i+n]...)
			i += n
			continue
		}
		in.changed = true
		switch {
		case comments > 0 && j-i == len("<!-- -->"):
			in.note(Markup, src[i].start, src[j-1].end, j-i, 0.2) // a page builder's seam between two texts
			in.material[Markup]++
		case comments+empty > 0:
			in.note(Markup, src[i].start, src[j-1].end, j-i, 1)
			in.material[Markup]++
		default:
			soft++
		}
		i = j
	}
	if soft >= 3 {
		in.material[Markup] += soft
	}
}

const (
	tagOpen = iota
	tagClose
	tagComment
	tagRich // open, with attributes: icons and links, which do stand between words
)

// tag returns the length and kind of the comment or inline tag that s begins with, 0 if there is none or if the element
// separates words.
func tag(s []atom) (n, kind int) {
	const maxTag = 512
	at := func(i int) rune {
		if i < len(s) {
			return s[i].r
		}
		return 0
	}
	if at(1) == '!' && at(2) == '-' && at(3) == '-' {
		for i := 4; i+2 < min(len(s), maxTag); i++ {
			if s[i].r == '-' && s[i+1].r == '-' && s[i+2].r == '>' {
				return i + 3, tagComment
			}
		}
		return 0, 0
	}
	p, kind := 1, tagOpen
	if at(1) == '/' {
		p, kind = 2, tagClose
	}
	var name [8]byte
	k := 0
	for ; isASCIIAlnum(at(p + k)); k++ {
		if k < len(name) {
			name[k] = byte(at(p+k)) | 0x20
		}
	}
	if k == 0 || !isASCIILetter(at(p)) {
		return 0, 0
	}
	if k <= len(name) {
		switch string(name[:k]) {
		case "p", "br", "div", "li", "ul", "ol", "td", "th", "tr", "table", "tbody", "thead", "dd", "dt", "dl", "hr", "pre", "section",
			"article", "header", "footer", "nav", "main", "aside", "option", "title", "body", "head", "html", "form", "script", "style":
			return 0, 0
		}
		if k == 2 && name[0] == 'h' {
			return 0, 0
		}
	}
	for i := p + k; i < min(len(s), maxTag); i++ {
		switch s[i].r {
		case '>':
			if kind == tagOpen && i > p+k {
				kind = tagRich
			}
			return i + 1, kind
		case '<':
			return 0, 0
		}
	}
	return 0, 0
}

// prose judges decoded bytes: 0 no text, 1 text of some sort, 2 words.
func prose(b []byte) int {
	total, bad, words, letters, digits, capitals := 0, 0, 0, 0, 0, 0
	in := false
	pairs, good := 0, 0
	last := byte(0)
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		total++
		switch {
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\r' && !ignorable(r), r < ' ' && ignorable(r):
			bad++
			in = false
			last = 0
		case isLetter(r):
			letters++
			if r < 0x80 {
				if r < 'a' {
					capitals++
				}
				if last != 0 {
					pairs++
					if follows[(last|0x20)-'a']&(1<<((byte(r)|0x20)-'a')) != 0 {
						good++
					}
				}
				last = byte(r)
			} else {
				last = 0
			}
			if !in {
				words++
			}
			in = true
		default:
			last = 0
			if r == ' ' || r == '\n' {
				letters++
			}
			if r >= '0' && r <= '9' {
				digits++
			}
			in = false
		}
		i += n
	}
	switch {
	case total < 8 || 100*bad > 3*total:
		return 0
	case 100*letters >= 85*total && words >= 2 && 10*good >= 8*pairs && 2*capitals <= letters+8:
		return 2
	case 100*(letters+digits) >= 60*total:
		return 1
	case b[0] == '<' || b[0] == '{' || b[0] == '[':
		return 1
	}
	return 0
}
