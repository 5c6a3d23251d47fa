package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds on a tokenizer.json. The greatest in use, Gemma's, has 262,144 tokens, 580,604 merges and 33 MB.
const (
	maxFile   = 128 << 20 // bytes
	maxID     = 4<<20 - 1 // tables are indexed by id
	maxMerges = 8 << 20
	maxAdded  = 64 << 10
	maxSteps  = 64 // normalisers, and pre-tokenizers, in a sequence
	maxDepth  = 8  // sequences in sequences
)

var (
	// ErrMalformed says that a tokenizer.json is not well formed or contradicts itself.
	ErrMalformed = errors.New("malformed tokenizer.json")
	// ErrUnsupported says that a tokenizer.json asks for what this package does not have. The message names it.
	ErrUnsupported = errors.New("tokenizer.json asks for what is not supported")
)

func malformed(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
}

func unsupported(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, a...))
}

// quote is %q for what a file says, cut short.
func quote(s string) string {
	const most = 200
	if len(s) > most {
		return strconv.Quote(strings.ToValidUTF8(s[:most], "")) + "…"
	}
	return strconv.Quote(s)
}

type fileJSON struct {
	Version       *string         `json:"version"`
	Truncation    json.RawMessage `json:"truncation"`     // not applied: texts are screened whole
	Padding       json.RawMessage `json:"padding"`        // not applied
	PostProcessor json.RawMessage `json:"post_processor"` // not applied: callers place special tokens by themselves
	AddedTokens   []addedJSON     `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         modelJSON       `json:"model"`
}

// special returns the spellings of the special tokens.
func (f *fileJSON) special() map[string]bool {
	special := make(map[string]bool)
	for _, a := range f.AddedTokens {
		if a.Special {
			special[a.Content] = true
		}
	}
	return special
}

type addedJSON struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

type modelJSON struct {
	Type         *string    `json:"type"`
	Dropout      *float64   `json:"dropout"`
	Unk          *string    `json:"unk_token"`
	Prefix       *string    `json:"continuing_subword_prefix"`
	Suffix       *string    `json:"end_of_word_suffix"`
	FuseUnk      bool       `json:"fuse_unk"`
	ByteFallback bool       `json:"byte_fallback"`
	IgnoreMerges bool       `json:"ignore_merges"`
	Vocab        vocabJSON  `json:"vocab"`
	Merges       mergesJSON `json:"merges"`
}

// A vocabJSON is an object of tokens and ids, in the order of the file.
type vocabJSON struct {
	tokens []string
	ids    []int32
}

// UnmarshalJSON reads an object whose syntax encoding/json has checked: maps would hide duplicates and take three times as long.
func (v *vocabJSON) UnmarshalJSON(data []byte) error {
	if data[0] != '{' {
		return malformed("the vocabulary is not an object")
	}
	r := reader{data: data[1:]}
	for r.peek() != '}' {
		token, err := r.string()
		if err != nil {
			return err
		}
		r.skip(':')
		id, err := strconv.ParseUint(r.number(), 10, 32)
		if err != nil || id > maxID {
			return malformed("token %s: its id is not an integer from 0 to %d", quote(token), maxID)
		}
		r.skip(',')
		v.tokens = append(v.tokens, token)
		v.ids = append(v.ids, int32(id))
	}
	return nil
}

// A mergesJSON is a list of pairs, each a string with a space between or, since 2024, a list of two.
type mergesJSON [][2]string

// ambiguous marks a merge, as its second part, that is a string with several spaces: the vocabulary must tell which of them divides it. The
// reference refuses such files, but they are there: TinyLlama's, as some tools write it.
const (
	ambiguous = ""
	maxSpaces = 32
)

// UnmarshalJSON reads a list whose syntax encoding/json has checked.
func (m *mergesJSON) UnmarshalJSON(data []byte) error {
	if data[0] != '[' {
		return malformed("the merges are not a list")
	}
	r := reader{data: data[1:]}
	for n := 0; r.peek() != ']'; n++ {
		if len(*m) == maxMerges {
			return malformed("more than %d merges", maxMerges)
		}
		var pair [2]string
		if r.peek() == '[' {
			r.skip('[')
			for k := range pair {
				s, err := r.string()
				if err != nil {
					return fmt.Errorf("merge %d: %w", n, err)
				}
				if s == "" {
					return malformed("merge %d has an empty part", n)
				}
				pair[k] = s
				r.skip(',')
			}
			if r.peek() != ']' {
				return malformed("merge %d is not a pair", n)
			}
			r.skip(']')
		} else {
			s, err := r.string()
			if err != nil {
				return fmt.Errorf("merge %d: %w", n, err)
			}
			if strings.HasPrefix(s, "#version") {
				r.skip(',')
				continue
			}
			switch spaces := strings.Count(s, " "); {
			case spaces == 1:
				pair[0], pair[1], _ = strings.Cut(s, " ")
				if pair[0] == "" || pair[1] == "" {
					return malformed("merge %d has an empty part", n)
				}
			case spaces > 1 && spaces <= maxSpaces:
				pair = [2]string{s, ambiguous}
			default:
				return malformed("merge %d is not a pair", n)
			}
		}
		r.skip(',')
		*m = append(*m, pair)
	}
	return nil
}

// A reader walks over JSON of known syntax.
type reader struct{ data []byte }

// peek returns the next byte that is not white space.
func (r *reader) peek() byte {
	r.data = bytes.TrimLeft(r.data, " \t\r\n")
	if len(r.data) == 0 {
		return 0
	}
	return r.data[0]
}

// skip steps over c if it is next.
func (r *reader) skip(c byte) {
	if r.peek() == c {
		r.data = r.data[1:]
	}
}

func (r *reader) string() (string, error) {
	if r.peek() != '"' {
		return "", malformed("a string is missing")
	}
	for i := 1; i < len(r.data); i++ {
		switch r.data[i] {
		case '\\':
			i++
		case '"':
			raw := r.data[:i+1]
			r.data = r.data[i+1:]
			if bytes.IndexByte(raw, '\\') < 0 {
				return string(raw[1:i]), nil
			}
			var s string
			err := json.Unmarshal(raw, &s)
			return s, err
		}
	}
	return "", malformed("a string does not end")
}

// number returns what stands where a number should be.
func (r *reader) number() string {
	r.peek()
	n := bytes.IndexAny(r.data, ",}] \t\r\n")
	if n < 0 {
		n = len(r.data)
	}
	s := string(r.data[:n])
	r.data = r.data[n:]
	return s
}

// strict decodes JSON into v and refuses fields that v does not have.
func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if errors.Is(err, ErrMalformed) || errors.Is(err, ErrUnsupported) {
			return err
		}
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return unsupported("field %s", quote(name))
		}
		return malformed("%v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return malformed("something follows the end")
	}
	return nil
}

// typeOf returns the type of a component, and "" for none.
func typeOf(data json.RawMessage) (string, error) {
	if len(data) == 0 || string(data) == "null" {
		return "", nil
	}
	var c struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return "", malformed("%v", err)
	}
	if c.Type == "" {
		return "", malformed("a component without a type")
	}
	return c.Type, nil
}

// Parse reads a tokenizer.json. The error wraps [ErrMalformed] or [ErrUnsupported] and names the component, field or token. data is not kept.
func Parse(data []byte) (*Tokenizer, error) {
	if len(data) > maxFile {
		return nil, malformed("%d bytes, more than %d", len(data), maxFile)
	}
	if !utf8.Valid(data) {
		return nil, malformed("not valid UTF-8")
	}
	var f fileJSON
	if err := strict(data, &f); err != nil {
		// Another kind of model has other fields: say so instead of naming one of them.
		var kind struct {
			Model struct {
				Type string `json:"type"`
			} `json:"model"`
		}
		if json.Unmarshal(data, &kind) == nil && kind.Model.Type != "" && kind.Model.Type != "BPE" {
			return nil, unsupported("model type %s", quote(kind.Model.Type))
		}
		return nil, err
	}
	if f.Version != nil && *f.Version != "1.0" {
		return nil, unsupported("version %s", quote(*f.Version))
	}
	t := &Tokenizer{unk: -1, fuse: f.Model.FuseUnk}
	for _, step := range []func(*fileJSON) error{
		t.vocabulary, t.normalization, t.preTokenization, t.model, t.mergeTable, t.addedTokens, t.decoding,
	} {
		if err := step(&f); err != nil {
			return nil, err
		}
	}
	t.knownWords(&f)
	return t, nil
}

// vocabulary reads the tokens of the model, and makes room for the added ones.
func (t *Tokenizer) vocabulary(f *fileJSON) error {
	v := &f.Model.Vocab
	if len(v.tokens) == 0 {
		return malformed("the vocabulary is empty")
	}
	if len(f.AddedTokens) > maxAdded {
		return malformed("%d added tokens, more than %d", len(f.AddedTokens), maxAdded)
	}
	most := int32(0)
	for _, id := range v.ids {
		most = max(most, id)
	}
	for _, a := range f.AddedTokens {
		if a.ID < 0 || a.ID > maxID {
			return malformed("added token %s: id %d is not from 0 to %d", quote(a.Content), a.ID, maxID)
		}
		if a.Content == "" {
			return malformed("added token %d is empty", a.ID)
		}
		most = max(most, int32(a.ID))
	}
	// Ids far beyond the number of tokens would make tables of nothing.
	if n := len(v.ids) + len(f.AddedTokens); int(most) > 16*n+1<<16 {
		return malformed("id %d in a vocabulary of %d tokens", most, n)
	}
	t.tokens = make([]string, most+1)
	t.known = make([]bool, most+1)
	t.ids = make(map[string]int32, len(v.ids)+len(f.AddedTokens))
	for i, token := range v.tokens {
		id := v.ids[i]
		if t.known[id] {
			return malformed("tokens %s and %s have the same id %d", quote(t.tokens[id]), quote(token), id)
		}
		if _, ok := t.ids[token]; ok {
			return malformed("token %s has two ids", quote(token))
		}
		t.tokens[id], t.known[id], t.ids[token] = token, true, id
	}
	return nil
}

func (t *Tokenizer) normalization(f *fileJSON) error {
	return t.normalizer(f.Normalizer, 0)
}

func (t *Tokenizer) normalizer(data json.RawMessage, depth int) error {
	kind, err := typeOf(data)
	if err != nil || kind == "" {
		return err
	}
	if len(t.normalizers) == maxSteps || depth > maxDepth {
		return malformed("too many normalizers")
	}
	var n normalizer
	switch kind {
	case "Sequence":
		var c struct {
			Type        string            `json:"type"`
			Normalizers []json.RawMessage `json:"normalizers"`
		}
		if err := strict(data, &c); err != nil {
			return fmt.Errorf("normalizer %s: %w", kind, err)
		}
		for _, part := range c.Normalizers {
			if err := t.normalizer(part, depth+1); err != nil {
				return err
			}
		}
		return nil
	case "NFC", "NFD", "NFKC", "NFKD":
		var c struct {
			Type string `json:"type"`
		}
		err = strict(data, &c)
		n = map[string]form{"NFC": {norm.NFC, true}, "NFD": {norm.NFD, false}, "NFKC": {norm.NFKC, true}, "NFKD": {norm.NFKD, false}}[kind]
	case "Prepend":
		var c struct {
			Type    string `json:"type"`
			Prepend string `json:"prepend"`
		}
		err = strict(data, &c)
		if len(c.Prepend) > maxInsert {
			return unsupported("normalizer Prepend with %d bytes", len(c.Prepend))
		}
		n = prepend(c.Prepend)
	case "Replace":
		var c replaceJSON
		if err = strict(data, &c); err == nil {
			n, err = c.replace()
		}
	default:
		return unsupported("normalizer %s", quote(kind))
	}
	if err != nil {
		return fmt.Errorf("normalizer %s: %w", kind, err)
	}
	t.normalizers = append(t.normalizers, n)
	return nil
}

type patternJSON struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

type replaceJSON struct {
	Type    string      `json:"type"`
	Pattern patternJSON `json:"pattern"`
	Content string      `json:"content"`
}

func (c *replaceJSON) replace() (replace, error) {
	switch {
	case c.Pattern.Regex != nil:
		return replace{}, unsupported("regular expression %s", quote(*c.Pattern.Regex))
	case c.Pattern.String == nil || *c.Pattern.String == "":
		return replace{}, malformed("no pattern")
	case len(c.Content) > maxInsert:
		return replace{}, unsupported("a content of %d bytes", len(c.Content))
	}
	return replace{*c.Pattern.String, c.Content}, nil
}

func (t *Tokenizer) preTokenization(f *fileJSON) error {
	return t.preTokenizer(f.PreTokenizer, 0)
}

func (t *Tokenizer) preTokenizer(data json.RawMessage, depth int) error {
	kind, err := typeOf(data)
	if err != nil || kind == "" {
		return err
	}
	if len(t.scanners) == maxSteps || depth > maxDepth {
		return malformed("too many pre-tokenizers")
	}
	if t.byteLevel {
		return unsupported("pre-tokenizer %s after ByteLevel", quote(kind))
	}
	switch kind {
	case "Sequence":
		var c struct {
			Type string            `json:"type"`
			Pre  []json.RawMessage `json:"pretokenizers"`
		}
		if err := strict(data, &c); err != nil {
			return fmt.Errorf("pre-tokenizer %s: %w", kind, err)
		}
		for _, part := range c.Pre {
			if err := t.preTokenizer(part, depth+1); err != nil {
				return err
			}
		}
		return nil
	case "Digits":
		var c struct {
			Type       string `json:"type"`
			Individual bool   `json:"individual_digits"`
		}
		err = strict(data, &c)
		t.scanners = append(t.scanners, digits{c.Individual})
	case "ByteLevel":
		c := struct {
			Type   string `json:"type"`
			Prefix bool   `json:"add_prefix_space"`
			Trim   bool   `json:"trim_offsets"` // how the reference's post-processor cuts offsets: not applied
			Regex  bool   `json:"use_regex"`
		}{Prefix: true, Regex: true}
		err = strict(data, &c)
		t.byteLevel = true
		if c.Prefix && err == nil {
			err = t.setPrefix(prefix{text: " "})
		}
		if c.Regex {
			t.scanners = append(t.scanners, gpt2{})
		}
	case "Split":
		var c struct {
			Type     string      `json:"type"`
			Pattern  patternJSON `json:"pattern"`
			Behavior string      `json:"behavior"`
			Invert   bool        `json:"invert"`
		}
		if err = strict(data, &c); err != nil {
			break
		}
		if c.Pattern.Regex == nil {
			switch {
			case c.Pattern.String == nil || *c.Pattern.String == "":
				return malformed("pre-tokenizer Split without a pattern")
			case c.Behavior != "MergedWithPrevious" || c.Invert:
				return unsupported("pre-tokenizer Split by a string with behavior %s and invert %t", quote(c.Behavior), c.Invert)
			}
			t.scanners = append(t.scanners, after(*c.Pattern.String))
			break
		}
		// The known patterns match everywhere, so what is between matches is empty and these two are the same.
		if !(c.Behavior == "Isolated" && !c.Invert || c.Behavior == "Removed" && c.Invert) {
			return unsupported("pre-tokenizer Split with behavior %s and invert %t", quote(c.Behavior), c.Invert)
		}
		switch *c.Pattern.Regex {
		case patternGPT2, patternR50k:
			t.scanners = append(t.scanners, gpt2{})
		case patternLlama3:
			t.scanners = append(t.scanners, llama3{3})
		case patternQwen2:
			t.scanners = append(t.scanners, llama3{1})
		default:
			return unsupported("pre-tokenizer Split by the regular expression %s", quote(*c.Pattern.Regex))
		}
	case "Metaspace":
		c := metaspaceJSON{Split: true}
		if err = strict(data, &c); err != nil {
			break
		}
		var scheme string
		if scheme, err = c.scheme(); err != nil {
			break
		}
		p := prefix{space: c.Replacement}
		if scheme != "never" {
			p.text, p.only = c.Replacement, scheme == "first"
		}
		if err = t.setPrefix(p); err == nil && c.Split {
			t.scanners = append(t.scanners, each{})
		}
	default:
		return unsupported("pre-tokenizer %s", quote(kind))
	}
	if err != nil {
		return fmt.Errorf("pre-tokenizer %s: %w", kind, err)
	}
	return nil
}

// setPrefix takes a step that rewrites text. One is enough for every model that is known.
func (t *Tokenizer) setPrefix(p prefix) error {
	if t.prefix != nil {
		return unsupported("a second one that rewrites the text")
	}
	t.prefix, t.prefixAt = &p, len(t.scanners)
	return nil
}

type metaspaceJSON struct {
	Type        string  `json:"type"`
	Replacement string  `json:"replacement"`
	StrRep      string  `json:"str_rep"` // the same once more, in files of before 2023
	Scheme      *string `json:"prepend_scheme"`
	AddPrefix   *bool   `json:"add_prefix_space"` // what files of before 2024 have for it
	Split       bool    `json:"split"`
}

// scheme says before which pieces the marker is put: always, first or never.
func (c *metaspaceJSON) scheme() (string, error) {
	if c.Replacement != metaspace {
		return "", unsupported("replacement %s", quote(c.Replacement))
	}
	scheme := "always"
	if c.Scheme != nil {
		scheme = *c.Scheme
	}
	if c.AddPrefix != nil && !*c.AddPrefix {
		if c.Scheme != nil && scheme != "never" {
			return "", malformed("add_prefix_space is false and prepend_scheme is %s", quote(scheme))
		}
		scheme = "never"
	}
	switch scheme {
	case "always", "first", "never":
		return scheme, nil
	}
	return "", unsupported("prepend_scheme %s", quote(scheme))
}

// model reads everything of the model but its merges.
func (t *Tokenizer) model(f *fileJSON) error {
	m := &f.Model
	switch {
	case m.Type != nil && *m.Type != "BPE":
		return unsupported("model type %s", quote(*m.Type))
	case m.Dropout != nil && *m.Dropout != 0:
		return unsupported("dropout %v: encoding would be random", *m.Dropout)
	case m.Prefix != nil && *m.Prefix != "":
		return unsupported("continuing_subword_prefix %s", quote(*m.Prefix))
	case m.Suffix != nil && *m.Suffix != "":
		return unsupported("end_of_word_suffix %s", quote(*m.Suffix))
	}
	if m.Unk != nil {
		id, ok := t.ids[*m.Unk]
		if !ok {
			return malformed("unk_token %s is not in the vocabulary", quote(*m.Unk))
		}
		t.unk = id
	}
	for i := range t.bytes {
		t.bytes[i] = -1
	}
	if t.byteLevel {
		spell := &alphabet().spell
		for b, r := range spell {
			if id, ok := t.ids[string(r)]; ok {
				t.bytes[b] = id
			}
		}
	} else {
		for i := range t.ascii {
			t.ascii[i] = -1
		}
		t.runes = make(map[rune]int32)
		for i, token := range m.Vocab.tokens {
			if r, n := utf8.DecodeRuneInString(token); n == len(token) && n > 0 {
				t.runes[r] = m.Vocab.ids[i]
				if r < utf8.RuneSelf {
					t.ascii[r] = m.Vocab.ids[i]
				}
			}
		}
	}
	for token := range f.special() {
		if t.single(token) {
			return malformed("the special token %s is a character of plain text", quote(token))
		}
	}
	if !m.ByteFallback {
		return nil
	}
	if t.byteLevel {
		return unsupported("byte_fallback with the pre-tokenizer ByteLevel")
	}
	found := 0
	for b := range t.bytes {
		if id, ok := t.ids[fmt.Sprintf("<0x%02X>", b)]; ok {
			t.bytes[b] = id
			found++
		}
	}
	if found < len(t.bytes) {
		return malformed("byte_fallback with %d of the 256 tokens <0x00> to <0xFF>", found)
	}
	return nil
}

// single says whether token is that of a single character of the model.
func (t *Tokenizer) single(token string) bool {
	if t.byteLevel {
		raw, ok := unspell(token)
		return ok && len(raw) == 1
	}
	return utf8.RuneCountInString(token) == 1
}

// addedTokens reads the tokens that EncodeTemplate looks for.
func (t *Tokenizer) addedTokens(f *fileJSON) error {
	seen := make(map[int32]bool, len(f.AddedTokens))
	for _, a := range f.AddedTokens {
		id := int32(a.ID)
		if seen[id] {
			return malformed("added token %s: id %d has been added before", quote(a.Content), id)
		}
		seen[id] = true
		if old, ok := t.ids[a.Content]; ok && old != id {
			return malformed("added token %s has ids %d and %d", quote(a.Content), old, id)
		}
		if t.known[id] && t.tokens[id] != a.Content {
			return malformed("tokens %s and %s have the same id %d", quote(t.tokens[id]), quote(a.Content), id)
		}
		t.tokens[id], t.known[id], t.ids[a.Content] = a.Content, true, id
	}
	s := new(scratch)
	for _, a := range f.AddedTokens {
		tok := addedToken{id: int32(a.ID), content: a.Content, word: a.SingleWord, lstrip: a.LStrip, rstrip: a.RStrip}
		if !a.Normalized {
			t.added = append(t.added, tok)
			continue
		}
		cur, other := view{text: []byte(tok.content)}, 0
		s.limit = maxGrowth*len(tok.content) + 1<<10
		for _, n := range t.normalizers {
			if n.apply(&s.views[other], &cur, s) {
				cur, other = s.views[other], 1-other
			}
			if len(cur.text) > s.limit {
				return malformed("added token %d is longer than %d bytes when normalised", a.ID, s.limit)
			}
		}
		if len(cur.text) == 0 {
			return malformed("added token %d is empty when normalised", a.ID)
		}
		tok.content = string(cur.text)
		t.norm = append(t.norm, tok)
	}
	t.addedBy, t.normBy = index(t.added), index(t.norm)
	return nil
}

func (t *Tokenizer) decoding(f *fileJSON) error {
	return t.decoder(f.Decoder, 0)
}

func (t *Tokenizer) decoder(data json.RawMessage, depth int) error {
	kind, err := typeOf(data)
	if err != nil {
		return err
	}
	if len(t.decoders) == maxSteps || depth > maxDepth {
		return malformed("too many decoders")
	}
	switch kind {
	case "":
		t.join = " "
	case "Sequence":
		var c struct {
			Type     string            `json:"type"`
			Decoders []json.RawMessage `json:"decoders"`
		}
		if err := strict(data, &c); err != nil {
			return fmt.Errorf("decoder %s: %w", kind, err)
		}
		for _, part := range c.Decoders {
			switch kind, err := typeOf(part); {
			case err != nil:
				return err
			case kind == "", kind == "ByteLevel" && len(c.Decoders) > 1:
				return unsupported("decoder %s in a Sequence", quote(kind))
			}
			if err := t.decoder(part, depth+1); err != nil {
				return err
			}
		}
	case "ByteLevel":
		t.spelled = true
	case "Fuse":
		t.decoders = append(t.decoders, fuseParts)
	case "ByteFallback":
		t.decoders = append(t.decoders, byteParts)
	case "Replace":
		var c replaceJSON
		if err = strict(data, &c); err == nil {
			var r replace
			r, err = c.replace()
			t.decoders = append(t.decoders, replaceParts(r.old, r.new))
		}
	case "Strip":
		var c struct {
			Type    string `json:"type"`
			Content string `json:"content"`
			Start   int    `json:"start"`
			Stop    int    `json:"stop"`
		}
		if err = strict(data, &c); err == nil && c.Content == "" {
			err = malformed("no content")
		}
		t.decoders = append(t.decoders, stripParts(c.Content, c.Start, c.Stop))
	case "Metaspace":
		c := metaspaceJSON{Split: true}
		if err = strict(data, &c); err == nil {
			var scheme string
			scheme, err = c.scheme()
			t.decoders = append(t.decoders, metaspaceParts(c.Replacement, scheme != "never"))
		}
	default:
		return unsupported("decoder %s", quote(kind))
	}
	if err != nil {
		return fmt.Errorf("decoder %s: %w", kind, err)
	}
	return nil
}

// mergeTable reads the merges. Every merge makes a token that is longer than its parts, so none can go round in a circle.
func (t *Tokenizer) mergeTable(f *fileJSON) error {
	special := f.special()
	inner := false // a token has the white-space marker after something else
	t.merges = newMergeTable(len(f.Model.Merges))
	var whole []byte
	for rank, m := range f.Model.Merges {
		if m[1] == ambiguous {
			pair, ok := t.divide(m[0])
			if !ok {
				return malformed("merge %d: the vocabulary does not tell the parts of %s", rank, quote(m[0]))
			}
			m = pair
		}
		var ids [2]int32
		for k, part := range m {
			id, ok := t.ids[part]
			if !ok {
				return malformed("merge %d: its part %s is not in the vocabulary", rank, quote(part))
			}
			ids[k] = id
		}
		whole = append(append(whole[:0], m[0]...), m[1]...)
		id, ok := t.ids[string(whole)]
		if !ok {
			return malformed("merge %d makes %s, which is not in the vocabulary", rank, quote(string(whole)))
		}
		if special[string(whole)] {
			return malformed("merge %d makes the special token %s out of plain text", rank, quote(string(whole)))
		}
		t.merges.put(ids[0], ids[1], int32(rank), id)
		if !inner {
			rest := bytes.TrimLeft(whole, metaspace)
			inner = bytes.Contains(rest, []byte(metaspace))
		}
	}
	// SentencePiece models come without a pre-tokenizer: the whole text is one word. Where no merge reaches from a word across the
	// white space that follows, cutting there changes nothing, and words can be looked up.
	if _, ok := t.runes['▁']; ok && !t.byteLevel && !inner && !f.Model.IgnoreMerges {
		t.scanners = append(t.scanners, marker{})
	}
	return nil
}

// divide finds the one space at which both sides of s, and both together without it, are tokens.
func (t *Tokenizer) divide(s string) (pair [2]string, ok bool) {
	for i := range len(s) {
		if s[i] != ' ' {
			continue
		}
		left, right := s[:i], s[i+1:]
		_, ok1 := t.ids[left]
		_, ok2 := t.ids[right]
		_, ok3 := t.ids[left+right]
		if !ok1 || !ok2 || !ok3 || left == "" || right == "" {
			continue
		}
		if ok {
			return pair, false
		}
		pair, ok = [2]string{left, right}, true
	}
	return pair, ok
}

// maxWord is the length in bytes up to which words are looked up as a whole.
const maxWord = 64

// knownWords finds the words that become one token. With ignore_merges these are all that have one; else those that their own
// merges lead to, which is not every one: some tokens are only ever parts.
func (t *Tokenizer) knownWords(f *fileJSON) {
	t.words = make(map[string]int32, len(f.Model.Vocab.ids))
	special := f.special()
	s := new(scratch)
	for i, token := range f.Model.Vocab.tokens {
		id := f.Model.Vocab.ids[i]
		if special[token] || id == t.unk {
			continue
		}
		if t.byteLevel {
			raw, ok := unspell(token)
			if !ok {
				continue
			}
			token = raw
		}
		if token == "" || !f.Model.IgnoreMerges && len(token) > maxWord {
			continue
		}
		if !f.Model.IgnoreMerges {
			v := view{text: append(s.views[0].text[:0], token...)}
			s.views[0].text = v.text
			s.syms = t.symbols(s.syms[:0], nil, &v, 0, len(token))
			if len(s.syms) == 0 || len(s.syms) > math.MaxInt16 {
				continue
			}
			if syms := t.merges.merge(s.syms, s); len(syms) != 1 || syms[0].id != id || syms[0].lo != 0 || int(syms[0].hi) != len(token) {
				continue
			}
		}
		t.words[token] = id
		t.longest = max(t.longest, len(token))
	}
}
