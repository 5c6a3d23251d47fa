package hub

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// isHex tells whether s is n lower-case hexadecimal digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isCommit(s string) bool { return isHex(s, 40) }

// isBlob tells whether s can be the name of a blob: sha256 of a large file or
// git's hash of a small one. Nothing else from a server becomes such a name.
func isBlob(s string) bool { return isHex(s, 40) || isHex(s, 64) }

// isRepo tells whether s is a repository's name, by the rules of the reference
// client: one or two parts of letters, digits, "_", "." and "-", at most 96
// bytes, without "--", ".." and ".git" at the end.
func isRepo(s string) bool {
	if len(s) > 96 || strings.Contains(s, "--") || strings.Contains(s, "..") || strings.HasSuffix(s, ".git") {
		return false
	}
	parts := strings.Split(s, "/")
	for _, p := range parts {
		if p == "" || strings.Trim(p, "-.") != p {
			return false
		}
		for i := range len(p) {
			if c := p[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
				return false
			}
		}
	}
	return len(parts) <= 2
}

const (
	maxPath    = 1024 // bytes of a path in a repository
	maxSegment = 255  // bytes of one segment: NAME_MAX of most file systems
)

// isHostile tells whether no honest repository has a file of that name: it would
// leave its folder on some operating system, or cannot be told apart on screen.
// One such name condemns the whole list.
func isHostile(p string) bool {
	if p == "" || len(p) > maxPath || !utf8.ValidString(p) || strings.Contains(p, `\`) {
		return true
	}
	for _, r := range p {
		if r < 0x20 || r == 0x7f {
			return true
		}
	}
	for s := range strings.SplitSeq(p, "/") {
		if s == "" || s == "." || s == ".." || len(s) > maxSegment {
			return true
		}
	}
	return len(p) >= 3 && p[1] == ':' && p[2] == '/' // a drive
}

// isPortable tells whether a file of that name can be written on every
// operating system. It is asked only of names that are to be written.
func isPortable(p string) bool {
	if isHostile(p) || !filepath.IsLocal(filepath.FromSlash(p)) || strings.Contains(p, ":") {
		return false
	}
	for s := range strings.SplitSeq(p, "/") {
		if strings.HasSuffix(s, ".") || strings.HasSuffix(s, " ") {
			return false
		}
		base, _, _ := strings.Cut(s, ".")
		base = strings.ToUpper(strings.TrimRight(base, " "))
		switch base {
		case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
			return false
		}
		if n := strings.TrimPrefix(strings.TrimPrefix(base, "COM"), "LPT"); n != base && utf8.RuneCountInString(n) == 1 && strings.ContainsAny(n, "0123456789¹²³") {
			return false
		}
	}
	return true
}

// isRevision tells whether s can name a branch or tag, in git's rules and as a
// path below refs/.
func isRevision(s string) bool {
	return isPortable(s) && len(s) <= maxSegment && !strings.ContainsAny(s, " ~^?*[") && !strings.Contains(s, "@{") &&
		!strings.Contains(s, "..") && !strings.HasSuffix(s, ".lock") && !strings.HasPrefix(s, "-") &&
		s != ownFolder && !strings.HasPrefix(s, ownFolder+"/")
}

// entries are a catalogue.
type entries []Entry

// parse takes a name apart.
func (es entries) parse(name string) (Ref, error) {
	base, rev, given := strings.Cut(name, "@")
	ref := Ref{Name: name, Repo: base, Revision: rev}
	known := false
	for _, e := range es {
		if e.Name == base {
			known = true
			ref.Repo = e.Repo
			if !given {
				ref.Revision = e.Commit
			}
		}
	}
	switch {
	case !known && !strings.Contains(base, "/") && !given:
		return Ref{}, fmt.Errorf("%w: %q is not in the catalogue (%s); other models are named org/name@commit", ErrName, name, es.names())
	case !isRepo(ref.Repo):
		return Ref{}, fmt.Errorf("%w: %q: want a name of the catalogue (%s) or org/name@commit", ErrName, name, es.names())
	}
	if ref.Revision == "" && !given {
		ref.Revision = "main"
	}
	if isCommit(ref.Revision) {
		ref.Commit = ref.Revision
	} else if !isRevision(ref.Revision) {
		return Ref{}, fmt.Errorf("%w: %q: after @ comes a commit of 40 hex digits, a branch or a tag", ErrName, name)
	}
	return ref, nil
}

// of returns the entry that vouches for this very commit, or nil.
func (es entries) of(ref Ref) *Entry {
	for i := range es {
		if e := &es[i]; strings.EqualFold(e.Repo, ref.Repo) && e.Commit == ref.Commit {
			return e
		}
	}
	return nil
}

func (es entries) names() string {
	var names []string
	for _, e := range es {
		names = append(names, e.Name)
	}
	return strings.Join(names, ", ")
}

// match is Python's fnmatchcase with the Hub's habits: "\" counts as "/", a
// pattern that ends in "/" means everything below, * and ? match "/" too, [x]
// and [!x] are sets, nothing escapes. It takes len(pattern) · len(name) steps
// at worst.
func match(pattern, name string) bool {
	pattern = strings.ReplaceAll(pattern, `\`, "/")
	if strings.HasSuffix(pattern, "/") {
		pattern += "*"
	}
	pat, s := []rune(pattern), []rune(name)
	p, i := 0, 0
	star, mark := -1, 0 // the last * and how much of s it took
	for i < len(s) {
		if p < len(pat) && pat[p] == '*' {
			star, mark = p, i
			p++
			continue
		}
		if p < len(pat) {
			if n, ok := matchOne(pat[p:], s[i]); ok {
				p, i = p+n, i+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pat) && pat[p] == '*' {
		p++
	}
	return p == len(pat)
}

// matchOne matches one character against the first item of a pattern, and
// returns the item's length.
func matchOne(pat []rune, r rune) (int, bool) {
	switch pat[0] {
	case '?':
		return 1, true
	case '[':
		end := 1
		if end < len(pat) && pat[end] == '!' {
			end++
		}
		if end < len(pat) && pat[end] == ']' {
			end++
		}
		for end < len(pat) && pat[end] != ']' {
			end++
		}
		if end >= len(pat) {
			return 1, r == '[' // no closing bracket: an ordinary character
		}
		set := pat[1:end]
		not := len(set) > 0 && set[0] == '!'
		if not {
			set = set[1:]
		}
		in := false
		for i := 0; i < len(set); i++ {
			if i+2 < len(set) && set[i+1] == '-' {
				in = in || set[i] <= r && r <= set[i+2]
				i += 2
			} else {
				in = in || set[i] == r
			}
		}
		return end + 1, in != not
	}
	return 1, pat[0] == r
}
