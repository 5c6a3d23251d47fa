package text

import (
	"slices"
	"unicode/utf8"
)

// wrapAt is the length from which a line of base64 or hexadecimal continues on the next: encoders wrap at 60 to 76.
const wrapAt = 32

// base64Values is (256): the six bits of each character of both alphabets of RFC 4648, sections 4 and 5; -1 for others.
var base64Values = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = int8(i)
	}
	t['-'], t['_'] = 62, 63
	return t
}()

// payload is decoded bytes and where each came from in the searched text.
type payload struct {
	kind  Kind
	bytes []byte
	at    []Range // (len(bytes))
}

// payloads appends a view for each encoded text in s, itself undone and searched to the given depth. origin maps ranges of
// s to the segment; t is what triage says of s.
func (in *Inspector) payloads(views []View, s string, t trigger, origin func(start, end int) Range, depth int) []View {
	if depth == 0 || t&(hasRun|hasCodes) == 0 {
		return views
	}
	var found []payload
	if t&hasRun != 0 {
		found = in.runs(found, s)
	}
	if t&hasCodes != 0 {
		for _, base := range [...]int{16, 10, 2} {
			found = codes(found, s, base)
		}
	}
	for _, p := range found {
		if len(p.bytes) > in.budget {
			continue
		}
		in.budget -= len(p.bytes)
		first, last := p.at[0], p.at[len(p.at)-1]
		where := origin(first.Start, last.End)
		factor := 0.02
		if prose(p.bytes) == 2 {
			factor = 1
		}
		in.note(p.kind, int32(where.Start), int32(where.End), len(p.bytes), factor)
		in.src, in.hidden = in.src[:0], in.hidden[:0]
		for i := 0; i < len(p.bytes); {
			r, n := utf8.DecodeRune(p.bytes[i:])
			if r == utf8.RuneError && n == 1 {
				r = badByte + rune(p.bytes[i])
			}
			o := origin(p.at[i].Start, p.at[i+n-1].End)
			in.src = append(in.src, atom{r, int32(o.Start), int32(o.End)})
			i += n
		}
		in.reset()
		in.undo(triage(string(p.bytes)))
		v := in.build(in.src, p.kind)
		if v == nil {
			continue
		}
		views = append(views, *v)
		if len(in.hidden) >= 4 {
			if h := in.build(in.hidden, Tag); h != nil {
				views = append(views, *h)
			}
		}
		views = in.payloads(views, v.Text, triage(v.Text), v.Original, depth-1)
	}
	return views
}

// runs finds base64 and hexadecimal, wrapped over lines or not.
func (in *Inspector) runs(found []payload, s string) []payload {
	for i := 0; i < len(s); {
		if classes[s[i]]&notBase64 != 0 || s[i] == '=' {
			i++
			continue
		}
		in.scratch, in.chars = in.scratch[:0], in.chars[:0]
		line := 0
		for i < len(s) {
			if base64Values[s[i]] >= 0 {
				in.scratch = append(in.scratch, s[i])
				in.chars = append(in.chars, int32(i))
				line++
				i++
				continue
			}
			// A long line goes on behind its break, perhaps indented or quoted.
			j := i
			if j < len(s) && s[j] == '\r' {
				j++
			}
			if line < wrapAt || j >= len(s) || s[j] != '\n' {
				break
			}
			for j++; j < len(s) && (s[j] == ' ' || s[j] == '\t' || s[j] == '>'); j++ {
			}
			if j >= len(s) || base64Values[s[j]] < 0 {
				break
			}
			i, line = j, 0
		}
		if len(in.scratch) >= minPayload {
			found = in.run(found, in.scratch, in.chars)
		}
	}
	return found
}

// run decodes one run of base64 characters if it holds text.
func (in *Inspector) run(found []payload, chars []byte, pos []int32) []payload {
	if p, ok := decodeHex(chars, pos); ok {
		return append(found, p)
	}
	if p, ok := decodeBinary(chars, pos); ok {
		return append(found, p)
	}
	if p, ok := in.decodeBase64(chars, pos); ok {
		return append(found, p)
	}
	// Perhaps the payload is a part of a path or an identifier.
	for i := 0; i < len(chars); {
		j := i
		for j < len(chars) && classes[chars[j]]&(letter|digit) != 0 {
			j++
		}
		if j-i >= minPayload && j-i < len(chars) {
			if p, ok := decodeHex(chars[i:j], pos[i:j]); ok {
				found = append(found, p)
			} else if p, ok := in.decodeBase64(chars[i:j], pos[i:j]); ok {
				found = append(found, p)
			}
		}
		i = j + 1
	}
	return found
}

func decodeHex(c []byte, pos []int32) (payload, bool) {
	if len(c) > 2 && c[0] == '0' && c[1]|0x20 == 'x' {
		c, pos = c[2:], pos[2:]
	}
	for _, b := range c {
		if classes[b]&hexadecimal == 0 {
			return payload{}, false
		}
	}
	p := payload{kind: Hex}
	digits := 0
	for i := 0; i+1 < len(c); i += 2 {
		digits += int(classes[c[i]]&digit+classes[c[i+1]]&digit) / digit
		p.bytes = append(p.bytes, byte(unhex(rune(c[i]))<<4|unhex(rune(c[i+1]))))
	}
	q := prose(p.bytes)
	if q == 0 || q == 1 && digits == 2*len(p.bytes) && digits < 48 {
		return p, false // a long number
	}
	for i := range p.bytes {
		p.at = append(p.at, Range{int(pos[2*i]), int(pos[2*i+1]) + 1})
	}
	return p, true
}

func decodeBinary(c []byte, pos []int32) (payload, bool) {
	p := payload{kind: Codes}
	for _, b := range c {
		if b&^1 != '0' {
			return p, false
		}
	}
	for i := 0; i+8 <= len(c); i += 8 {
		v := byte(0)
		for _, b := range c[i : i+8] {
			v = v<<1 | b&1
		}
		p.bytes = append(p.bytes, v)
		p.at = append(p.at, Range{int(pos[i]), int(pos[i+7]) + 1})
	}
	return p, prose(p.bytes) > 0
}

// decodeBase64 tries the four alignments: what stands directly before a payload, or a cut through it, shifts it.
func (in *Inspector) decodeBase64(c []byte, pos []int32) (payload, bool) {
	for phase := range 4 {
		if len(c)-phase < minPayload-4 {
			break
		}
		in.normal = in.normal[:0]
		acc, bits, bad := 0, 0, 0
		for i := phase; i < len(c); i++ {
			acc = acc<<6 | int(base64Values[c[i]])
			if bits += 6; bits >= 8 {
				bits -= 8
				b := byte(acc >> bits)
				if b < ' ' && b != '\n' && b != '\t' && b != '\r' && b != 0 {
					if bad++; bad > 4+(i-phase)/32 {
						break // controls: no text
					}
				}
				in.normal = append(in.normal, b)
				acc &= 1<<bits - 1
			}
		}
		p := payload{kind: Base64, bytes: in.normal}
		step := p.narrow()
		if q := prose(p.bytes); q == 0 || q == 1 && phase != 0 {
			continue
		}
		p.bytes = slices.Clone(p.bytes)
		for i := range p.bytes {
			// Byte k of a payload comes from characters k·4/3 and the next.
			first, last := i*step, i*step+step-1
			p.at = append(p.at, Range{int(pos[phase+first*4/3]), int(pos[phase+last*4/3+1]) + 1})
		}
		return p, true
	}
	return payload{}, false
}

// narrow turns UTF-16, little endian and within ASCII, to bytes: PowerShell encodes so. It returns how many bytes each of
// the result came from.
func (p *payload) narrow() int {
	zero := 0
	for i := 1; i < len(p.bytes); i += 2 {
		if p.bytes[i] == 0 {
			zero++
		}
	}
	if len(p.bytes) < 16 || zero < len(p.bytes)/2 {
		return 1
	}
	for i := 0; i < len(p.bytes)/2; i++ {
		p.bytes[i] = p.bytes[2*i]
	}
	p.bytes = p.bytes[:len(p.bytes)/2]
	return 2
}

// codes finds lists of at least eight character codes in the given base that make words.
func codes(found []payload, s string, base int) []payload {
	const minCodes, maxGap = 8, 3
	p := payload{kind: Codes}
	if base == 16 {
		p.kind = Hex
	}
	flush := func() {
		if len(p.bytes) >= minCodes && prose(p.bytes) == 2 {
			found = append(found, p)
			p.bytes, p.at = nil, nil
		}
		p.bytes, p.at = p.bytes[:0], p.at[:0]
	}
	gap := 0
	for i := 0; i < len(s); {
		if classes[s[i]]&(letter|digit) == 0 {
			if gap++; gap > maxGap {
				flush()
			}
			i++
			continue
		}
		j := i
		for j < len(s) && classes[s[j]]&(letter|digit) != 0 {
			j++
		}
		v, ok := code(s[i:j], base)
		if !ok {
			flush()
		} else {
			p.bytes = append(p.bytes, v)
			p.at = append(p.at, Range{i, j})
		}
		gap = 0
		i = j
	}
	flush()
	return found
}

// code reads one printable ASCII code: two hexadecimal digits, perhaps behind 0x; two or three decimal; eight binary.
func code(tok string, base int) (byte, bool) {
	if base == 16 && len(tok) == 4 && tok[0] == '0' && tok[1]|0x20 == 'x' {
		tok = tok[2:]
	}
	if base == 16 && len(tok) != 2 || base == 2 && len(tok) != 8 && len(tok) != 7 || base == 10 && len(tok) != 2 && len(tok) != 3 {
		return 0, false
	}
	v := 0
	for i := range len(tok) {
		d := unhex(rune(tok[i]))
		if d < 0 || d >= base {
			return 0, false
		}
		v = v*base + d
	}
	return byte(v), v >= ' ' && v < 0x7f || v == '\n'
}
