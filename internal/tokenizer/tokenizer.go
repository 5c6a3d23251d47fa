// Package tokenizer turns text into the token ids of a language model, with the exact bytes of the text that each token stands for.
//
// [Parse] reads a tokenizer.json as Hugging Face tokenizers writes it; [Tokenizer.Encode] does the work. Ids agree with that library
// (0.23.2 is the reference) for byte-pair encodings of two kinds: byte-level ones with the pre-tokenizers of GPT-2, SmolLM2, Llama 3,
// Qwen2 and GPT-NeoX, and SentencePiece-style ones with byte fallback, as Llama 2, TinyLlama and Gemma have. A file that asks for anything
// else is refused with the name of what is not known: nothing is skipped over.
//
// It differs from the reference where screening untrusted text asks for it:
//
//   - In Encode, added tokens that occur in the text are plain text, whatever they are for: nobody writes a control token from
//     outside. [Tokenizer.EncodeTemplate] honours them, for text of the operator's own.
//   - Bytes without any vocabulary entry are reported in [Encoding.Lost]. The reference drops them without a trace, which lets a
//     writer hide characters; the ids around them are the reference's.
//   - Text need not be valid UTF-8: a byte that is not part of a character is one of its own, neither letter nor space, and keeps its
//     value.
//   - Offsets are bytes of the caller's text, through normalisers too.
//   - The file's truncation, padding and post-processor are not applied: every text is encoded whole, and nothing, such as a
//     beginning-of-text token, is added to it.
//
// Characters are classified as the reference does it, whatever Unicode version Go has: by Unicode 16.0 in regular expressions, by 17.0
// for the Digits pre-tokenizer; normalisation leaves characters that are newer than 9.0 alone. See gen/tables.mjs.
package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	// MaxText is the longest text in bytes that Encode takes.
	MaxText = 64 << 20
	// maxGrowth is how many times as long normalisers may make a text, so that memory stays linear in it. White space becomes three
	// bytes where SentencePiece's marker replaces it, and NFKC makes 33 bytes of the 3 of U+FDFA.
	maxGrowth = 12
	// maxInsert is the longest text in bytes that a normaliser may put in at one place.
	maxInsert = 16
)

// ErrTooLong says that a text is longer than [MaxText], or becomes too long in the tokenizer's normaliser.
var ErrTooLong = errors.New("text is too long to be tokenised at once")

// A Tokenizer turns text into ids. It does not change after [Parse], and any number of goroutines may use it at once.
type Tokenizer struct {
	tokens []string         // by id; "" where an id has no token
	known  []bool           // by id: whether it has a token
	ids    map[string]int32 // of every token as it is written in the file, added ones included

	normalizers []normalizer
	scanners    []scanner // cut the text into words, each the pieces of the one before
	prefix      *prefix   // applied before scanners[prefixAt]
	prefixAt    int

	byteLevel bool           // the model's characters are bytes, spelled in GPT-2's alphabet
	bytes     [256]int32     // ids of single bytes: by value if byteLevel, else those that <0x00> to <0xFF> stand for; -1 for none
	ascii     [128]int32     // ids of single characters, if not byteLevel; -1 for none
	runes     map[rune]int32 // ids of the other single characters, if not byteLevel
	unk       int32          // stands for a character without an entry; -1 for none
	fuse      bool           // neighbouring unk become one
	merges    *mergeTable
	words     map[string]int32 // words that are known to become one token, as they are in the text
	longest   int              // bytes of the longest of words

	added   []addedToken // matched in the text as it is
	addedBy [256][]int32 // those that begin with a byte, longest first
	norm    []addedToken // matched after normalisation
	normBy  [256][]int32

	decoders []decoder
	join     string // between the tokens of Decode
	spelled  bool   // Decode reads GPT-2's alphabet
}

// A Range is a half-open range of bytes of the text that was encoded.
type Range struct{ Start, End int32 }

// An Encoding receives what Encode finds. The zero value is ready; [Encoding.Reset] readies it again and keeps its memory.
type Encoding struct {
	IDs []int32
	// Start and End, as long as IDs, are each token's bytes in the text, half open. Both are non-decreasing. Together with Lost
	// they cover the text. A token that a normaliser put in, such as white space before the text, has an empty range; tokens that share a
	// character which a normaliser changed overlap there.
	Start, End []int32
	// Lost are the bytes that have no entry in the vocabulary, in order and apart from each other. They are in no token, unless
	// the vocabulary has a token for the unknown, which then stands for them, or the characters on both sides became one token.
	Lost []Range
}

// Reset empties e and keeps its memory.
func (e *Encoding) Reset() {
	e.IDs, e.Start, e.End, e.Lost = e.IDs[:0], e.Start[:0], e.End[:0], e.Lost[:0]
}

func (e *Encoding) add(id, start, end int32) {
	e.IDs = append(e.IDs, id)
	e.Start = append(e.Start, start)
	e.End = append(e.End, end)
}

func (e *Encoding) lose(start, end int32) {
	if start >= end {
		return
	}
	if n := len(e.Lost); n > 0 && e.Lost[n-1].End >= start {
		e.Lost[n-1].End = max(end, e.Lost[n-1].End)
		return
	}
	e.Lost = append(e.Lost, Range{start, end})
}

// scratch is the memory of one Encode.
type scratch struct {
	cur   view    // the text as far as it has come: shares memory with views, or is a copy of the caller's
	views [3]view // 0 and 1 take turns in the normalisers, 2 is the prefix step's
	cuts  [2][]int32
	syms  []symbol
	items []item
	limit int // bytes that normalisers may make

	next, prev []int32
	queue      queue
}

// maxKept is the memory in bytes of its largest buffer up to which scratch is kept for the next text: what one long text
// needed must not stay for ever.
const maxKept = 8 << 20

var pool = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) release() {
	kept := 0
	for i := range s.views {
		kept = max(kept, cap(s.views[i].text), 4*cap(s.views[i].start))
	}
	kept = max(kept, 4*cap(s.cuts[0]), 4*cap(s.cuts[1]), 12*cap(s.syms), 24*cap(s.items), 8*cap(s.queue.nodes))
	if kept <= maxKept {
		pool.Put(s)
	}
}

// Encode appends the tokens of text to e; what e has already counts for nothing. Offsets are relative to text. Everything in text is plain
// text, the spelling of special tokens too. It fails with [ErrTooLong] only, and then e is as it was. Its memory grows linearly with the
// text and is reused; e must not be used by others meanwhile.
func (t *Tokenizer) Encode(e *Encoding, text string) error {
	return t.encode(e, text, false)
}

// EncodeTemplate is Encode, but added tokens that are written in text become their ids, under the conditions that the file states for
// each (single words only, white space around it taken in). It is for text that the operator wrote: in anybody else's, it would let them
// write control tokens.
func (t *Tokenizer) EncodeTemplate(e *Encoding, text string) error {
	return t.encode(e, text, true)
}

func (t *Tokenizer) encode(e *Encoding, text string, template bool) error {
	if len(text) > MaxText {
		return fmt.Errorf("%w: %d bytes of at most %d", ErrTooLong, len(text), MaxText)
	}
	s := pool.Get().(*scratch)
	defer s.release()
	ids, lost := len(e.IDs), len(e.Lost)
	if lost > 0 {
		e.Lost = append(e.Lost, Range{-2, -2}) // a wall: ranges of two texts do not grow together
	}
	err := t.sections(e, s, text, template)
	if lost > 0 {
		e.Lost = append(e.Lost[:lost], e.Lost[lost+1:]...)
	}
	if err != nil {
		e.IDs, e.Start, e.End, e.Lost = e.IDs[:ids], e.Start[:ids], e.End[:ids], e.Lost[:lost]
	}
	return err
}

// sections encodes what is between added tokens.
func (t *Tokenizer) sections(e *Encoding, s *scratch, text string, template bool) error {
	if !template || len(t.added) == 0 {
		return t.section(e, s, text, 0, template)
	}
	src := []byte(text)
	var err error
	find(src, t.added, &t.addedBy, func(id int32, lo, hi int) {
		switch {
		case err != nil:
		case id >= 0:
			e.add(id, int32(lo), int32(hi))
		default:
			err = t.section(e, s, text[lo:hi], int32(lo), template)
		}
	})
	return err
}

// section normalises and encodes a text that begins at base in the caller's.
func (t *Tokenizer) section(e *Encoding, s *scratch, text string, base int32, template bool) error {
	if text == "" {
		return nil
	}
	v := &s.views[0]
	v.text = append(v.text[:0], text...)
	cur := &s.cur
	*cur = view{text: v.text, base: base}
	s.limit = maxGrowth*len(text) + 1<<10
	other := 1
	for _, n := range t.normalizers {
		if n.apply(&s.views[other], cur, s) {
			*cur = s.views[other]
			other = 1 - other
		}
		if len(cur.text) > s.limit {
			return fmt.Errorf("%w: %d bytes grow beyond %d when normalised", ErrTooLong, len(text), s.limit)
		}
	}
	if template && len(t.norm) > 0 {
		find(cur.text, t.norm, &t.normBy, func(id int32, lo, hi int) {
			if id >= 0 {
				start, end := cur.at(lo, hi)
				e.add(id, start, end)
				return
			}
			sub := cur.sub(lo, hi)
			t.split(e, s, &sub)
		})
		return nil
	}
	t.split(e, s, cur)
	return nil
}

// split cuts a view into words and encodes each.
func (t *Tokenizer) split(e *Encoding, s *scratch, v *view) {
	if len(v.text) == 0 {
		return
	}
	table := classes()
	cuts, spare := s.cuts[0][:0], s.cuts[1][:0]
	cuts = append(cuts, int32(len(v.text)))
	for i := 0; ; i++ {
		if t.prefix != nil && t.prefixAt == i {
			cuts = t.prefix.apply(&s.views[2], v, cuts)
			v = &s.views[2]
		}
		if i == len(t.scanners) {
			break
		}
		spare = spare[:0]
		lo := 0
		for _, cut := range cuts {
			for lo < int(cut) {
				lo += t.scanners[i].next(table, v.text[lo:cut])
				spare = append(spare, int32(lo))
			}
		}
		cuts, spare = spare, cuts
	}
	lo := 0
	for _, cut := range cuts {
		t.word(e, s, v, lo, int(cut))
		lo = int(cut)
	}
	s.cuts[0], s.cuts[1] = cuts, spare
}

// word encodes v.text[lo:hi], which no token crosses.
func (t *Tokenizer) word(e *Encoding, s *scratch, v *view, lo, hi int) {
	if n := hi - lo; n <= t.longest {
		if n == 1 && t.byteLevel && t.bytes[v.text[lo]] >= 0 {
			start, end := v.at(lo, hi)
			e.add(t.bytes[v.text[lo]], start, end)
			return
		}
		if id, ok := t.words[string(v.text[lo:hi])]; ok {
			start, end := v.at(lo, hi)
			e.add(id, start, end)
			return
		}
	}
	s.syms = t.symbols(s.syms[:0], e, v, lo, hi)
	for _, sym := range t.merges.merge(s.syms, s) {
		start, end := v.at(int(sym.lo), int(sym.hi))
		e.add(sym.id, start, end)
	}
}

// symbols appends the tokens of the single characters of v.text[lo:hi], and reports those that have none. e may be nil.
func (t *Tokenizer) symbols(syms []symbol, e *Encoding, v *view, lo, hi int) []symbol {
	unknown := false // the symbol before is one for the unknown
	for i := lo; i < hi; {
		var id int32
		n := 1
		if t.byteLevel {
			id = t.bytes[v.text[i]]
		} else if c := v.text[i]; c < utf8.RuneSelf {
			if id = t.ascii[c]; id < 0 {
				id = t.bytes[c]
			}
		} else {
			var r rune
			r, n = decode(v.text[i:hi])
			var ok bool
			if id, ok = t.runes[r]; !ok {
				id = -1
				if t.bytes[c] >= 0 { // all or none of the 256 are there
					for k := range n {
						syms = append(syms, symbol{t.bytes[v.text[i+k]], int32(i + k), int32(i + k + 1)})
					}
					i += n
					unknown = false
					continue
				}
			}
		}
		switch {
		case id >= 0:
			syms = append(syms, symbol{id, int32(i), int32(i + n)})
			unknown = false
		default:
			if e != nil {
				e.lose(v.at(i, i+n))
			}
			if t.unk < 0 {
				break
			}
			if unknown && t.fuse {
				syms[len(syms)-1].hi = int32(i + n)
				break
			}
			syms = append(syms, symbol{t.unk, int32(i), int32(i + n)})
			unknown = true
		}
		i += n
	}
	return syms
}

// Vocab returns the number of ids: one more than the greatest. Ids between may have no token.
func (t *Tokenizer) Vocab() int { return len(t.tokens) }

// ID returns the id of a token, spelled as in tokenizer.json: in GPT-2's alphabet for byte-level models, with ▁ for white space
// in SentencePiece ones. Added tokens are found too.
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.ids[token]
	return id, ok
}

// Token returns the spelling of an id in tokenizer.json, and "" for an id that has none.
func (t *Tokenizer) Token(id int32) string {
	if id < 0 || int(id) >= len(t.tokens) {
		return ""
	}
	return t.tokens[id]
}

// Decode returns the text that ids stand for, added tokens as they are written. For byte-level models it is the exact inverse of
// [Tokenizer.Encode] where nothing was lost and no normaliser changed anything, and like the text need not be valid UTF-8. Ids without a token
// stand for nothing.
func (t *Tokenizer) Decode(ids []int32) string {
	parts := make([]string, 0, len(ids))
	for _, id := range ids {
		if id < 0 || int(id) >= len(t.tokens) || !t.known[id] {
			continue
		}
		parts = append(parts, t.tokens[id])
	}
	if t.spelled {
		var b strings.Builder
		for _, p := range parts {
			if raw, ok := unspell(p); ok {
				b.WriteString(raw)
			} else {
				b.WriteString(p) // an added token
			}
		}
		return b.String()
	}
	for _, d := range t.decoders {
		parts = d(parts)
	}
	return strings.Join(parts, t.join)
}
