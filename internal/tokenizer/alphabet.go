package tokenizer

import (
	"strings"
	"sync"
)

// alphabet is how byte-level models spell bytes as characters: printable ones of Latin-1 as themselves, the others from U+0100
// on, in order (GPT-2, encoder.py, bytes_to_unicode).
var alphabet = sync.OnceValue(func() *struct {
	spell [256]rune
	bytes [324]int16 // by character; -1 for none
} {
	a := new(struct {
		spell [256]rune
		bytes [324]int16
	})
	for i := range a.bytes {
		a.bytes[i] = -1
	}
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if b < '!' || b > '~' && b < 0xA1 || b == 0xAD {
			r = next
			next++
		}
		a.spell[b] = r
		a.bytes[r] = int16(b)
	}
	return a
})

// unspell returns the bytes that a byte-level token stands for, and false if it has a character that is not of the alphabet.
func unspell(token string) (string, bool) {
	a := alphabet()
	var b strings.Builder
	b.Grow(len(token))
	for _, r := range token {
		if int(r) >= len(a.bytes) || a.bytes[r] < 0 {
			return "", false
		}
		b.WriteByte(byte(a.bytes[r]))
	}
	return b.String(), true
}
