package tokenizer

import (
	"strconv"
	"strings"
)

// A decoder is one step from tokens to text.
type decoder func(parts []string) []string

// fuseParts makes one part of all.
func fuseParts(parts []string) []string { return []string{strings.Join(parts, "")} }

// byteParts turns <0x00> to <0xFF> into the bytes that they stand for.
func byteParts(parts []string) []string {
	for i, p := range parts {
		if b, ok := byteToken(p); ok {
			parts[i] = string([]byte{b})
		}
	}
	return parts
}

func replaceParts(old, new string) decoder {
	return func(parts []string) []string {
		for i, p := range parts {
			parts[i] = strings.ReplaceAll(p, old, new)
		}
		return parts
	}
}

// stripParts removes up to start and stop times c from the ends of each part.
func stripParts(c string, start, stop int) decoder {
	return func(parts []string) []string {
		for i, p := range parts {
			for n := 0; n < start && strings.HasPrefix(p, c); n++ {
				p = p[len(c):]
			}
			for n := 0; n < stop && strings.HasSuffix(p, c); n++ {
				p = p[:len(p)-len(c)]
			}
			parts[i] = p
		}
		return parts
	}
}

// metaspaceParts turns markers into spaces and drops the one that was put before the text.
func metaspaceParts(replacement string, prepended bool) decoder {
	return func(parts []string) []string {
		for i, p := range parts {
			if i == 0 && prepended {
				p = strings.TrimPrefix(p, replacement)
			}
			parts[i] = strings.ReplaceAll(p, replacement, " ")
		}
		return parts
	}
}

// byteToken returns the byte that a token of the form <0xNN> stands for.
func byteToken(token string) (byte, bool) {
	if len(token) != 6 || token[:3] != "<0x" || token[5] != '>' {
		return 0, false
	}
	n, err := strconv.ParseUint(token[3:5], 16, 8)
	return byte(n), err == nil
}
