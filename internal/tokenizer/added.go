package tokenizer

import (
	"slices"
	"unicode/utf8"
)

// An addedToken is one that the model's merges do not make.
type addedToken struct {
	id             int32
	content        string // as it is looked for: normalised if the file says so
	word           bool   // only where no word character is beside it
	lstrip, rstrip bool   // takes in the white space before it, after it
}

// index lists tokens by their first byte, longest first.
func index(tokens []addedToken) (by [256][]int32) {
	for i, tok := range tokens {
		by[tok.content[0]] = append(by[tok.content[0]], int32(i))
	}
	for _, list := range by {
		slices.SortStableFunc(list, func(a, b int32) int { return len(tokens[b].content) - len(tokens[a].content) })
	}
	return by
}

// find calls yield for the added tokens in text, leftmost and of these longest first, and with id -1 for what is between them, in order.
// yield must not change text.
func find(text []byte, tokens []addedToken, by *[256][]int32, yield func(id int32, lo, hi int)) {
	done := 0
	for i := 0; i < len(text); {
		tok, ok := match(text[i:], tokens, by)
		if !ok {
			i++
			continue
		}
		lo, hi := i, i+len(tok.content)
		i = hi
		if tok.word && (wordBefore(text[:lo]) || wordAfter(text[hi:])) {
			continue
		}
		lo = max(lo, done)
		if tok.lstrip {
			for lo > done {
				c, n := classBefore(text[:lo])
				if c&classMask != space || lo-n < done {
					break
				}
				lo -= n
			}
		}
		if tok.rstrip {
			hi += classes().run(text[hi:], space)
		}
		hi = max(hi, done)
		if done < lo {
			yield(-1, done, lo)
		}
		yield(tok.id, lo, hi)
		done = hi
	}
	if done < len(text) {
		yield(-1, done, len(text))
	}
}

func match(text []byte, tokens []addedToken, by *[256][]int32) (addedToken, bool) {
	for _, k := range by[text[0]] {
		if c := tokens[k].content; len(c) <= len(text) && string(text[:len(c)]) == c {
			return tokens[k], true
		}
	}
	return addedToken{}, false
}

// classBefore returns class, flags and length of the last character of b.
func classBefore(b []byte) (class, int) {
	r, n := utf8.DecodeLastRune(b)
	if r == utf8.RuneError && n <= 1 {
		return other, n
	}
	return classes().bits(r), n
}

func wordBefore(b []byte) bool {
	c, _ := classBefore(b)
	return c&wordBit != 0
}

func wordAfter(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	r, _ := decode(b)
	return r >= 0 && classes().bits(r)&wordBit != 0
}
