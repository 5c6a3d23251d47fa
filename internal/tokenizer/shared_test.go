package tokenizer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shared returns a file of the folder of models beside the repository, and skips the test where there is none.
func shared(t testing.TB, path ...string) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	name := filepath.Join(append([]string{dir, "..", "shared", "models"}, path...)...)
	data, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		t.Skipf("%s is not there", filepath.Join(path...))
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustParse(t testing.TB, data []byte) *Tokenizer {
	t.Helper()
	tok, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// ids encodes as the reference does, which takes special tokens from any text.
func ids(t testing.TB, tok *Tokenizer, text string) []int32 {
	t.Helper()
	var e Encoding
	if err := tok.EncodeTemplate(&e, text); err != nil {
		t.Fatal(err)
	}
	return e.IDs
}

func TestSmolLM2(t *testing.T) {
	tok := mustParse(t, shared(t, "smollm2", "tokenizer.json"))
	var golden struct {
		Cases [][2]json.RawMessage `json:"cases"`
	}
	if err := json.Unmarshal(shared(t, "smollm2", "smollm2-135m-tokenizer.json"), &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) != 24 {
		t.Errorf("%d cases, want 24", len(golden.Cases))
	}
	for _, c := range golden.Cases {
		var text string
		var want []int32
		if err := json.Unmarshal(c[0], &text); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(c[1], &want); err != nil {
			t.Fatal(err)
		}
		if got := ids(t, tok, text); !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v, want %v", text, got, want)
		}
	}
	// The bytes that this vocabulary lacks.
	var lost []byte
	for b, id := range tok.bytes {
		if id < 0 {
			lost = append(lost, byte(b))
		}
	}
	if want := "\x04\x06\x13\x14\x16\x1d\xc0\xc1\xf1\xf2\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff"; string(lost) != want {
		t.Errorf("bytes without an entry: %q, want %q", lost, want)
	}
	var e Encoding
	if err := tok.Encode(&e, "ig\x04nore <|endoftext|>"); err != nil {
		t.Fatal(err)
	}
	if want := []Range{{2, 3}}; !slices.Equal(e.Lost, want) {
		t.Errorf("lost %v, want %v", e.Lost, want)
	}
	if slices.Contains(e.IDs, 0) {
		t.Errorf("Encode(<|endoftext|>) = %v has the special token", e.IDs)
	}
}

// TestLlamaCpp checks the vocabularies of llama.cpp that have texts and ids, where their tokens can be had.
func TestLlamaCpp(t *testing.T) {
	const dir = "llama.cpp-vocab-goldens"
	byteLevel := `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`
	starcoder := `{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` + byteLevel + `]}`
	for _, test := range []struct {
		golden string
		parse  func(t *testing.T) []byte
	}{
		{"gpt-2", func(t *testing.T) []byte { return shared(t, "tokenizers", "gpt2", "tokenizer.json") }},
		{"gpt-2", func(t *testing.T) []byte {
			return fromGGUF(t, shared(t, "tokenizers", dir, "ggml-vocab-gpt-2.gguf"), byteLevel)
		}},
		{"mpt", func(t *testing.T) []byte { return shared(t, "tokenizers", "pythia", "tokenizer.json") }}, // GPT-NeoX's vocabulary
		{"llama-spm", func(t *testing.T) []byte { return shared(t, "tokenizers", "tinyllama", "tokenizer.json") }},
		{"phi-3", func(t *testing.T) []byte { return shared(t, "tokenizers", "tinyllama", "tokenizer.json") }},
		{"qwen2", qwen},
		{"deepseek-r1-qwen", qwen},
		{"starcoder", func(t *testing.T) []byte {
			return fromGGUF(t, shared(t, "tokenizers", dir, "ggml-vocab-starcoder.gguf"), starcoder)
		}},
		{"refact", func(t *testing.T) []byte {
			return fromGGUF(t, shared(t, "tokenizers", dir, "ggml-vocab-refact.gguf"), starcoder)
		}},
	} {
		t.Run(test.golden, func(t *testing.T) {
			tok := mustParse(t, test.parse(t))
			inputs := strings.Split(string(shared(t, "tokenizers", dir, "ggml-vocab-"+test.golden+".gguf.inp")), "\n__ggml_vocab_test__\n")
			outputs := strings.Split(strings.TrimSuffix(string(shared(t, "tokenizers", dir, "ggml-vocab-"+test.golden+".gguf.out")), "\n"), "\n")
			encode := tok.Encode
			if test.golden == "mpt" {
				encode = tok.EncodeTemplate // runs of spaces are added tokens, which Encode reads as plain text
			}
			n := 0
			for i, out := range outputs {
				var want []int32
				for _, f := range strings.Fields(out) {
					var id int32
					if _, err := fmt.Sscan(f, &id); err != nil {
						t.Fatal(err)
					}
					want = append(want, id)
				}
				var e Encoding
				if err := encode(&e, inputs[i]); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(e.IDs, want) {
					t.Errorf("Encode(%q)\n got %v\nwant %v", inputs[i], e.IDs, want)
				}
				n++
			}
			if n < 40 {
				t.Errorf("%d texts, want at least 40", n)
			}
		})
	}
}

// qwen makes the tokenizer.json that Qwen2 has of its vocabulary and merges.
func qwen(t *testing.T) []byte {
	pre, err := json.Marshal(map[string]any{"type": "Sequence", "pretokenizers": []any{
		map[string]any{"type": "Split", "pattern": map[string]string{"Regex": patternQwen2}, "behavior": "Isolated", "invert": false},
		map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var merges []string
	for _, line := range strings.Split(string(shared(t, "tokenizers", "qwen2.5-0.5b", "merges.txt")), "\n") {
		if line != "" {
			merges = append(merges, line)
		}
	}
	return tokenizerJSON(t, shared(t, "tokenizers", "qwen2.5-0.5b", "vocab.json"), merges, `{"type":"NFC"}`, string(pre))
}

func tokenizerJSON(t testing.TB, vocab json.RawMessage, merges []string, normalizer, pre string) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"version": "1.0", "added_tokens": []any{}, "normalizer": json.RawMessage(normalizer), "pre_tokenizer": json.RawMessage(pre),
		"decoder": map[string]string{"type": "ByteLevel"}, "model": map[string]any{"type": "BPE", "vocab": vocab, "merges": merges},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fromGGUF makes a tokenizer.json of the tokens and merges in a GGUF file (version 2 or 3, docs/gguf.md of ggml).
func fromGGUF(t *testing.T, data []byte, pre string) []byte {
	r := bytes.NewReader(data)
	number := func(size int) uint64 {
		var b [8]byte
		if _, err := r.Read(b[:size]); err != nil {
			t.Fatal(err)
		}
		return binary.LittleEndian.Uint64(b[:])
	}
	text := func() string {
		b := make([]byte, number(8))
		if _, err := r.Read(b); err != nil && len(b) > 0 {
			t.Fatal(err)
		}
		return string(b)
	}
	sizes := map[uint64]int{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
	const stringKind, arrayKind = 8, 9
	number(4 + 4) // magic, version
	number(8)     // tensors
	lists := map[string][]string{}
	for range number(8) {
		key := text()
		switch kind := number(4); kind {
		case stringKind:
			text()
		case arrayKind:
			kind, n := number(4), number(8)
			for range n {
				if kind == stringKind {
					lists[key] = append(lists[key], text())
				} else {
					number(sizes[kind])
				}
			}
		default:
			number(sizes[kind])
		}
	}
	vocab := map[string]int{}
	for id, token := range lists["tokenizer.ggml.tokens"] {
		vocab[token] = id
	}
	raw, err := json.Marshal(vocab)
	if err != nil {
		t.Fatal(err)
	}
	return tokenizerJSON(t, raw, lists["tokenizer.ggml.merges"], "null", pre)
}
