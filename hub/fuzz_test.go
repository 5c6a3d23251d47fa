package hub

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// What a server or a cache says, in any form, never panics and never becomes
// anything but what it should be.

func FuzzETag(f *testing.F) {
	for _, s := range []string{`"` + strings.Repeat("a", 64) + `"`, `W/"` + strings.Repeat("0", 40) + `"`, `"../../../../evil"`, "", `"`, `W/W/""`, "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if tag, ok := parseETag(s); ok && !isBlob(tag) {
			t.Errorf("%q becomes %q", s, tag)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 5-9/10", "bytes 5-9/*", "bytes */10", "bytes 05-9/10", "bytes 5-9/10 ", "BYTES 5-9/10", ""} {
		f.Add(s, int64(5), int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, from, size int64) {
		if isRest(s, from, size) && (from >= size || !strings.HasPrefix(s, "bytes ") || strings.Contains(s, "*")) {
			t.Errorf("%q is the rest of %d from %d", s, size, from)
		}
	})
}

func FuzzLocation(f *testing.F) {
	for _, s := range []string{
		"/x?y#z", "//evil/x", "http://h/x", "https://u:p@h/x", "https:///x", "ftp://h", "javascript:x", "http://[::1", "", "\\\\evil\\x", "https://h:99999/", "?a", "https:x", "/%zz",
	} {
		f.Add("https://huggingface.co/a/b", s)
		f.Add("http://127.0.0.1:1/a", s)
	}
	hub, err := url.Parse("https://huggingface.co")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, base, s string) {
		from, err := url.Parse(base)
		if err != nil || from.Host == "" || (from.Scheme != "http" && from.Scheme != "https") {
			return
		}
		to, err := redirect(from, s)
		if err != nil {
			if len(s) > 12 && strings.Contains(err.Error(), s) {
				t.Errorf("the error quotes the address: %v", err)
			}
			return
		}
		if to.Host == "" || to.User != nil || (to.Scheme != "https" && (to.Scheme != "http" || from.Scheme == "https")) {
			t.Errorf("%q from %q leads to %v", s, base, to)
		}
		if sameOrigin(to, hub) && (to.Scheme != "https" || !strings.EqualFold(to.Hostname(), "huggingface.co")) {
			t.Errorf("%v counts as the Hub", to)
		}
	})
}

func FuzzLink(f *testing.F) {
	for _, s := range []string{
		`<https://h/x?cursor=1>; rel="next"`, `<a>; rel="prev", </b>; rel=next`, `<<>>;rel=next`, `<a;b,c>; x=y; REL="next"`, "<", `<>; rel="next"`, `, <a>; rel="next`, "",
	} {
		f.Add(s)
	}
	base, err := url.Parse("https://huggingface.co/api/models/a/b/tree/c?recursive=true")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := nextPage(base, s); err == nil && u != nil && (u.Scheme != "https" || u.Host == "") {
			t.Errorf("%q leads to %v", s, u)
		}
	})
}

func FuzzTree(f *testing.F) {
	for _, s := range []string{
		`[{"type":"file","path":"config.json","size":3,"oid":"` + strings.Repeat("a", 40) + `"}]`,
		`[{"type":"file","path":"model.safetensors","size":3,"oid":"` + strings.Repeat("a", 40) + `","lfs":{"oid":"` + strings.Repeat("b", 64) + `","size":3},"xetHash":"x"}]`,
		`[{"type":"file","path":"../x","size":-3,"oid":"../y"}]`, `[{"type":"directory","path":"/"}]`, `{}`, `[[]]`, `null`, `[{"type":"file","path":"a\\b\u0000"}]`,
	} {
		f.Add([]byte(s))
	}
	c := &Client{opt: Options{Files: []string{"*"}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		var page []treeItem
		l := listing{}
		if json.Unmarshal(b, &page) != nil || l.add(page) != nil {
			return
		}
		back, err := decodeListing(l.encode())
		if err != nil || len(back) != len(l) {
			t.Fatalf("a list of %d files comes back as %d: %v", len(l), len(back), err)
		}
		wants, err := c.wanted(l, nil)
		if err != nil {
			return
		}
		for _, w := range wants {
			if !filepath.IsLocal(filepath.FromSlash(w.path)) || !isBlob(w.blob) || w.size < 0 || strings.ContainsAny(w.path, "\\\x00:") {
				t.Errorf("%+v", w)
			}
		}
	})
}

// FuzzRef: whatever a reference holds, only a commit comes out of it.
// TestPoisonedRecords does the same with files.
func FuzzRef(f *testing.F) {
	for _, s := range []string{strings.Repeat("a", 40), strings.Repeat("a", 40) + "\n", "../../../../etc", "", "\x00", strings.Repeat("A", 40)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if commit := parseRef(b); commit != "" && (!isHex(commit, 40) || commit != strings.TrimSpace(string(b))) {
			t.Errorf("%q becomes %q", b, commit)
		}
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"smollm2-135m", "org/name@main", "org/name@" + strings.Repeat("a", 40), "a/b@../c", "a@b@c", "a/b@refs/pr/1", "a/../b", "@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := catalogue.parse(s)
		if err != nil {
			return
		}
		if strings.Contains(folder(ref.Repo), "/") || !filepath.IsLocal(folder(ref.Repo)) || !filepath.IsLocal("refs/"+ref.Revision) || ref.Commit != "" && !isCommit(ref.Commit) {
			t.Errorf("%q becomes %+v", s, ref)
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("*a*b*[!c-e]?", "xxaxxbxxfg")
	f.Add("[", "[")
	f.Add("a/", "a/b")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 200 || len(name) > 200 {
			return
		}
		match(pattern, name)
		if !strings.ContainsAny(pattern, `*?[\`) && !strings.HasSuffix(pattern, "/") && strings.ToValidUTF8(pattern, "") == pattern && !match(pattern, pattern) {
			t.Errorf("%q does not match itself", pattern)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("2", `"api";r=0;t=2`)
	f.Add("Fri, 31 Dec 2199 23:59:59 GMT", "")
	f.Add("-1", ";t=99999999999999999999")
	f.Fuzz(func(t *testing.T, after, limit string) {
		r := &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {after}, "Ratelimit": {limit}}}
		if n, err := serverWait(r, fixedNow); n < 0 || n > 61 || (err != nil && n != 0) {
			t.Errorf("%q, %q: %d, %v", after, limit, n, err)
		}
	})
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"format_version":1,"repo":"a/b","commit":"` + strings.Repeat("a", 40) + `","files":[{"path":"config.json","size":0,"sha256":"` + sha2(nil) + `","blob":"` + gitHash(nil) + `"}],"tree":{}}`))
	f.Add([]byte(`{"format_version":1,"repo":"../b","files":[{"path":"../x"}]}`))
	f.Add([]byte(`null`))
	c := &Client{catalogue: catalogue}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, ref, wants, err := c.decodeExport(b)
		if err != nil {
			return
		}
		for _, w := range wants {
			if !isRepo(ref.Repo) || !isCommit(ref.Commit) || !isPortable(w.path) || !isBlob(w.blob) || !isHex(w.sha256, 64) || w.size < 0 {
				t.Errorf("%+v of %+v", w, ref)
			}
		}
	})
}
