package text

import (
	"math/bits"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxExpand is how many characters may come of one: keeps U+FDFA, eighteen characters in NFKC, as it is.
	maxExpand = 4
	// maxCluster is how many characters are normalised together: a base with more marks is no spelling.
	maxCluster = 32
)

// compat brings text to NFKC, cluster by cluster (UAX #15). Letters in words of three or more that were compatibility forms of
// ASCII are a disguise; the rest is typography.
func (in *Inspector) compat() {
	src := in.src
	cjk := in.letters[cjkScript] > 0
	// The run of compatibility letters at hand.
	var (
		start, end         int32
		letters, wide, gap int // gap: characters since the last of them
	)
	flush := func() {
		if letters >= 3 {
			factor := float64(letters)
			if cjk && wide == letters {
				factor = 0
			}
			in.note(Compat, start, end, letters, factor)
			if factor > 0 || letters >= 8 {
				in.material[Compat] += letters
			}
		}
		letters, wide = 0, 0
	}
	for i := 0; i < len(src); {
		a := src[i]
		if a.r < 0x80 && (i+1 == len(src) || src[i+1].r < 0x300) {
			if gap++; gap > 1 {
				flush()
			}
			in.put(a)
			i++
			continue
		}
		j := i + 1
		for j < len(src) && j-i < maxCluster && !boundary(src[j].r) {
			j++
		}
		out, n := in.nfkc(src[i:j])
		if out == nil {
			if gap++; gap > 1 {
				flush()
			}
			in.dst = append(in.dst, src[i:j]...)
			i = j
			continue
		}
		from, to := a.start, src[j-1].end
		plain := n > 0
		for p := 0; p < len(out); {
			r, size := utf8.DecodeRune(out[p:])
			p += size
			plain = plain && isASCIIAlnum(r)
			in.emit(r, from, to)
		}
		if plain && j == i+1 && isASCIILetter(rune(out[0])) && !typographic(a.r) {
			if letters == 0 {
				start = from
			}
			letters, end = letters+1, to
			if a.r >= 0xff01 && a.r <= 0xff5e {
				wide++
			}
			gap = 0
		} else if gap++; gap > 1 {
			flush()
		}
		i = j
	}
	flush()
}

// boundary reports whether r starts a new cluster.
func boundary(r rune) bool {
	if r < 0x300 {
		return true
	}
	var b [utf8.UTFMax]byte
	if r >= badByte {
		return true
	}
	return norm.NFKC.Properties(b[:utf8.EncodeRune(b[:], r)]).BoundaryBefore()
}

// nfkc returns the normal form of a cluster, which is never empty, and its number of characters; nil if it equals the
// cluster or is out of proportion.
func (in *Inspector) nfkc(cluster []atom) ([]byte, int) {
	if len(cluster) == 1 {
		switch r := cluster[0].r; {
		case r >= badByte:
			return nil, 0
		case r >= 0x249c && r <= 0x24b5: // (a): the letter says it
			in.scratch = append(in.scratch[:0], byte(r-0x249c+'a'))
			return in.scratch, 1
		case r >= 0x1f110 && r <= 0x1f129:
			in.scratch = append(in.scratch[:0], byte(r-0x1f110+'A'))
			return in.scratch, 1
		case r >= 0x1f150 && r <= 0x1f169: // negative circled and squared letters have no mapping
			in.scratch = append(in.scratch[:0], byte(r-0x1f150+'A'))
			return in.scratch, 1
		case r >= 0x1f170 && r <= 0x1f189:
			in.scratch = append(in.scratch[:0], byte(r-0x1f170+'A'))
			return in.scratch, 1
		}
	}
	in.scratch = in.scratch[:0]
	for _, a := range cluster {
		if a.r >= badByte {
			return nil, 0
		}
		in.scratch = utf8.AppendRune(in.scratch, a.r)
	}
	if norm.NFKC.QuickSpan(in.scratch) == len(in.scratch) {
		return nil, 0
	}
	// Most compatibility letters stand for one ASCII letter, which composes with nothing here; Append would allocate.
	if d := norm.NFKC.Properties(in.scratch).Decomposition(); len(cluster) == 1 && len(d) == 1 && d[0] < utf8.RuneSelf {
		return d, 1
	}
	in.normal = norm.NFKC.Append(in.normal[:0], in.scratch...)
	count := utf8.RuneCount(in.normal)
	if string(in.normal) == string(in.scratch) {
		return nil, 0
	}
	if count == 0 || count > maxExpand*len(cluster) {
		return nil, 0
	}
	return in.normal, count
}

// typographic reports compatibility letters that ordinary text uses in the middle of words.
func typographic(r rune) bool {
	return r == 0xaa || r == 0xba || r == 0x17f || r >= 0xfb00 && r <= 0xfb06 || r >= 0x2160 && r <= 0x217f || r >= 0x1c4 && r <= 0x1f3
}

// combining reports marks that go on letters of any script, the ones that disguises pile up.
func combining(r rune) bool {
	return r >= 0x300 && r <= 0x36f || r >= 0x483 && r <= 0x489 || r >= 0x1ab0 && r <= 0x1aff || r >= 0x1dc0 && r <= 0x1dff ||
		r >= 0x20d0 && r <= 0x20ff || r >= 0xfe20 && r <= 0xfe2f
}

// overlays reports marks drawn through or along letters, which no orthography uses.
func overlays(r rune) bool {
	return r >= 0x334 && r <= 0x338 || r == 0x332 || r == 0x333 || r == 0x305 || r == 0x33f || r >= 0x20d0 && r <= 0x20ff || r >= 0x488 && r <= 0x489
}

// words undoes disguises of whole words: marks, accents, letters of other scripts, small capitals.
func (in *Inspector) words() {
	src := in.src
	for i := 0; i < len(src); {
		j, ascii := i, true
		for j < len(src) && (isLetter(src[j].r) || combining(src[j].r)) {
			ascii = ascii && src[j].r < 0x80
			j++
		}
		if j == i {
			in.put(src[i])
			i++
			continue
		}
		if ascii {
			in.dst = append(in.dst, src[i:j]...)
		} else {
			in.word(src[i:j])
		}
		i = j
	}
}

// word writes one word with its disguise undone. Its length is only bounded by the segment's: one pass per question.
func (in *Inspector) word(w []atom) {
	var (
		count                       [16]int // letters by script, ASCII under latinScript
		letters, marks, latinMarks  int
		accents, small, mapped, big int // Latin with accents; small capitals; foreign in toLatin; marks in a row
		row, overlay                int
	)
	base := false
	for _, a := range w {
		if combining(a.r) {
			marks++
			if overlays(a.r) {
				overlay++
			}
			if row++; row > big {
				big = row
			}
			if base {
				latinMarks++
			}
			continue
		}
		row = 0
		letters++
		s := scriptOf(a.r)
		if a.r < 0x80 {
			s = latinScript
		}
		_, isSmall := fromLatin[a.r]
		if isSmall {
			if _, ok := smallCapitals[a.r]; ok {
				small++
			}
			s = latinScript
		}
		if _, ok := toLatin[a.r]; ok {
			mapped++
		}
		if s == latinScript && a.r >= 0xc0 && !isSmall && in.bare(a.r) != a.r {
			accents++
		}
		count[s]++
		base = s == latinScript
	}
	start, end := w[0].start, w[len(w)-1].end
	strip := letters > 0 && (latinMarks >= 3 && 2*latinMarks >= letters || big >= 4) ||
		overlay >= 2 && 2*overlay >= letters
	plain := letters >= 5 && 5*accents >= 4*letters && in.readable(w)
	lat, cyr, grk, other := count[latinScript], count[cyrillicScript], count[greekScript], count[lookalikeScript]
	foreign := cyr + grk + other
	var table map[rune]rune
	factor := 0.0
	switch all := lat + foreign; {
	case foreign == 0 || all < letters: // one script, or one that is not looked at
	case lat > 0 && mapped == foreign && (lat >= foreign || in.letters[latinScript] > in.letters[cyrillicScript]+in.letters[greekScript] || !in.covers(w, toCyrillic)):
		if factor = 1; grk == foreign && (foreign == 1 && (greekEdge(w) || letters <= 2)) {
			break // TNFα, βx: science
		}
		table = toLatin
	case lat > 0 && cyr > lat && cyr+lat == all && in.covers(w, toCyrillic):
		table, factor = toCyrillic, 1.0/6
	case lat > 0 && grk > lat && grk+lat == all && in.covers(w, toGreek):
		table, factor = toGreek, 1.0/6
	case lat == 0 && mapped == letters && (other > 0 && (cyr+grk > 0 || in.latinText()) || cyr > 0 && grk > 0):
		table, factor = toLatin, 1
	case lat == 0 && mapped == letters && letters >= 3 && in.latinText():
		table, factor = toLatin, 0.15 // a foreign word may look like this by chance
	}
	if small >= 3 && 2*small >= letters && lat == letters && foreign == 0 {
		table, factor = fromLatin, 0.5
	}
	if strip {
		in.note(Mark, start, end, marks, 1)
		in.material[Mark] += marks
	}
	if plain {
		in.note(Mark, start, end, accents, 0.4)
		in.material[Mark] += accents
	}
	folded := 0
	for _, a := range w {
		if strip && combining(a.r) {
			in.changed = true
			continue
		}
		r := a.r
		if plain {
			r = in.bare(r)
		}
		if to, ok := table[r]; ok {
			r = to
			folded++
		}
		if r != a.r {
			in.changed = true
		}
		in.put(atom{r, a.start, a.end})
	}
	if folded > 0 {
		kind := Homoglyph
		in.note(kind, start, end, folded, factor)
		in.material[kind] += folded
	}
}

// latinText reports whether Latin letters outnumber their look-alikes in the segment five to one.
func (in *Inspector) latinText() bool {
	return in.letters[latinScript] > 5*(in.letters[cyrillicScript]+in.letters[greekScript]+in.letters[lookalikeScript])
}

// covers reports whether every Latin letter of w is in table.
func (in *Inspector) covers(w []atom, table map[rune]rune) bool {
	for _, a := range w {
		if isASCIILetter(a.r) || scriptOf(a.r) == latinScript {
			if _, ok := table[a.r]; !ok {
				return false
			}
		}
	}
	return true
}

// greekEdge reports whether the word's only Greek letter is its first or last.
func greekEdge(w []atom) bool {
	return scriptOf(w[0].r) == greekScript || scriptOf(w[len(w)-1].r) == greekScript
}

// readable reports whether a Latin word without its accents has the shape of a word and is not one letter over and over.
func (in *Inspector) readable(w []atom) bool {
	in.scratch = in.scratch[:0]
	set := uint32(0)
	for _, a := range w {
		if r := in.bare(a.r); isASCIILetter(r) {
			in.scratch = append(in.scratch, byte(r))
			set |= 1 << ((byte(r) | 0x20) - 'a')
		}
	}
	return wordlike(in.scratch) && bits.OnesCount32(set) >= 4
}

// bare returns a Latin letter without its accents.
func (in *Inspector) bare(r rune) rune {
	if r < 0xc0 {
		return r
	}
	var b [utf8.UTFMax]byte
	d := norm.NFD.Properties(b[:utf8.EncodeRune(b[:], r)]).Decomposition()
	if len(d) > 0 {
		if p, _ := utf8.DecodeRune(d); p < 0x80 && unicode.IsLetter(p) {
			return p
		}
		// Letters with two accents decompose to a letter that decomposes.
		if p, _ := utf8.DecodeRune(d); p != r && p >= 0xc0 && p <= 0x1eff {
			return in.bare(p)
		}
	}
	return r
}
