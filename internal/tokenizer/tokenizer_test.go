package tokenizer

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestClasses compares with Go's tables, for the characters that both know: a code point's category does not change once it is
// assigned, but for a handful.
func TestClasses(t *testing.T) {
	table := classes()
	if len(table.pages) > 256 {
		t.Fatalf("%d pages, more than a byte can number", len(table.pages))
	}
	differ := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf, unicode.Co) {
			continue // not assigned in Go's version
		}
		want := other
		switch {
		case unicode.Is(unicode.L, r):
			want = letter
		case unicode.Is(unicode.N, r):
			want = number
		case unicode.Is(unicode.White_Space, r):
			want = space
		}
		if got := table.bits(r) & classMask; got != want {
			differ++
			t.Logf("%U is %d, %d in Unicode %s", r, got, want, unicode.Version)
		}
	}
	if differ > 5 {
		t.Errorf("%d characters differ", differ)
	}
	for r, want := range map[rune]class{
		0x10D4A: letter,     // Garay, Unicode 16.0
		0x10D40: number,     // Garay digit zero
		0x11DE0: lateNumber, // Tolong Siki digit zero, Unicode 17.0
		0x088F:  other,      // a letter of Unicode 17.0
		0x180E:  other,      // white space before Unicode 6.3
	} {
		if got := table.bits(r) & classMask; got != want {
			t.Errorf("class of %U = %d, want %d", r, got, want)
		}
	}
}

func encode(t testing.TB, tok *Tokenizer, text string) *Encoding {
	t.Helper()
	var e Encoding
	if err := tok.Encode(&e, text); err != nil {
		t.Fatal(err)
	}
	checkEncoding(t, &e, text)
	return &e
}

func TestSpecialTokensArePlainText(t *testing.T) {
	for name, tok := range testTokenizers(t) {
		for _, text := range []string{"<|endoftext|>", "a<|close|>b", "<s>", " </s> ", "<unk>", "<0x41>", "[LR]", "word", "é́"} {
			for i, id := range encode(t, tok, text).IDs {
				if id == tok.unk && tok.unk >= 0 {
					continue
				}
				for _, added := range [][]addedToken{tok.added, tok.norm} {
					if slices.ContainsFunc(added, func(a addedToken) bool { return a.id == id }) {
						t.Errorf("%s: Encode(%q): token %d is the added token %q", name, text, i, tok.Token(id))
					}
				}
			}
		}
	}
	tok := testTokenizers(t)["nano.json"]
	var e Encoding
	if err := tok.EncodeTemplate(&e, "a<|close|><|endoftext|>"); err != nil {
		t.Fatal(err)
	}
	if want := []int32{2 + 'a', 1, 0}; !slices.Equal(e.IDs, want) {
		t.Errorf("EncodeTemplate = %v, want %v", e.IDs, want)
	}
	if want := []int32{0, 1, 10}; !slices.Equal(e.Start, want) {
		t.Errorf("EncodeTemplate starts at %v, want %v", e.Start, want)
	}
}

// TestInvalidUTF8 holds that every byte keeps its value and its place.
func TestInvalidUTF8(t *testing.T) {
	toks := testTokenizers(t)
	var all strings.Builder
	for i := range 1 << 16 {
		all.WriteByte(byte(i >> 8))
		all.WriteByte(byte(i))
	}
	for _, text := range []string{"\xff", "a\xffb", "\xe2\x96", "\xe2\x96\x81\xe2", "\xc3\x28", "\xed\xa0\x80", "\xf4\x90\x80\x80", "é\xcc", "e\xcc\x81\x81", "\xf0\x9f\x98", all.String()} {
		for _, name := range []string{"nano.json", "llama3.json", "prefix.json"} {
			e := encode(t, toks[name], text)
			got := toks[name].Decode(e.IDs)
			if name == "prefix.json" {
				got = strings.ReplaceAll(got, " ", "")
				text = strings.ReplaceAll(text, " ", "")
			}
			if got != text {
				t.Errorf("%s: %q comes back as %q", name, clip(text), clip(got))
			}
		}
		for _, name := range []string{"neox.json", "qwen2.json", "nfkd.json"} { // a byte that is no character is not touched
			tok := toks[name]
			invalid := func(s string) (b []byte) {
				for i := 0; i < len(s); {
					r, n := decode([]byte(s[i:]))
					if r < 0 {
						b = append(b, s[i])
					}
					i += n
				}
				return b
			}
			if got, want := invalid(tok.Decode(encode(t, tok, text).IDs)), invalid(text); !slices.Equal(got, want) && len(text) < 100 {
				t.Errorf("%s: of %q the bytes %q come back", name, text, got)
			}
		}
		for _, name := range []string{"spm.json", "metaspace-never.json"} {
			e := encode(t, toks[name], text)
			if slices.Contains(e.IDs, 0) || len(e.Lost) > 0 {
				t.Errorf("%s: %q has unknown bytes in spite of byte fallback", name, clip(text))
			}
		}
	}
	if got, want := encode(t, toks["spm.json"], "\xff").IDs[1:], []int32{3 + 0xff}; !slices.Equal(got, want) {
		t.Errorf("spm: byte ff is %v, want %v", got, want)
	}
}

func clip(s string) string { return s[:min(len(s), 80)] }

func TestLost(t *testing.T) {
	toks := testTokenizers(t)
	for _, test := range []struct {
		name, text string
		ids        []string
		lost       []Range
	}{
		{"lacking.json", "ig\x04\x04nore~", []string{"i", "g", "n", "or", "e"}, []Range{{2, 4}, {8, 9}}},
		{"lacking.json", "\x04", nil, []Range{{0, 1}}},
		{"unknown.json", "ig\x04~", []string{"i", "g", "<|close|>"}, []Range{{2, 4}}},
		{"charunk.json", "a\u0378\xff b", []string{"a", "<unk>", "<unk>", "▁b"}, []Range{{1, 4}}},
		{"nano.json", "ig\x04nore", []string{"i", "g", "Ą", "n", "or", "e"}, nil},
	} {
		e := encode(t, toks[test.name], test.text)
		got := spellings(toks[test.name], e.IDs)
		if strings.Join(got, "") != strings.Join(test.ids, "") || !slices.Equal(e.Lost, test.lost) {
			t.Errorf("%s: Encode(%q) = %q, lost %v, want %q, lost %v", test.name, test.text, got, e.Lost, test.ids, test.lost)
		}
	}
	// Encode appends, and the ranges of one text stay apart from those of another.
	tok := toks["lacking.json"]
	var e Encoding
	for range 2 {
		if err := tok.Encode(&e, "\x04\x04"); err != nil {
			t.Fatal(err)
		}
	}
	if want := []Range{{0, 2}, {0, 2}}; !slices.Equal(e.Lost, want) {
		t.Errorf("lost %v, want %v", e.Lost, want)
	}
}

// TestOffsets holds offsets through normalisers, byte for byte.
func TestOffsets(t *testing.T) {
	toks := testTokenizers(t)
	for _, test := range []struct {
		name, text string
		want       []string // what each token covers
	}{
		{"spm.json", "q z", []string{"", "q", " ", "z"}},
		{"neox.json", "xe\u0301y", []string{"x", "e\u0301", "y"}},
		{"nfkc.json", "qﬁq", []string{"q", "ﬁ", "ﬁ", "q"}},
		{"nfkc.json", "q㎏", []string{"q", "㎏", "㎏"}},
		{"nfd.json", "qéq", []string{"q", "é", "é", "é", "q"}},
		{"prefix.json", "q", []string{"", "q"}},
	} {
		tok := toks[test.name]
		e := encode(t, tok, test.text)
		var got []string
		for i := range e.IDs {
			got = append(got, test.text[e.Start[i]:e.End[i]])
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: tokens %q of %q cover %q, want %q", test.name, spellings(tok, e.IDs), test.text, got, test.want)
		}
	}
}

func TestTooLong(t *testing.T) {
	tok := testTokenizers(t)["nano.json"]
	e := Encoding{IDs: []int32{7}, Start: []int32{0}, End: []int32{1}}
	if err := tok.Encode(&e, strings.Repeat("a", MaxText+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("Encode of %d bytes: %v, want ErrTooLong", MaxText+1, err)
	}
	if len(e.IDs) != 1 {
		t.Errorf("a failed Encode left %d ids", len(e.IDs))
	}
}

func TestTokens(t *testing.T) {
	tok := testTokenizers(t)["neox.json"]
	for id := range int32(tok.Vocab()) {
		if s := tok.Token(id); s != "" {
			if got, ok := tok.ID(s); !ok || got != id {
				t.Errorf("ID(%q) = %d, %t, want %d", s, got, ok, id)
			}
		}
	}
	for _, id := range []int32{-1, int32(tok.Vocab())} {
		if s := tok.Token(id); s != "" {
			t.Errorf("Token(%d) = %q", id, s)
		}
	}
	if s := tok.Decode([]int32{-5, 1 << 30, 0}); s != "<|endoftext|>" {
		t.Errorf("Decode = %q", s)
	}
	spm := testTokenizers(t)["spm.json"]
	for _, text := range []string{"the orders", " the", "", "日本語 \u0378 x", "a\nb"} {
		if got := spm.Decode(encode(t, spm, text).IDs); got != text {
			t.Errorf("spm: %q comes back as %q", text, got)
		}
	}
}

func TestConcurrent(t *testing.T) {
	toks := testTokenizers(t)
	text := "The orders of 1999 say: don't écrire «e\u0301» " + strings.Repeat("x", 500)
	var wg sync.WaitGroup
	for _, tok := range toks {
		want := encode(t, tok, text).IDs
		for range 4 {
			wg.Go(func() {
				var e Encoding
				for range 50 {
					e.Reset()
					if err := tok.Encode(&e, text); err != nil || !slices.Equal(e.IDs, want) {
						t.Errorf("%v, %v, want %v", err, e.IDs, want)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// naiveMerge is the definition of byte-pair encoding: the merge of lowest rank, the leftmost, until there is none.
func naiveMerge(t *mergeTable, ids []int32) []int32 {
	for {
		best, at := uint64(noMerge), -1
		for i := range len(ids) - 1 {
			if m := t.find(ids[i], ids[i+1]); m < best {
				best, at = m, i
			}
		}
		if at < 0 {
			return ids
		}
		ids[at] = int32(uint32(best))
		ids = slices.Delete(ids, at+1, at+2)
	}
}

// TestMerge compares both ways of merging with the definition, with merges as no training makes them: several for one token,
// and later tokens that merge before earlier ones.
func TestMerge(t *testing.T) {
	ids := map[string]int32{}
	table := newMergeTable(400)
	token := func(s string) int32 {
		if _, ok := ids[s]; !ok {
			ids[s] = int32(len(ids))
		}
		return ids[s]
	}
	state := uint32(1)
	random := func(n int) int {
		state = state*1664525 + 1013904223
		return int(state>>8) % n
	}
	list := []string{"a", "b", "c"}
	for _, s := range list {
		token(s)
	}
	for rank := range int32(400) {
		l, r := list[random(len(list))], list[random(len(list))]
		if len(l)+len(r) > 9 {
			l, r = list[random(3)], list[random(len(list)/4+3)]
		}
		if _, ok := ids[l+r]; !ok {
			list = append(list, l+r)
		}
		table.put(token(l), token(r), 399-rank, token(l+r))
	}
	s := new(scratch)
	early := 0
	for round := range 3000 {
		n := 1 + random(300)
		period := 1 + random(12)
		word := make([]int32, n)
		for i := range word {
			if word[i] = int32(random(3)); round%2 == 0 && i >= period {
				word[i] = word[i-period]
			}
		}
		symbols := func() (syms []symbol) {
			for i, id := range word {
				syms = append(syms, symbol{id, int32(i), int32(i + 1)})
			}
			return syms
		}
		long := table.mergeLong(symbols(), s)
		short := table.merge(symbols(), s)
		early += cap(s.queue.early)
		want := naiveMerge(table, slices.Clone(word))
		for name, got := range map[string][]symbol{"long": long, "merge": short} {
			at := int32(0)
			var gotIDs []int32
			for _, sym := range got {
				if sym.lo != at || sym.hi <= at {
					t.Fatalf("%s: symbols %v do not follow each other", name, got)
				}
				at = sym.hi
				gotIDs = append(gotIDs, sym.id)
			}
			if !slices.Equal(gotIDs, want) {
				t.Fatalf("%s: merge(%v) = %v, want %v", name, word, gotIDs, want)
			}
		}
	}
	if early == 0 {
		t.Error("no merge came before the rank that was being swept: the test does not test that")
	}
}

func TestParseErrors(t *testing.T) {
	const model = `"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}`
	for _, test := range []struct {
		json string
		err  error
		says string // part of the message
	}{
		{``, ErrMalformed, "EOF"},
		{`{`, ErrMalformed, "EOF"},
		{`{` + model + `} x`, ErrMalformed, "follows"},
		{"{\"model\":\"\xff\"}", ErrMalformed, "UTF-8"},
		{`null`, ErrMalformed, "vocabulary is empty"},
		{`{"model":{"type":"BPE","vocab":[],"merges":[]}}`, ErrMalformed, "not an object"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":{}}}`, ErrMalformed, "not a list"},
		{`{"model":{"type":"WordPiece","vocab":{"a":0},"max_input_chars_per_word":100}}`, ErrUnsupported, "WordPiece"},
		{`{"model":{"type":"Unigram","unk_id":0,"vocab":[["a",0]]}}`, ErrUnsupported, "Unigram"},
		{`{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}`, ErrMalformed, `"a" has two ids`},
		{`{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}`, ErrMalformed, "same id 0"},
		{`{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}`, ErrMalformed, "its id"},
		{`{"model":{"type":"BPE","vocab":{"a":1.5},"merges":[]}}`, ErrMalformed, "its id"},
		{`{"model":{"type":"BPE","vocab":{"a":"0"},"merges":[]}}`, ErrMalformed, "its id"},
		{`{"model":{"type":"BPE","vocab":{"a":{"b":[1,2]}},"merges":[]}}`, ErrMalformed, "its id"},
		{`{"model":{"type":"BPE","vocab":{"a":99999999999},"merges":[]}}`, ErrMalformed, "its id"},
		{`{"model":{"type":"BPE","vocab":{"a":4000000},"merges":[]}}`, ErrMalformed, "in a vocabulary of 1"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}`, ErrMalformed, `"b" is not in the vocabulary`},
		{`{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}`, ErrMalformed, `makes "ab"`},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a"]}}`, ErrMalformed, "merge 0 is not a pair"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a "]}}`, ErrMalformed, "empty part"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a",""]]}}`, ErrMalformed, "empty part"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a","a","a"]]}}`, ErrMalformed, "not a pair"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a"]]}}`, ErrMalformed, "missing"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[7]}}`, ErrMalformed, "missing"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a  a"]}}`, ErrMalformed, "does not tell"},
		{`{"version":"2.0",` + model + `}`, ErrUnsupported, "2.0"},
		{`{"surprise":1,` + model + `}`, ErrUnsupported, "surprise"},
		{`{"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}}`, ErrUnsupported, "dropout"},
		{`{"model":{"type":"BPE","end_of_word_suffix":"</w>","vocab":{"a":0},"merges":[]}}`, ErrUnsupported, "end_of_word_suffix"},
		{`{"model":{"type":"BPE","continuing_subword_prefix":"##","vocab":{"a":0},"merges":[]}}`, ErrUnsupported, "continuing_subword_prefix"},
		{`{"model":{"type":"BPE","unk_token":"u","vocab":{"a":0},"merges":[]}}`, ErrMalformed, "unk_token"},
		{`{"model":{"type":"BPE","byte_fallback":true,"vocab":{"<0x00>":0},"merges":[]}}`, ErrMalformed, "1 of the 256"},
		{`{"normalizer":{"type":"Lowercase"},` + model + `}`, ErrUnsupported, "Lowercase"},
		{`{"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"BertNormalizer"}]},` + model + `}`, ErrUnsupported, "BertNormalizer"},
		{`{"normalizer":{"type":"NFC","more":1},` + model + `}`, ErrUnsupported, "more"},
		{`{"normalizer":{"type":"Replace","pattern":{"Regex":"a+"},"content":"b"},` + model + `}`, ErrUnsupported, `"a+"`},
		{`{"normalizer":{"type":"Replace","pattern":{"String":""},"content":"b"},` + model + `}`, ErrMalformed, "no pattern"},
		{`{"normalizer":{"type":"Replace","pattern":{"String":"a"},"content":"` + strings.Repeat("b", 99) + `"},` + model + `}`, ErrUnsupported, "99 bytes"},
		{`{"normalizer":{},` + model + `}`, ErrMalformed, "without a type"},
		{`{"normalizer":7,` + model + `}`, ErrMalformed, "number"},
		{`{"pre_tokenizer":{"type":"Whitespace"},` + model + `}`, ErrUnsupported, "Whitespace"},
		{`{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\w+|\\s+"},"behavior":"Isolated","invert":false},` + model + `}`, ErrUnsupported, `\\w+|\\s+`},
		{`{"pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"Isolated","invert":false},` + model + `}`, ErrUnsupported, "Split"},
		{`{"pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":true},` + model + `}`, ErrUnsupported, "invert true"},
		{`{"pre_tokenizer":{"type":"Split","pattern":{"String":""},"behavior":"MergedWithPrevious","invert":false},` + model + `}`, ErrMalformed, "pattern"},
		{`{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"` + strings.ReplaceAll(patternGPT2, `\`, `\\`) + `"},"behavior":"Removed","invert":false},` + model + `}`, ErrUnsupported, "Removed"},
		{`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]},` + model + `}`, ErrUnsupported, "after ByteLevel"},
		{`{"pre_tokenizer":{"type":"Metaspace","replacement":"_"},` + model + `}`, ErrUnsupported, `"_"`},
		{`{"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","add_prefix_space":false},` + model + `}`, ErrMalformed, "add_prefix_space"},
		{`{"pre_tokenizer":` + strings.Repeat(`{"type":"Sequence","pretokenizers":[`, 50) + strings.Repeat(`]}`, 50) + `,` + model + `}`, ErrMalformed, "too many"},
		{`{"decoder":{"type":"WordPiece"},` + model + `}`, ErrUnsupported, "WordPiece"},
		{`{"added_tokens":[{"id":7,"content":"a"}],` + model + `}`, ErrMalformed, "has ids 0 and 7"},
		{`{"added_tokens":[{"id":0,"content":"x"}],` + model + `}`, ErrMalformed, "same id 0"},
		{`{"added_tokens":[{"id":3,"content":"x"},{"id":3,"content":"x"}],` + model + `}`, ErrMalformed, "before"},
		{`{"added_tokens":[{"id":-3,"content":"x"}],` + model + `}`, ErrMalformed, "id -3"},
		{`{"added_tokens":[{"id":3,"content":""}],` + model + `}`, ErrMalformed, "empty"},
		{`{"added_tokens":[{"id":2,"content":"ab","special":true}],` + model + `}`, ErrMalformed, "out of plain text"},
		{`{"added_tokens":[{"id":0,"content":"a","special":true}],` + model + `}`, ErrMalformed, "character of plain text"},
		{strings.Repeat(`{"model":`, 20000) + strings.Repeat(`}`, 20000), ErrMalformed, ""},
		{strings.Repeat(`[`, 1<<20), ErrMalformed, ""},
	} {
		tok, err := Parse([]byte(test.json))
		if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("Parse(%s): %v, want %v with %q", clip(test.json), err, test.err, test.says)
		}
		if tok != nil {
			t.Errorf("Parse(%s) returns a tokenizer with an error", clip(test.json))
		}
		if err != nil && len(err.Error()) > 600 {
			t.Errorf("Parse(%s): a message of %d bytes", clip(test.json), len(err.Error()))
		}
	}
	if _, err := Parse([]byte(`{` + model + `}`)); err != nil {
		t.Errorf("the model that these are made of: %v", err)
	}
}

// TestGrowth holds the bound on what a normaliser may make of a text.
func TestGrowth(t *testing.T) {
	tok := mustParse(t, []byte(`{"normalizer":{"type":"Sequence","normalizers":[`+
		strings.TrimSuffix(strings.Repeat(`{"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaa"},`, 40), ",")+
		`]},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`))
	var e Encoding
	if err := tok.Encode(&e, "aa"); !errors.Is(err, ErrTooLong) {
		t.Errorf("sixteen to the fortieth letters: %v, want ErrTooLong", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"nano", "spm", "metaspace-first", "neox", "llama3"} {
		data, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "The e\u0301 \xff<|close|>  text 12")
	}
	f.Add([]byte(`{"normalizer":{"type":"NFKC"},"pre_tokenizer":{"type":"ByteLevel"},"model":{"vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}}`), "ab")
	f.Add([]byte(`{"normalizer":{"type":"Prepend","prepend":"a"},"added_tokens":[{"id":9,"content":"<b>","rstrip":true,"single_word":true}],"decoder":{"type":"Fuse"},"model":{"unk_token":"a","fuse_unk":true,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`), "x<b>  ab")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("an error without a kind: %v", err)
			}
			return
		}
		var e Encoding
		for _, encode := range []func(*Encoding, string) error{tok.Encode, tok.EncodeTemplate} {
			e.Reset()
			if err := encode(&e, text); err != nil {
				if !errors.Is(err, ErrTooLong) {
					t.Fatal(err)
				}
				continue
			}
			for _, id := range e.IDs {
				if int(id) >= tok.Vocab() || id < 0 || !tok.known[id] {
					t.Fatalf("id %d is not in the vocabulary", id)
				}
			}
			tok.Decode(e.IDs)
		}
	})
}

func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "It's 3.14 — we'LL see\r\n\n  x", "e\u0301\u0323\u0323 한\u1112\u1161\u11ab", "\xff\xe2\x96\x81▁ ▁", "<|close|><s>[LR]  word", strings.Repeat("ab", 99), "'ſ １２½\u2028\u00a0\u0085"} {
		f.Add(s)
	}
	toks := testTokenizers(f)
	f.Fuzz(func(t *testing.T, text string) {
		for name, tok := range toks {
			e := encode(t, tok, text)
			var template Encoding
			if err := tok.EncodeTemplate(&template, text); err != nil {
				t.Fatal(err)
			}
			checkEncoding(t, &template, text)
			if name != "nano.json" && name != "llama3.json" {
				continue
			}
			if got := tok.Decode(e.IDs); got != text || len(e.Lost) > 0 {
				t.Fatalf("%s: %s comes back as %s", name, strconv.Quote(text), strconv.Quote(got))
			}
			if utf8.ValidString(text) && !strings.Contains(text, "<|") && !slices.Equal(e.IDs, template.IDs) {
				t.Fatalf("%s: Encode(%q) = %v, EncodeTemplate %v", name, text, e.IDs, template.IDs)
			}
		}
	})
}
