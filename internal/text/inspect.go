package text

import (
	"cmp"
	"slices"
	"unicode"
	"unicode/utf8"
)

const (
	// maxRounds is how often disguises are undone that lie over one another, such as references to fullwidth letters.
	maxRounds = 3
	// maxDepth is how deep payloads inside payloads are decoded.
	maxDepth = 3
	// maxDecoded is how many bytes all payloads of a segment may have, as a multiple of the segment.
	maxDecoded = 3
	// maxInspect is the longest segment: ranges are 32 bits wide.
	maxInspect = 1 << 29 // 512 MiB
	// mergeGap is the distance in bytes up to which findings of one kind are one finding.
	mergeGap = 16
	// badByte + b stands for byte b that is not part of valid UTF-8.
	badByte = utf8.MaxRune + 1
)

// atom is a character and the bytes of the segment that it came from. Starts and ends never decrease along a slice.
type atom struct {
	r          rune
	start, end int32
}

// Inspector looks for concealment. The zero value is ready. It reuses its buffers and serves one goroutine at a time.
type Inspector struct {
	src, dst []atom // the round's text, and the same after the stage that runs
	hidden   []atom // characters smuggled one or two at a time between visible ones
	scratch  []byte
	normal   []byte  // a cluster in NFKC
	chars    []int32 // positions of a payload's characters
	findings []Finding

	material [kinds]int // changes that matter, by kind; other changes do not make a view
	changed  bool       // the stage wrote something else than it read
	letters  [16]int    // letters of the segment by script
	bad      int        // bytes of the segment that are not UTF-8
	budget   int        // bytes of payloads that may still be decoded
}

// Inspect reports what conceals text in segment, which is usually at most [MaxSegment] bytes. A segment of more than
// 512 MiB panics. Invalid UTF-8 is welcome. Plain text costs one pass and no allocation.
func (in *Inspector) Inspect(segment string) Result {
	if len(segment) > maxInspect {
		panic("text: segment too long")
	}
	t := triage(segment)
	if t == 0 {
		return Result{}
	}
	in.findings = in.findings[:0]
	in.budget = maxDecoded * len(segment)
	var res Result
	if t&hasDisguise != 0 {
		in.decode(segment)
		in.undo(t)
		hidden := slices.Clone(in.hidden)
		res.Undone = in.view(in.src, 0)
		if len(hidden) >= 4 {
			if v := in.build(hidden, Tag); v != nil {
				res.Decoded = append(res.Decoded, *v)
			}
		}
	}
	switch v := res.Undone; {
	case v != nil:
		res.Decoded = in.payloads(res.Decoded, v.Text, triage(v.Text), v.Original, maxDepth)
	case t&(hasRun|hasCodes) != 0:
		res.Decoded = in.payloads(res.Decoded, segment, t, func(s, e int) Range { return Range{s, e} }, maxDepth)
	}
	in.tidy()
	if len(in.findings) > 0 {
		res.Findings = in.findings
	}
	return res
}

// decode fills src with the characters of s and counts letters by script.
func (in *Inspector) decode(s string) {
	in.src, in.hidden = in.src[:0], in.hidden[:0]
	for i := 0; i < len(s); {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			if r, n = utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && n == 1 {
				r = badByte + rune(s[i])
			}
		}
		in.src = append(in.src, atom{r, int32(i), int32(i + n)})
		i += n
	}
	in.reset()
}

// reset prepares for undoing src.
func (in *Inspector) reset() {
	clear(in.letters[:])
	in.bad = 0
	clear(in.material[:])
	for _, a := range in.src {
		if a.r < 0x80 {
			if isLetter(a.r) {
				in.letters[latinScript]++
			}
		} else {
			in.letters[scriptOf(a.r)]++
			if a.r >= badByte {
				in.bad++
			}
		}
	}
}

// undo runs the stages over src until nothing changes.
func (in *Inspector) undo(t trigger) {
	for round := 0; round < maxRounds; round++ {
		again := false
		for _, st := range [...]struct {
			t   trigger
			run func(*Inspector)
		}{
			{hasEscape, (*Inspector).escapes},
			{hasHidden, (*Inspector).overrides},
			{hasHidden, (*Inspector).invisible},
			{hasFold, (*Inspector).compat},
			{hasFold, (*Inspector).words},
			{hasMarkup, (*Inspector).markup},
			{hasSpaced, (*Inspector).spaced},
			{hasLeet, (*Inspector).leetspeak},
		} {
			if t&st.t == 0 {
				continue
			}
			in.dst, in.changed = in.dst[:0], false
			st.run(in)
			if in.changed {
				in.src, in.dst = in.dst, in.src
				again = true
				t = hasDisguise // one disguise may have covered any other
			}
		}
		if !again {
			return
		}
	}
}

// view returns src as a view if a change matters, else nil. base is the number of findings that are not the view's.
func (in *Inspector) view(atoms []atom, base int) *View {
	total, kind := 0, None
	var weight [kinds]float64
	for _, f := range in.findings[base:] {
		weight[f.Kind] += f.Weight
	}
	for k, n := range in.material {
		total += n
		if n > 0 && (kind == None || weight[k] > weight[kind]) {
			kind = Kind(k)
		}
	}
	if total == 0 {
		return nil
	}
	return in.build(atoms, kind)
}

// build writes atoms down.
func (in *Inspector) build(atoms []atom, kind Kind) *View {
	n := 0
	for _, a := range atoms {
		n += max(utf8.RuneLen(a.r), 0)
	}
	if n == 0 {
		return nil
	}
	v := &View{Kind: kind, start: make([]int32, 0, n), end: make([]int32, 0, n)}
	in.scratch = in.scratch[:0]
	var start, end int32
	for _, a := range atoms {
		if a.r >= badByte {
			continue
		}
		was := len(in.scratch)
		in.scratch = utf8.AppendRune(in.scratch, a.r)
		start, end = max(start, a.start), max(end, a.end)
		for range len(in.scratch) - was {
			v.start = append(v.start, start)
			v.end = append(v.end, end)
		}
	}
	v.Text = string(in.scratch)
	v.Range = Range{int(v.start[0]), int(end)}
	return v
}

// note records a finding over bytes [start, end) and counts factor units of its kind's weight.
func (in *Inspector) note(k Kind, start, end int32, count int, factor float64) {
	w := factor * weights[k].unit
	if n := len(in.findings); n > 0 {
		f := &in.findings[n-1]
		if f.Kind == k && int(start) <= f.Range.End+mergeGap && int(end) >= f.Range.Start-mergeGap {
			f.merge(Finding{k, Range{int(start), int(end)}, count, w})
			return
		}
	}
	in.findings = append(in.findings, Finding{k, Range{int(start), int(end)}, count, w})
}

func (f *Finding) merge(g Finding) {
	f.Range.Start = min(f.Range.Start, g.Range.Start)
	f.Range.End = max(f.Range.End, g.Range.End)
	f.Count += g.Count
	f.Weight += g.Weight
}

// tidy sorts findings and merges neighbours of one kind.
func (in *Inspector) tidy() {
	slices.SortStableFunc(in.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Range.Start, b.Range.Start), cmp.Compare(a.Range.End, b.Range.End))
	})
	out := in.findings[:0]
	for _, f := range in.findings {
		if n := len(out); n > 0 && out[n-1].Kind == f.Kind && f.Range.Start <= out[n-1].Range.End+mergeGap {
			out[n-1].merge(f)
			continue
		}
		out = append(out, f)
	}
	in.findings = out
}

// put copies an atom that does not change.
func (in *Inspector) put(a atom) { in.dst = append(in.dst, a) }

// emit writes a character that replaces bytes [start, end).
func (in *Inspector) emit(r rune, start, end int32) {
	in.dst = append(in.dst, atom{r, start, end})
	in.changed = true
}

// last returns the last character written, or 0.
func (in *Inspector) last() rune {
	if n := len(in.dst); n > 0 {
		return in.dst[n-1].r
	}
	return 0
}

func isASCIILetter(r rune) bool { return r < 0x80 && r >= 0 && classes[r]&letter != 0 }

func isASCIIAlnum(r rune) bool { return r < 0x80 && r >= 0 && classes[r]&(letter|digit) != 0 }

func isLetter(r rune) bool {
	if r < 0x80 {
		return isASCIILetter(r)
	}
	return unicode.IsLetter(r)
}

func isAlnum(r rune) bool { return isLetter(r) || isASCIIAlnum(r) || r >= 0x80 && unicode.IsDigit(r) }
