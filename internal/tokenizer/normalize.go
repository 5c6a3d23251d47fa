package tokenizer

import (
	"bytes"
	"slices"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A view is text on its way to ids, and for each of its bytes the bytes of the caller's text that it stands for.
type view struct {
	text       []byte
	base       int32   // where text begins in the caller's text, when start is nil: text is then a copy of it
	start, end []int32 // (len(text)) half-open range of each byte; non-decreasing; nil when text is a copy
}

// at returns the caller's range that text[lo:hi] stands for; an empty one before byte lo when lo == hi.
func (v *view) at(lo, hi int) (start, end int32) {
	if v.start == nil {
		return v.base + int32(lo), v.base + int32(hi)
	}
	if lo == hi {
		return v.start[lo], v.start[lo]
	}
	return v.start[lo], v.end[hi-1]
}

// sub returns text[lo:hi] as a view that shares its memory.
func (v *view) sub(lo, hi int) view {
	if v.start == nil {
		return view{text: v.text[lo:hi], base: v.base + int32(lo)}
	}
	return view{text: v.text[lo:hi], start: v.start[lo:hi], end: v.end[lo:hi]}
}

// reset empties a view that is about to be written byte by byte, keeping its memory.
func (v *view) reset() {
	v.text, v.start, v.end = v.text[:0], v.start[:0], v.end[:0]
}

// copy appends src.text[lo:hi] as it is.
func (v *view) copy(src *view, lo, hi int) {
	v.text = append(v.text, src.text[lo:hi]...)
	if src.start != nil {
		v.start = append(v.start, src.start[lo:hi]...)
		v.end = append(v.end, src.end[lo:hi]...)
		return
	}
	n := len(v.start)
	v.start = slices.Grow(v.start, hi-lo)[:n+hi-lo]
	v.end = slices.Grow(v.end, hi-lo)[:n+hi-lo]
	start, end := v.start[n:], v.end[n:]
	for i := range start {
		start[i] = src.base + int32(lo+i)
	}
	for i := range end {
		end[i] = src.base + int32(lo+i) + 1
	}
}

// insert appends s, every byte of which stands for the caller's bytes start to end.
func (v *view) insert(s string, start, end int32) {
	v.text = append(v.text, s...)
	for range len(s) {
		v.start = append(v.start, start)
		v.end = append(v.end, end)
	}
}

// A normalizer rewrites src into dst, or returns false when nothing changes. dst shares no memory with src. It may stop early once dst is longer
// than s.limit.
type normalizer interface {
	apply(dst, src *view, s *scratch) bool
}

// prepend puts a fixed text before any text that is not empty.
type prepend string

func (p prepend) apply(dst, src *view, _ *scratch) bool {
	if len(src.text) == 0 || p == "" {
		return false
	}
	dst.reset()
	start, _ := src.at(0, 0)
	dst.insert(string(p), start, start)
	dst.copy(src, 0, len(src.text))
	return true
}

// replace puts one fixed text for every occurrence of another, left to right.
type replace struct{ old, new string }

func (r replace) apply(dst, src *view, s *scratch) bool {
	old := []byte(r.old) // stays on the stack: short
	if !bytes.Contains(src.text, old) {
		return false
	}
	dst.reset()
	for i := 0; ; {
		n := bytes.Index(src.text[i:], old)
		if n < 0 || len(dst.text) > s.limit {
			dst.copy(src, i, len(src.text))
			return true
		}
		dst.copy(src, i, i+n)
		i += n
		start, end := src.at(i, i+len(old))
		dst.insert(r.new, start, end)
		i += len(old)
	}
}

// form is Unicode normalisation (UAX #15) as the reference's library knows it: characters newer than Unicode 9.0 are left alone,
// as if unassigned, and no grapheme joiner is put into long runs of marks, which is why [norm.Form] alone does not do.
type form struct {
	norm.Form
	compose bool
}

// An item is one character of a segment that is being normalised.
type item struct {
	r      rune
	ccc    uint8
	raw    bool  // the bytes of the source at lo to hi, unchanged
	lo, hi int32 // in the source view
}

func (f form) apply(dst, src *view, s *scratch) bool {
	clean := f.QuickSpan(src.text)
	if clean == len(src.text) {
		return false
	}
	dst.reset()
	dst.copy(src, 0, clean)
	// What follows is cut into segments that cannot affect each other: each ends where a character begins that never moves
	// or joins to the left.
	for i := clean; i < len(src.text) && len(dst.text) <= s.limit; {
		j := i
		for j+1 < len(src.text) && src.text[j] < utf8.RuneSelf && src.text[j+1] < utf8.RuneSelf {
			j++
		}
		if j > i {
			dst.copy(src, i, j)
			i = j
		}
		s.items = f.decompose(s.items[:0], src.text, i)
		for j = int(s.items[len(s.items)-1].hi); j < len(src.text) && !f.boundary(src.text[j:]); {
			s.items = f.decompose(s.items, src.text, j)
			j = int(s.items[len(s.items)-1].hi)
		}
		items := f.reorder(s.items)
		for k := range items {
			it := &items[k]
			if r, n := decode(src.text[it.lo:it.hi]); it.raw || r == it.r && n == int(it.hi-it.lo) {
				dst.copy(src, int(it.lo), int(it.hi)) // as it was, or composed again: each byte stands for itself
				continue
			}
			start, end := src.at(int(it.lo), int(it.hi))
			var b [utf8.UTFMax]byte
			n := utf8.EncodeRune(b[:], it.r)
			dst.text = append(dst.text, b[:n]...)
			for range n {
				dst.start = append(dst.start, start)
				dst.end = append(dst.end, end)
			}
		}
		i = j
	}
	return true
}

// boundary says whether the character at the start of b begins a segment.
func (f form) boundary(b []byte) bool {
	r, _ := decode(b)
	return r < utf8.RuneSelf || classes().bits(r)&lateBit != 0 || f.Properties(b).BoundaryBefore()
}

// decompose appends the full decomposition of the character at text[i:].
func (f form) decompose(items []item, text []byte, i int) []item {
	r, n := decode(text[i:])
	one := item{r: r, raw: true, lo: int32(i), hi: int32(i + n)}
	if r < utf8.RuneSelf || classes().bits(r)&lateBit != 0 {
		return append(items, one)
	}
	if r >= hangulBase && r < hangulEnd { // The Unicode Standard, section 3.12
		r -= hangulBase
		for _, jamo := range [3]rune{0x1100 + r/588, 0x1161 + r%588/28, 0x11A7 + r%28} {
			if jamo != 0x11A7 {
				items = append(items, item{r: jamo, lo: one.lo, hi: one.hi})
			}
		}
		return items
	}
	p := f.Properties(text[i:])
	d := p.Decomposition()
	if len(d) == 0 {
		one.ccc = p.CCC()
		return append(items, one)
	}
	for len(d) > 0 {
		r, n := utf8.DecodeRune(d)
		items = append(items, item{r: r, ccc: norm.NFD.Properties(d).CCC(), lo: one.lo, hi: one.hi})
		d = d[n:]
	}
	return items
}

const (
	hangulBase = 0xAC00
	hangulEnd  = 0xD7A4
)

// reorder sorts marks (UAX #15, D109) and composes (D117) in place.
func (f form) reorder(items []item) []item {
	moved := false
	for i := 0; i < len(items); i++ {
		j := i
		for j < len(items) && items[j].ccc != 0 {
			j++
		}
		if run := items[i:j]; !slices.IsSortedFunc(run, byClass) {
			slices.SortStableFunc(run, byClass)
			moved = true
		}
		i = j
	}
	if f.compose {
		n, starter, last := 0, -1, -1 // last: the class of what stands between the starter and here, -1 for nothing
		for _, it := range items {
			if starter >= 0 && (last < 0 || last != 0 && last < int(it.ccc)) {
				if c, ok := pair(items[starter].r, it.r); ok {
					st := &items[starter]
					st.r, st.raw = c, false
					st.lo, st.hi = min(st.lo, it.lo), max(st.hi, it.hi)
					continue
				}
			}
			if it.ccc == 0 {
				starter, last = n, -1
			} else {
				last = int(it.ccc)
			}
			items[n] = it
			n++
		}
		moved = moved || n < len(items)
		items = items[:n]
	}
	if moved {
		// Offsets in order: each range grows over what moved across it.
		for i := 1; i < len(items); i++ {
			if p := items[i-1].hi; p > items[i].hi {
				items[i].hi, items[i].raw = p, false
			}
		}
		for i := len(items) - 2; i >= 0; i-- {
			if p := items[i+1].lo; p < items[i].lo {
				items[i].lo, items[i].raw = p, false
			}
		}
	}
	return items
}

func byClass(a, b item) int { return int(a.ccc) - int(b.ccc) }

// pair returns the primary composite of a and b.
func pair(a, b rune) (rune, bool) {
	switch {
	case b < utf8.RuneSelf:
		return 0, false
	case a >= 0x1100 && a <= 0x1112 && b >= 0x1161 && b <= 0x1175: // Hangul, a consonant and a vowel
		return hangulBase + (a-0x1100)*588 + (b-0x1161)*28, true
	case a >= hangulBase && a < hangulEnd && (a-hangulBase)%28 == 0 && b >= 0x11A8 && b <= 0x11C2:
		return a + b - 0x11A7, true
	}
	c, ok := composites()[[2]rune{a, b}]
	return c, ok
}

// composites are the primary composites that Unicode 9.0 has, but for Hangul: about a thousand. The last of a full decomposition and what the others
// compose to are the pair that it was made of.
var composites = sync.OnceValue(func() map[[2]rune]rune {
	m := make(map[[2]rune]rune)
	var b [utf8.UTFMax]byte
	for c := rune(0xC0); c < 0x30000; c++ {
		p := norm.NFC.Properties(b[:utf8.EncodeRune(b[:], c)])
		d := p.Decomposition()
		if len(d) == 0 || c >= hangulBase && c < hangulEnd || classes().bits(c)&lateBit != 0 || !norm.NFC.IsNormal(b[:utf8.RuneLen(c)]) {
			continue
		}
		last, size := utf8.DecodeLastRune(d)
		first, n := utf8.DecodeRune(norm.NFC.Bytes(d[:len(d)-size]))
		if n > 0 {
			m[[2]rune{first, last}] = c
		}
	}
	return m
})

// decode is [utf8.DecodeRune] with -1 for a byte that is not valid.
func decode(b []byte) (rune, int) {
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n == 1 {
		return -1, 1
	}
	return r, n
}
