package tokenizer

import "sync"

// class is what the pre-tokenizers' regular expressions can tell about a character.
type class uint8

const (
	other      class = iota // punctuation, symbols, marks, controls, unassigned; also each byte of invalid UTF-8
	letter                  // \p{L}
	number                  // \p{N}
	space                   // \s
	lateNumber              // other to the regular expressions, a number to Digits

	classMask class = 7
	wordBit   class = 8  // \w, for added tokens that are single words
	lateBit   class = 16 // newer than the reference's normalisers
)

// A classTable gives every code point its class in two steps: pages of 256, equal pages stored once.
type classTable struct {
	ascii [128]class
	page  [0x110000 >> 8]uint8
	pages [][256]class
}

// classes builds the table from the generated ranges on first use: about a millisecond, 40 KB.
var classes = sync.OnceValue(func() *classTable {
	all := make([]class, 0x110000)
	for _, set := range []struct {
		ranges [][2]rune
		bits   class
	}{
		{letterRanges, letter},
		{numberRanges, number},
		{spaceRanges, space},
		{lateNumberRanges, lateNumber},
		{wordRanges, wordBit},
		{lateNormRanges, lateBit},
	} {
		for _, r := range set.ranges {
			for c := r[0]; c <= r[1]; c++ {
				all[c] |= set.bits
			}
		}
	}
	t := &classTable{}
	seen := map[[256]class]uint8{}
	for i := range t.page {
		page := [256]class(all[i<<8 : i<<8+256])
		n, ok := seen[page]
		if !ok {
			n = uint8(len(t.pages)) // 140 distinct pages; TestClassPages watches the bound
			seen[page] = n
			t.pages = append(t.pages, page)
		}
		t.page[i] = n
	}
	copy(t.ascii[:], all)
	return t
})

// bits returns the class of r with its flags. r must be at most 0x10FFFF.
func (t *classTable) bits(r rune) class { return t.pages[t.page[r>>8]][r&255] }

// of returns the class of the character at the start of b and its length in bytes. b is not empty. A byte that is not the
// start of valid UTF-8 is a character of its own, of class other.
func (t *classTable) of(b []byte) (c class, size int) {
	if b[0] < 0x80 {
		return t.ascii[b[0]] & classMask, 1
	}
	r, size := decode(b)
	if r < 0 {
		return other, 1
	}
	return t.bits(r) & classMask, size
}
