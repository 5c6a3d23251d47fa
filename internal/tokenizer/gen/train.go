//go:build ignore

// Trains the small tokenizers in ../testdata, one for each kind that the package reads, on a text of our own: byte-pair encoding as in
// Sennrich et al. 2016, ties to the pair that comes first in byte order. Run in this directory:
//
//	go run train.go && node golden.mjs
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"unicode"
)

const corpus = `The firewall reads what comes in before the model does. Most of what it reads is ordinary: letters, orders, questions,
notes from a meeting, a recipe, a page about birds. Some of it gives orders. It says to forget what was said before, to take another
role, to print what should stay hidden, and it says so in many voices. The reader does not look for words. It looks at what the words
do. When the text pulls, the states of the model move, and that movement can be measured and counted and compared.
We can't say that it won't be wrong; it's an alarm, they've been told, and we'll say so, I'm sure. You're free to check: he'd do it.
THE LETTER SAID: DON'T OPEN THIS BEFORE 1999. In 2024 there were 365 days and 1,234 more; 3.14159 is not 22/7.
	for i := 0; i < 10; i++ {
		fmt.Println("line", i)   // four    spaces     and    more
	}

Une phrase française où l'été arrive déjà, et après ça une autre; Straße, Größe, über, schön. Ещё одна строка по-русски, и ещё одна.
日本語の文章もここにある。中文也在这里。 한국어 문장도 있다. هذه جملة عربية. यह हिन्दी है। Ελληνικά γράμματα. עברית. ไทย.
naïve café résumé Zürich coöperate — “quotes” … and emoji 😀 😀 😁 🚀 at the end.
`

func main() {
	_, merges := train(byteWords(), 300)
	var spell []string
	for b := range 256 {
		spell = append(spell, string(alphabet[byte(b)]))
	}
	base := append([]string{"<|endoftext|>", "<|close|>"}, spell...)
	for _, m := range merges {
		base = append(base, m[0]+m[1])
	}
	special := []any{added(0, "<|endoftext|>", nil), added(1, "<|close|>", nil)}
	byteLevel := func(prefix, regex bool) any {
		return map[string]any{"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex}
	}
	split := func(pattern string) any {
		return sequence("pretokenizers", map[string]any{
			"type": "Split", "pattern": map[string]any{"Regex": pattern}, "behavior": "Isolated", "invert": false,
		}, byteLevel(false, false))
	}
	digits := func(individual bool) any {
		return map[string]any{"type": "Digits", "individual_digits": individual}
	}
	decoder := map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}

	// The kind of the embedded detector.
	write("nano", nil, sequence("pretokenizers", digits(true), byteLevel(false, true)), decoder, model(base, merges, nil), special)
	// GPT-2's, with a space put before the text, and runs of digits set apart.
	write("prefix", nil, sequence("pretokenizers", digits(false), byteLevel(true, true)), decoder, model(base, merges, nil), special)
	// SmolLM2's: some bytes have no entry.
	lacking := slices.DeleteFunc(slices.Clone(base), func(s string) bool {
		return s == string(alphabet[4]) || s == string(alphabet[0xF3]) || s == string(alphabet['~'])
	})
	write("lacking", nil, sequence("pretokenizers", digits(true), byteLevel(false, true)), decoder, model(lacking, merges, nil), special)
	// The same with a token for what is unknown.
	write("unknown", nil, byteLevel(false, true), decoder, model(lacking, merges, map[string]any{"unk_token": "<|close|>", "fuse_unk": true}), special)
	// Llama 3's: whole words first, merges as pairs.
	pairs := model(base, merges, map[string]any{"ignore_merges": true, "merges": merges})
	write("llama3", nil, split(`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`), decoder, pairs, special)
	write("qwen2", map[string]any{"type": "NFC"}, split(`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`), decoder, model(base, merges, nil), special)
	// GPT-NeoX's, with added tokens of every sort.
	n := len(base)
	write("neox", map[string]any{"type": "NFC"}, byteLevel(false, true), decoder, model(base, merges, nil), append(slices.Clone(special),
		added(n, "   ", map[string]any{"special": false, "normalized": true}),
		added(n+1, "  ", map[string]any{"special": false, "normalized": true}),
		added(n+2, "word", map[string]any{"single_word": true}),
		added(n+3, "[L]", map[string]any{"lstrip": true}),
		added(n+4, "[R]", map[string]any{"rstrip": true}),
		added(n+5, "[LR]", map[string]any{"lstrip": true, "rstrip": true, "special": false}),
		added(n+6, "é́", map[string]any{"normalized": true, "special": false}),
	))
	write("nfkc", sequence("normalizers", map[string]any{"type": "NFKC"}), byteLevel(false, true), decoder, model(base, merges, nil), special)
	write("nfd", map[string]any{"type": "NFD"}, byteLevel(false, true), decoder, model(base, merges, nil), special)
	write("nfkd", map[string]any{"type": "NFKD"}, byteLevel(false, true), decoder, model(base, merges, nil), special)

	// SentencePiece's kind: characters, with bytes for those that have no entry.
	chars, merges := train(spaceWords(), 300)
	spm := []string{"<unk>", "<s>", "</s>"}
	for b := range 256 {
		spm = append(spm, fmt.Sprintf("<0x%02X>", b))
	}
	for _, m := range merges {
		spm = append(spm, m[0]+m[1])
	}
	spm = append(spm, chars...)
	special = []any{added(0, "<unk>", nil), added(1, "<s>", nil), added(2, "</s>", nil)}
	options := map[string]any{"unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true}
	replace := func(from, to string) any {
		return map[string]any{"type": "Replace", "pattern": map[string]any{"String": from}, "content": to}
	}
	decoder = sequence("decoders", replace("▁", " "), map[string]any{"type": "ByteFallback"}, map[string]any{"type": "Fuse"},
		map[string]any{"type": "Strip", "content": " ", "start": 1, "stop": 0}).(map[string]any)
	write("spm", sequence("normalizers", map[string]any{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")), nil, decoder, model(spm, merges, options), special)
	for _, scheme := range []string{"always", "first", "never"} {
		metaspace := map[string]any{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": scheme == "always"}
		write("metaspace-"+scheme, nil, metaspace, metaspace, model(spm, merges, options), special)
	}
	// Gemma's: the text is one word, for its spaces are gone when it is split behind them. And one where they are not.
	gemma := map[string]any{"type": "Split", "pattern": map[string]any{"String": " "}, "behavior": "MergedWithPrevious", "invert": false}
	plain := sequence("decoders", replace("▁", " "), map[string]any{"type": "ByteFallback"}, map[string]any{"type": "Fuse"})
	write("whole", replace(" ", "▁"), gemma, plain, model(spm, merges, options), special)
	write("words", nil, gemma, plain, model(spm, merges, options), special)
	// Without bytes, and the unknown not fused.
	without := slices.DeleteFunc(slices.Clone(spm), func(s string) bool { return strings.HasPrefix(s, "<0x") })
	write("charunk", replace(" ", "▁"), nil, nil, model(without, merges, map[string]any{"unk_token": "<unk>"}), special)
}

var alphabet = func() (a [256]rune) {
	next := rune(256)
	for b := range rune(256) {
		a[b] = b
		if b < '!' || b > '~' && b < 0xA1 || b == 0xAD {
			a[b] = next
			next++
		}
	}
	return a
}()

func sequence(key string, parts ...any) any { return map[string]any{"type": "Sequence", key: parts} }

func added(id int, content string, set map[string]any) any {
	tok := map[string]any{
		"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
	}
	for k, v := range set {
		tok[k] = v
	}
	return tok
}

func model(tokens []string, merges [][2]string, set map[string]any) any {
	vocab := map[string]int{}
	for _, t := range tokens {
		if _, ok := vocab[t]; !ok {
			vocab[t] = len(vocab)
		}
	}
	var list []string
	for _, m := range merges {
		if _, ok := vocab[m[0]]; !ok {
			continue
		}
		if _, ok := vocab[m[1]]; !ok {
			continue
		}
		list = append(list, m[0]+" "+m[1])
	}
	m := map[string]any{
		"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
		"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": list,
	}
	for k, v := range set {
		m[k] = v
	}
	return m
}

func write(name string, normalizer, pre, decoder, model any, added []any) {
	data, err := json.Marshal(map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": normalizer,
		"pre_tokenizer": pre, "post_processor": nil, "decoder": decoder, "model": model,
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("../testdata/"+name+".json", append(data, '\n'), 0o644); err != nil {
		log.Fatal(err)
	}
}

// byteWords cuts the corpus roughly as GPT-2 does, each word a list of bytes in the alphabet.
func byteWords() (words [][]string) {
	var word []string
	kind, space := -1, false
	for _, r := range corpus {
		k := 3
		switch {
		case unicode.IsLetter(r):
			k = 0
		case unicode.IsDigit(r):
			k = 1
		case unicode.IsSpace(r):
			k = 2
		}
		if k != kind && !space || space && k == 2 || k == 1 {
			words = append(words, word)
			word = nil
		}
		for _, b := range []byte(string(r)) {
			word = append(word, string(alphabet[b]))
		}
		kind, space = k, r == ' '
	}
	return append(words, word)
}

func spaceWords() (words [][]string) {
	for _, w := range strings.SplitAfter(strings.ReplaceAll(corpus, " ", "▁"), "\n") {
		var word []string
		for _, r := range "▁" + w {
			if r == '▁' && len(word) > 0 && word[len(word)-1] != "▁" {
				words = append(words, word)
				word = nil
			}
			word = append(word, string(r))
		}
		words = append(words, word)
	}
	return words
}

// train returns the characters of words, in order, and n merges.
func train(words [][]string, n int) (chars []string, merges [][2]string) {
	seen := map[string]bool{}
	for _, w := range words {
		for _, c := range w {
			if !seen[c] {
				seen[c] = true
				chars = append(chars, c)
			}
		}
	}
	slices.Sort(chars)
	chars = chars[:len(chars)*9/10] // the last ones have no entry in models of characters
	for len(merges) < n {
		count := map[[2]string]int{}
		for _, w := range words {
			for i := range len(w) - 1 {
				count[[2]string{w[i], w[i+1]}]++
			}
		}
		var best [2]string
		for p, c := range count {
			if b := count[best]; c > b || c == b && (p[0] < best[0] || p[0] == best[0] && p[1] < best[1]) {
				best = p
			}
		}
		if count[best] < 2 {
			break
		}
		merges = append(merges, best)
		for k, w := range words {
			out := w[:0:0]
			for i := 0; i < len(w); i++ {
				if i+1 < len(w) && w[i] == best[0] && w[i+1] == best[1] {
					out = append(out, w[i]+w[i+1])
					i++
				} else {
					out = append(out, w[i])
				}
			}
			words[k] = out
		}
	}
	return chars, merges
}
