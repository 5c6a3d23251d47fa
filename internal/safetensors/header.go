package safetensors

import (
	"encoding/json"
	"fmt"
	"math"
	"unicode/utf8"
)

// entry is one tensor as the header describes it.
type entry struct {
	Tensor
	begin, end uint64 // offsets into the buffer, not yet checked
}

// parseHeader reads the header's JSON. The grammar of the format nests three
// deep and is parsed as such, without recursion, in one pass: there is no depth
// to bound and no value to skip.
func parseHeader(b []byte) ([]entry, map[string]string, error) {
	if len(b) == 0 || b[0] != '{' {
		return nil, nil, ErrHeaderStart
	}
	if !utf8.Valid(b) {
		return nil, nil, ErrHeaderUTF8
	}
	s := scanner{b: b}
	var entries []entry
	meta := map[string]string{}
	seen := map[string]bool{}
	err := s.object(func(key string) error {
		if seen[key] {
			return fmt.Errorf("%w: %q", ErrDuplicateKey, key)
		}
		seen[key] = true
		if key == metadataKey {
			return s.stringMap(meta, ErrMetadata)
		}
		e, err := s.entry(key)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", key, err)
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	s.space()
	if s.at < len(s.b) {
		return nil, nil, s.syntax("more text behind the header")
	}
	return entries, meta, nil
}

// scanner reads JSON from b, front to back.
type scanner struct {
	b  []byte
	at int // next byte
}

func (s *scanner) syntax(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrHeaderSyntax, what, s.at)
}

func (s *scanner) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// next skips white space and takes c if it comes next.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		return true
	}
	return false
}

// object reads {"key": …, …}; value reads what follows a colon.
func (s *scanner) object(value func(key string) error) error {
	if !s.next('{') {
		return s.syntax("want an object")
	}
	if s.next('}') {
		return nil
	}
	for {
		key, err := s.str()
		if err != nil {
			return err
		}
		if !s.next(':') {
			return s.syntax("want ':'")
		}
		if err := value(key); err != nil {
			return err
		}
		if s.next('}') {
			return nil
		}
		if !s.next(',') {
			return s.syntax("want ',' or '}'")
		}
	}
}

// stringMap reads an object of strings into m. Values of another kind give the
// error kind.
func (s *scanner) stringMap(m map[string]string, kind error) error {
	s.space()
	if s.at < len(s.b) && s.b[s.at] != '{' {
		return fmt.Errorf("%w: at byte %d", kind, s.at)
	}
	return s.object(func(key string) error {
		if _, ok := m[key]; ok {
			return fmt.Errorf("%w: %q", ErrDuplicateKey, key)
		}
		s.space()
		if s.at < len(s.b) && s.b[s.at] != '"' {
			return fmt.Errorf("%w: value of %q", kind, key)
		}
		v, err := s.str()
		m[key] = v
		return err
	})
}

// entry reads the description of one tensor.
func (s *scanner) entry(name string) (entry, error) {
	e := entry{Tensor: Tensor{Name: name, Shape: []int{}}}
	var dtype, shape, offsets bool
	once := func(field *bool, key string) error {
		if *field {
			return fmt.Errorf("%w: %q", ErrDuplicateKey, key)
		}
		*field = true
		return nil
	}
	err := s.object(func(key string) error {
		switch key {
		case "dtype":
			if err := once(&dtype, key); err != nil {
				return err
			}
			v, err := s.str()
			if err != nil {
				return err
			}
			e.DType = DType(v)
			if e.DType.Bits() == 0 {
				return fmt.Errorf("%w %q", ErrDType, v)
			}
			return nil
		case "shape":
			if err := once(&shape, key); err != nil {
				return err
			}
			return s.numbers(func(n uint64) error {
				if n > math.MaxInt {
					return fmt.Errorf("%w: dimension %d", ErrOverflow, n)
				}
				if len(e.Shape) == MaxRank {
					return fmt.Errorf("%w: limit %d", ErrRank, MaxRank)
				}
				e.Shape = append(e.Shape, int(n))
				return nil
			})
		case "data_offsets":
			if err := once(&offsets, key); err != nil {
				return err
			}
			var v [2]uint64
			n := 0
			err := s.numbers(func(x uint64) error {
				if n < 2 {
					v[n] = x
				}
				n++
				return nil
			})
			if err == nil && n != 2 {
				err = s.syntax("want two data_offsets")
			}
			e.begin, e.end = v[0], v[1]
			return err
		}
		return s.syntax("unknown field of a tensor")
	})
	if err == nil && !(dtype && shape && offsets) {
		err = ErrMissingField
	}
	return e, err
}

// numbers reads an array of unsigned integers.
func (s *scanner) numbers(value func(n uint64) error) error {
	if !s.next('[') {
		return s.syntax("want an array")
	}
	if s.next(']') {
		return nil
	}
	for {
		n, err := s.number()
		if err != nil {
			return err
		}
		if err := value(n); err != nil {
			return err
		}
		if s.next(']') {
			return nil
		}
		if !s.next(',') {
			return s.syntax("want ',' or ']'")
		}
	}
}

// number reads an unsigned integer: digits without sign, fraction, exponent or
// leading zero.
func (s *scanner) number() (uint64, error) {
	s.space()
	start := s.at
	var n uint64
	for s.at < len(s.b) && '0' <= s.b[s.at] && s.b[s.at] <= '9' {
		d := uint64(s.b[s.at] - '0')
		if n > (math.MaxUint64-d)/10 {
			return 0, fmt.Errorf("%w: number at byte %d", ErrOverflow, start)
		}
		n = 10*n + d
		s.at++
	}
	if s.at == start || s.b[start] == '0' && s.at > start+1 {
		s.at = start
		return 0, s.syntax("want an unsigned integer")
	}
	return n, nil
}

// str reads a string and returns a copy of it.
func (s *scanner) str() (string, error) {
	if !s.next('"') {
		return "", s.syntax("want a string")
	}
	start, escaped := s.at, false
	for ; s.at < len(s.b); s.at++ {
		switch c := s.b[s.at]; {
		case c == '"':
			raw := s.b[start:s.at]
			s.at++
			if !escaped {
				return string(raw), nil
			}
			var v string
			if err := json.Unmarshal(s.b[start-1:s.at], &v); err != nil {
				s.at = start
				return "", s.syntax("malformed string")
			}
			return v, nil
		case c == '\\':
			escaped = true
			s.at++ // the next byte is no end of the string
		case c < 0x20:
			return "", s.syntax("control character in a string")
		}
	}
	s.at = start
	return "", s.syntax("string without end")
}
