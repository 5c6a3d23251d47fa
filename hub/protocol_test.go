package hub

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alkimiadev/alknet-firewall/hub/hubtest"
)

// TestRefusals: each way in which a Hub says no is an error of its own, with
// words that say what to do.
func TestRefusals(t *testing.T) {
	w := newWorld(t, hubtest.Options{Tokens: []string{"hf_stranger"}})
	conf := func(change func(*hubtest.Repo)) hubtest.Repo {
		c := lfs
		c.Tokens = []string{"hf_friend"}
		change(&c)
		return c
	}
	w.put("acme/open", lfs, model(1, 1000))
	w.put("acme/gated", conf(func(c *hubtest.Repo) { c.Gated = "manual" }), model(2, 1000))
	w.put("acme/private", conf(func(c *hubtest.Repo) { c.Private = true }), model(3, 1000))
	w.put("acme/disabled", conf(func(c *hubtest.Repo) { c.Disabled = true }), model(4, 1000))
	w.put("acme/pickled", lfs, map[string][]byte{"config.json": []byte("{}"), "tokenizer.json": []byte("{}"), "pytorch_model.bin": data(1, 10)})
	w.put("acme/bare", lfs, map[string][]byte{"README.md": []byte("x")})
	missing := strings.Repeat("12", 20)
	for _, c := range []struct {
		name, token string
		want        error
		words       string
	}{
		{"acme/open", "", nil, ""},
		{"acme/open", "hf_stranger", nil, ""},
		{"acme/open", "hf_wrong", ErrUnauthorised, "the token is not valid: check option"},
		{"acme/gated", "", ErrGated, w.hub.URL + "/acme/gated, then set HF_TOKEN"},
		{"acme/gated", "hf_stranger", ErrGated, "ask for access on " + w.hub.URL + "/acme/gated"},
		{"acme/gated", "hf_friend", nil, ""},
		{"acme/private", "", ErrNotFound, "set HF_TOKEN"},
		{"acme/private", "hf_stranger", ErrNotFound, ""},
		{"acme/private", "hf_friend", nil, ""},
		{"acme/disabled", "", ErrDisabled, ""},
		{"acme/nothing", "", ErrNotFound, ""},
		{"acme/nothing", "hf_stranger", ErrNotFound, ""},
		{"acme/open@nothing", "", ErrRevision, "nothing"},
		{"acme/open@" + missing, "", ErrRevision, missing},
		{"acme/pickled", "", ErrEntry, "model.safetensors"},
		{"acme/bare", "", ErrEntry, "config.json"},
		{"smollm", "", ErrName, "smollm2-135m"},
		{"a b/c", "", ErrName, "org/name@commit"},
		{"acme/open@../../x", "", ErrName, "40 hex"},
		{"acme/open@", "", ErrName, ""},
		{"acme/x--y", "", ErrName, ""},
		{"a/b/c", "", ErrName, ""},
		{"", "", ErrName, ""},
	} {
		w.opt.Token = c.token
		os.RemoveAll(w.cache)
		_, err := w.client().Pull(context.Background(), c.name)
		if !errors.Is(err, c.want) || (err != nil && !strings.Contains(err.Error(), c.words)) {
			t.Errorf("%s with token %q: %v, want %v with %q", c.name, c.token, err, c.want, c.words)
		}
		all := []error{ErrName, ErrNotFound, ErrRevision, ErrEntry, ErrGated, ErrUnauthorised, ErrDisabled, ErrOffline, ErrUnavailable, ErrNotHub, ErrCorrupt}
		for _, other := range all {
			if c.want != nil && errors.Is(err, other) != errors.Is(other, c.want) {
				t.Errorf("%s: %v is %v too", c.name, err, other)
			}
		}
	}
}

func TestTokenSources(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(p), 0o777)
		os.WriteFile(p, []byte(content), 0o600)
		return p
	}
	file("home/token", "hf_home\n")
	path := file("path", "  hf_path\r\n")
	empty := file("empty", "\n")
	for _, c := range []struct {
		env    map[string]string
		option string
		none   bool
		want   string
		from   string
	}{
		{nil, "", false, "hf_home", filepath.Join(dir, "home", "token")},
		{map[string]string{"HF_TOKEN_PATH": path}, "", false, "hf_path", path},
		{map[string]string{"HF_TOKEN_PATH": empty}, "", false, "hf_home", filepath.Join(dir, "home", "token")},
		{map[string]string{"HUGGING_FACE_HUB_TOKEN": "hf_old", "HF_TOKEN_PATH": path}, "", false, "hf_old", "HUGGING_FACE_HUB_TOKEN"},
		{map[string]string{"HF_TOKEN": " hf_\nnew ", "HUGGING_FACE_HUB_TOKEN": "hf_old"}, "", false, "hf_new", "HF_TOKEN"},
		{map[string]string{"HF_TOKEN": " \n ", "HUGGING_FACE_HUB_TOKEN": "hf_old"}, "", false, "hf_old", "HUGGING_FACE_HUB_TOKEN"},
		{map[string]string{"HF_TOKEN": "hf_new"}, "hf_option", false, "hf_option", "option"},
		{map[string]string{"HF_TOKEN": "hf_new", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, "", false, "", ""},
		{map[string]string{"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, "hf_option", false, "hf_option", "option"},
		{map[string]string{"HF_TOKEN": "hf_new"}, "hf_option", true, "", ""},
	} {
		env := func(n string) string {
			if v := c.env[n]; v != "" {
				return v
			}
			return map[string]string{"HF_HOME": filepath.Join(dir, "home")}[n]
		}
		cl, err := newClient(Options{Token: c.option, NoToken: c.none}, env)
		if err != nil || cl.token != c.want || cl.Settings().TokenFrom != c.from {
			t.Errorf("%v, option %q: %q from %q, %v; want %q from %q", c.env, c.option, cl.token, cl.tokenFrom, err, c.want, c.from)
		}
	}
	if _, err := newClient(Options{Token: "hf_a b", CacheDir: dir}, func(string) string { return "" }); err == nil || strings.Contains(err.Error(), "hf_a") {
		t.Errorf("a token with a space: %v, want an error that does not quote it", err)
	}
}

// TestTokenStays: no request outside the endpoint's scheme, host and port has a
// token, wherever a redirect leads and from whatever request.
func TestTokenStays(t *testing.T) {
	for _, where := range []string{"api", "resolve", "cache", "cdn"} {
		w := newWorld(t, hubtest.Options{CDNNoAuth: true})
		w.put("acme/m", lfs, model(1, 5000))
		w.opt.Token = "hf_secret"
		if where != "cdn" {
			w.hub.Fault(hubtest.Fault{Where: where, Kind: "redirect-other"})
			if _, err := w.client().Pull(context.Background(), "acme/m"); err == nil {
				t.Errorf("%s answered by a foreign host: no error", where)
			}
			if w.count("other", "", "") == 0 {
				t.Errorf("%s: the redirect was not followed", where)
			}
		} else {
			w.pull("acme/m")
		}
		for _, r := range w.hub.Log() {
			if (r.Srv == "hub") != (r.Auth == "Bearer hf_secret") {
				t.Errorf("%s: %s %s with Authorization %q", where, r.Srv, r.URL, r.Auth)
			}
		}
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"https://huggingface.co", "https://huggingface.co:443/x", true},
		{"https://huggingface.co", "https://HUGGINGFACE.co/x", true},
		{"https://huggingface.co", "http://huggingface.co/x", false},
		{"https://huggingface.co", "https://cdn.huggingface.co/x", false},
		{"https://huggingface.co", "https://huggingface.co:8443/x", false},
		{"https://huggingface.co", "https://huggingface.co.evil/x", false},
		{"http://127.0.0.1:1", "http://127.0.0.1:2", false},
		{"http://[::1]:1", "http://[::1]:1/x", true},
	} {
		a, _ := url.Parse(c.a)
		b, _ := url.Parse(c.b)
		if got := sameOrigin(a, b); got != c.same {
			t.Errorf("sameOrigin(%s, %s) = %v", c.a, c.b, got)
		}
	}
	// A way back to the Hub does not bring the token back.
	w := newWorld(t, hubtest.Options{})
	w.put("acme/m", lfs, model(1, 5000))
	w.opt.Token = "hf_secret"
	w.hub.Fault(
		hubtest.Fault{Where: "resolve", Kind: "redirect-other"},
		hubtest.Fault{Where: "other", Kind: "redirect", Value: w.hub.URL + "/api/whoami-v2"},
	)
	w.client().Pull(context.Background(), "acme/m")
	back := 0
	for _, r := range w.hub.Log() {
		if r.URL == "/api/whoami-v2" {
			back++
			if r.Auth != "" {
				t.Error("the token was sent again after a foreign host")
			}
		}
	}
	if back == 0 {
		t.Error("nothing came back")
	}
}

// TestDowngrade: from https no redirect leads to http.
func TestDowngrade(t *testing.T) {
	w := newWorld(t, hubtest.Options{})
	s := httptest.NewTLSServer(http.RedirectHandler(w.hub.URL+"/api/models/acme/m/revision/main", http.StatusFound))
	defer s.Close()
	w.env["HF_ENDPOINT"] = s.URL
	c := w.client()
	c.transport.(*http.Transport).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig
	_, err := c.Pull(context.Background(), "acme/m")
	if !errors.Is(err, ErrNotHub) || len(w.hub.Log()) != 0 {
		t.Errorf("%v after %d requests, want ErrNotHub and none", err, len(w.hub.Log()))
	}
}

// TestClock: a certificate that is refused for its dates makes the error name
// the clock, at once.
func TestClock(t *testing.T) {
	for _, now := range []time.Time{time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)} {
		w := newWorld(t, hubtest.Options{})
		s := httptest.NewTLSServer(http.NotFoundHandler())
		s.Config.ErrorLog = discard
		pool := x509.NewCertPool()
		pool.AddCert(s.Certificate())
		w.env["HF_ENDPOINT"] = s.URL
		c := w.client()
		c.transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, Time: func() time.Time { return now }}
		_, err := c.Pull(context.Background(), "acme/m")
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "clock") || strings.Contains(err.Error(), "tries") {
			t.Errorf("in %d: %v", now.Year(), err)
		}
		s.Close()
	}
}

// TestSecrets: whatever goes wrong, no error, warning or progress report holds a
// token, a signed query, or a proxy's password.
func TestSecrets(t *testing.T) {
	for _, f := range []hubtest.Fault{
		{Where: "cdn", Kind: "status", Code: 403},
		{Where: "cdn", Kind: "status", Code: 400},
		{Where: "cdn", Kind: "close"},
		{Where: "cdn", Kind: "drop", After: 10},
		{Where: "cdn", Kind: "redirect-loop"},
		{Where: "cdn", Kind: "redirect", Value: "ftp://x/?X-Amz-Signature=1"},
		{Where: "cdn", Kind: "redirect", Value: "http://[bad?X-Amz-Signature=1"},
		{Where: "cdn", Kind: "redirect", Value: "http://u:hf_pass@127.0.0.1:1/?X-Amz-Signature=1"},
		{Where: "cdn", Kind: "html"},
		{Where: "cdn", Kind: "wrong"},
		{Where: "api", Kind: "redirect", Value: "http://127.0.0.1:1/?X-Amz-Signature=1"},
		{Where: "cdn", Kind: "gzipforced"},
		{Where: "cdn", Kind: "status", Code: 429, RetryAfter: "99999"},
		{Where: "any", Kind: "etag", Value: `"hf_secret"`},
	} {
		w := newWorld(t, hubtest.Options{})
		w.put("acme/m", lfs, model(1, 5000))
		w.opt.Token = "hf_secret"
		var mu sync.Mutex
		var said strings.Builder
		w.opt.Progress = func(p Progress) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(&said, "%+v\n", p)
		}
		w.hub.Fault(f)
		_, err := w.client().Pull(context.Background(), "acme/m")
		if err == nil {
			t.Errorf("%+v: no error", f)
			continue
		}
		fmt.Fprintf(&said, "%v %q", err, w.warns)
		for _, secret := range []string{"hf_secret", "hf_pass", "X-Amz", "Signature", "Expires"} {
			if strings.Contains(said.String(), secret) {
				t.Errorf("%s: %q in %s", f.Kind, secret, said.String())
			}
		}
	}
	w := newWorld(t, hubtest.Options{})
	w.env["HF_ENDPOINT"] = "http://hub.test"
	w.env["HTTP_PROXY"] = "http://user:p%40ss@127.0.0.1:1"
	_, err := w.client().Pull(context.Background(), "acme/m")
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "proxy http://127.0.0.1:1") || strings.Contains(err.Error(), "p@ss") || strings.Contains(err.Error(), "p%40ss") {
		t.Errorf("dead proxy: %v", err)
	}
	w.env["HF_ENDPOINT"] = "http://user:hf_pass@hub.test"
	if _, err := newClient(Options{}, func(n string) string { return w.env[n] }); err == nil || strings.Contains(err.Error(), "hf_pass") {
		t.Errorf("endpoint with a password: %v", err)
	}
}

func TestXet(t *testing.T) {
	w := newWorld(t, hubtest.Options{CDNNoAuth: true})
	conf := lfs
	conf.Xet, conf.Gated, conf.Tokens = true, "auto", []string{"hf_friend"}
	files := model(1, 50_000)
	w.put("acme/xet", conf, files)
	w.opt.Token = "hf_friend"
	s := w.pull("acme/xet")
	w.same(s, files, detector...)
	if _, err := os.Stat(filepath.Join(w.cache, "models--acme--xet", "blobs", sha2(files["model.safetensors"]))); err != nil {
		t.Error(err)
	}
}

// TestNames: odd but honest names, in the reference client's encoding.
func TestNames(t *testing.T) {
	w := newWorld(t, hubtest.Options{})
	files := map[string][]byte{}
	for i, n := range []string{
		"a b.txt", "a+b.txt", "a#b.txt", "a%41b.txt", "a?b=c&d.txt", "\u00e9.txt", "e\u0301.txt", "日本/語.txt", "empty.txt",
		strings.Repeat("n", 200) + "/" + strings.Repeat("m", 200), ".hidden/..x", "a;b,c'd\"e.txt", "[x].txt", "~.txt", "a@b!$().txt",
	} {
		files[n] = data(uint64(i), i*10)
	}
	files["empty.txt"] = nil
	w.opt.Files = []string{"*"}
	w.put("acme/odd", hubtest.Repo{LFS: []string{"*+*"}}, files)
	s := w.pull("acme/odd")
	w.same(s, files, keysOf(files)...)
	w.hub.Close()
	s, err := w.offline("acme/odd")
	if err != nil {
		t.Fatal(err)
	}
	w.same(s, files, keysOf(files)...)
	for _, bad := range []string{"x:stream", "con", "NUL.txt", "lpt1", "com¹.x", "trail.", "trail /x", "aux/x"} {
		w := newWorld(t, hubtest.Options{})
		w.opt.Files = []string{"*"}
		w.put("acme/odd", hubtest.Repo{}, map[string][]byte{bad: []byte("x")})
		if _, err := w.client().Pull(context.Background(), "acme/odd"); !errors.Is(err, ErrNotHub) {
			t.Errorf("%q: %v, want a refusal", bad, err)
		}
	}
	w = newWorld(t, hubtest.Options{})
	w.opt.Files = []string{"*"}
	w.put("acme/odd", hubtest.Repo{}, map[string][]byte{"A.txt": []byte("x"), "a.txt": []byte("y")})
	if _, err := w.client().Pull(context.Background(), "acme/odd"); !errors.Is(err, ErrNotHub) || !strings.Contains(err.Error(), "case") {
		t.Errorf("names that differ in case: %v", err)
	}
}

func TestPages(t *testing.T) {
	for _, page := range []int{2, 1000} {
		w := newWorld(t, hubtest.Options{Page: page})
		files := model(1, 5000)
		for i := range 1500 {
			if page == 1000 || i < 11 {
				files[fmt.Sprintf("dir%d/file%d", i%7, i)] = []byte("x")
			}
		}
		commit := w.put("acme/m", lfs, files)
		w.hub.Fault(hubtest.Fault{Where: "api", Kind: "status", Code: 503, Skip: 2, Times: 1}) // the second page
		w.same(w.pull("acme/m"), files, detector...)
		b, err := os.ReadFile(filepath.Join(w.cache, "models--acme--m", "trees", commit+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if l, err := decodeListing(b); err != nil || len(l) != len(files) {
			t.Errorf("page %d: %d of %d files listed, %v", page, len(l), len(files), err)
		}
	}
}

// TestEndpoints: mirrors with a path, IPv6, small files with and without the
// second hop, renamed repositories.
func TestEndpoints(t *testing.T) {
	for name, c := range map[string]struct {
		opt   hubtest.Options
		slash string
	}{
		"plain":                   {},
		"trailing slash":          {slash: "///"},
		"path":                    {opt: hubtest.Options{Prefix: "/hf/mirror"}},
		"path and trailing slash": {opt: hubtest.Options{Prefix: "/hf/mirror"}, slash: "/"},
		"no second hop":           {opt: hubtest.Options{NoCacheHop: true}},
		"IPv6, CDN on IPv4":       {opt: hubtest.Options{Addr: "[::1]:0"}},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "IPv6") {
				l, err := net.Listen("tcp", "[::1]:0")
				if err != nil {
					t.Skip("no IPv6")
				}
				l.Close()
			}
			c.opt.Page = 2
			w := newWorld(t, c.opt)
			w.env["HF_ENDPOINT"] += c.slash
			w.opt.Token = "hf_token"
			files := model(1, 5000)
			w.put("acme/m", lfs, files)
			w.same(w.pull("acme/m"), files, detector...)
			for _, r := range w.hub.Log() {
				if (r.Srv == "hub") != (r.Auth != "") {
					t.Errorf("%s %s with Authorization %q", r.Srv, r.URL, r.Auth)
				}
			}
		})
	}
	w := newWorld(t, hubtest.Options{})
	files := model(1, 5000)
	w.put("acme/new", lfs, files)
	w.put("acme/old", hubtest.Repo{RenamedTo: "acme/new"}, map[string][]byte{"x": nil})
	w.same(w.pull("acme/old"), files, detector...)
	hop := false
	for _, r := range w.hub.Log() { // the query that the Hub put into the redirect is kept
		hop = hop || strings.Contains(r.URL, "/api/resolve-cache/") && strings.Contains(r.URL, "etag=")
	}
	if !hop {
		t.Error("the redirect's query was dropped")
	}
}

func TestProxy(t *testing.T) {
	w := newWorld(t, hubtest.Options{})
	files := model(1, 5000)
	w.put("acme/m", lfs, files)
	w.env["HF_ENDPOINT"] = "http://hub.test"
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
		os.RemoveAll(w.cache)
		w.hub.Reset()
		w.env[name] = w.hub.Proxy
		w.same(w.pull("acme/m"), files, detector...)
		if w.count("proxy", "GET", "") == 0 {
			t.Errorf("%s: nothing went through the proxy", name)
		}
		delete(w.env, name)
	}
	w.env["HF_ENDPOINT"] = "https://hub.test"
	w.env["HTTPS_PROXY"] = w.hub.Proxy
	os.RemoveAll(w.cache)
	if _, err := w.client().Pull(context.Background(), "acme/m"); err == nil {
		t.Error("TLS to a server without TLS succeeded")
	}
	if w.count("proxy", "CONNECT", "") == 0 {
		t.Error("no CONNECT")
	}
	for _, c := range []struct {
		url, no string
		want    bool
	}{
		{"http://hub.test", "", true},
		{"http://hub.test", "*", false},
		{"http://hub.test", "hub.test", false},
		{"http://a.hub.test", "hub.test", false},
		{"http://a.hub.test", ".hub.test", false},
		{"http://hub.test", ".hub.test", true},
		{"http://ahub.test", "hub.test", true},
		{"http://hub.test", "x, HUB.test ,y", false},
		{"http://hub.test:81", "hub.test:81", false},
		{"http://hub.test:82", "hub.test:81", true},
		{"https://hub.test", "hub.test:443", false},
		{"http://10.1.2.3", "10.0.0.0/8", false},
		{"http://11.1.2.3", "10.0.0.0/8,11.1.2.4", true},
		{"http://11.1.2.3", "11.1.2.3", false},
		{"http://[fd00::1]", "fd00::/8", false},
		{"http://localhost:1", "", false},
		{"http://127.0.0.9:1", "", false},
		{"http://[::1]:1", "", false},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		env := environment(func(n string) string { return map[string]string{"ALL_PROXY": "socks5://p:1", "NO_PROXY": c.no}[n] })
		p, err := env.proxy(&http.Request{URL: u})
		if err != nil || (p != nil) != c.want {
			t.Errorf("%s with NO_PROXY=%s: %v, %v; want proxied %v", c.url, c.no, p, err, c.want)
		}
	}
	for v, ok := range map[string]bool{"p:1": true, "socks5h://p:1": true, "gopher://p:1": false, "http://": false, "http://a b:x:y": false} {
		if _, err := parseProxy(v); (err == nil) != ok {
			t.Errorf("proxy %q: %v", v, err)
		}
	}
}

// TestForcedCompression: an answer in a form that nobody asked for is refused.
func TestForcedCompression(t *testing.T) {
	for _, where := range []string{"cache", "cdn"} {
		w := worldWith(t, 5000)
		w.hub.Fault(hubtest.Fault{Where: where, Kind: "gzipforced"})
		if out := w.outcomeOf("acme/m"); out != "fails: not an answer of a Hub" {
			t.Errorf("%s: %s", where, out)
		}
		w.sound()
	}
}

// TestOneCommit: main moves on between the list and the files; all files are of
// the commit that was resolved.
func TestOneCommit(t *testing.T) {
	w := worldWith(t, 5000)
	conf := lfs
	conf.Refs = map[string]string{"main": "c1"}
	w.put("acme/m", conf, w.files)
	next := model(7, 5000)
	moved := false
	w.opt.Approve = func(context.Context, Plan) error {
		conf.Refs = map[string]string{"main": "c2"}
		w.putCommit("acme/m", "c2", conf, next)
		moved = true
		return nil
	}
	s := w.pull("acme/m")
	if !moved || s.Commit != w.commit {
		t.Errorf("commit %s, want the first, %s", s.Commit, w.commit)
	}
	w.same(s, w.files, detector...)
	w.opt.Approve = nil
	w.same(w.pull("acme/m"), next, detector...)
}

// TestMatch: fnmatch.fnmatchcase as the reference client uses it, checked
// against Python 3's answers.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true},
		{"*", ".hidden", true},
		{"*.json", "config.json", true},
		{"*.json", "a/config.json", true},
		{"*.json", "config.JSON", false},
		{"config.json", "a/config.json", false},
		{"**/*.onnx", "model.onnx", false},
		{"**/*.onnx", "onnx/model.onnx", true},
		{"onnx/", "onnx/model.onnx", true},
		{"onnx/", "onnx", false},
		{`onnx\*`, "onnx/model.onnx", true},
		{"?.txt", "a.txt", true},
		{"?.txt", "ab.txt", false},
		{"?", "/", true},
		{"?", "é", true},
		{"[abc].txt", "b.txt", true},
		{"[!abc].txt", "b.txt", false},
		{"[!abc].txt", "d.txt", true},
		{"[^abc].txt", "^.txt", true},
		{"[^abc].txt", "d.txt", false},
		{"[a-c]x", "bx", true},
		{"[a-c]x", "dx", false},
		{"[a-c]x", "-x", false},
		{"[]]x", "]x", true},
		{"[!]]x", "]x", false},
		{"[", "[", true},
		{"a[b", "a[b", true},
		{"[]", "[]", true},
		{"[a-]", "-", true},
		{"model-*-of-*.safetensors", "model-00001-of-00002.safetensors", true},
		{"a*b*c", "aXbXbc", true},
		{"a*b*c", "aXbXbd", false},
		{"", "", true},
		{"", "a", false},
	} {
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("match(%q, %q) = %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

// TestResume: 36 MB with a drop, a reset and a stall arrive with hardly a byte
// sent twice.
func TestResume(t *testing.T) {
	const size = 36 << 20
	w := worldWith(t, size)
	w.opt.StallTimeout = 200 * time.Millisecond
	w.hub.Fault(
		hubtest.Fault{Where: "cdn", Kind: "drop", After: 10_000_001, Times: 1},
		hubtest.Fault{Where: "cdn", Kind: "rst", After: 9_999_999, Times: 1},
		hubtest.Fault{Where: "cdn", Kind: "stall", After: 5_000_000, Pause: time.Second, Times: 1},
	)
	var last Progress
	w.opt.Progress = func(p Progress) { last = p }
	w.same(w.pull("acme/m"), w.files, detector...)
	var sent int64
	for _, r := range w.hub.Log() {
		if r.Srv == "cdn" {
			sent += r.Bytes
		}
	}
	if sent > size+64<<10 {
		t.Errorf("%d bytes sent for %d", sent, size)
	}
	if last.Phase != PhaseDone || last.Done != last.Total || last.Total < size {
		t.Errorf("last report %+v", last)
	}
}

// TestCancel: a caller who gives up is let go at once, wherever the call waits.
func TestCancel(t *testing.T) {
	for name, f := range map[string]hubtest.Fault{
		"server's wait": {Where: "api", Kind: "status", Code: 429, RetryAfter: "30"},
		"own wait":      {Where: "api", Kind: "status", Code: 503},
		"header":        {Where: "resolve", Kind: "hang", Pause: 2 * time.Second},
		"body":          {Where: "cdn", Kind: "stall", After: 100, Pause: 2 * time.Second},
	} {
		w := worldWith(t, 50_000)
		w.hub.Fault(f)
		c := w.client()
		c.backoff = 10 * time.Second
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(150*time.Millisecond, cancel)
		begun := time.Now()
		_, err := c.Pull(ctx, "acme/m")
		if took := time.Since(begun); !errors.Is(err, context.Canceled) || took > time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
	w := worldWith(t, 50_000)
	release := w.hold(sha2(w.files["model.safetensors"]))
	defer release()
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := w.client().Pull(ctx, "acme/m"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > time.Second {
		t.Errorf("lock: %v after %v", err, time.Since(begun))
	}
}

func TestServerWait(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		header, value string
		code, want    int
		fails         bool
	}{
		{"Retry-After", "2", 429, 2, false},
		{"Retry-After", "60", 503, 60, false},
		{"Retry-After", "61", 503, 0, true},
		{"Retry-After", "100000", 429, 0, true},
		{"Retry-After", "99999999999999999999999", 429, 0, false}, // no number, no date
		{"Retry-After", "9223372036854775807", 429, 0, true},
		{"Retry-After", "-5", 429, 0, false},
		{"Retry-After", "Thu, 01 Jan 2026 00:00:30 GMT", 429, 30, false},
		{"Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT", 429, 0, false},
		{"Retry-After", "Fri, 31 Dec 2199 23:59:59 GMT", 429, 0, true},
		{"RateLimit", `"api";r=0;t=3`, 429, 4, false},
		{"RateLimit", `"api";r=0;t=300`, 429, 0, true},
		{"RateLimit", `"api";r=0;t=300`, 503, 0, false},
		{"RateLimit", `;;;t=;t=x`, 429, 0, false},
	} {
		r := &http.Response{StatusCode: c.code, Header: http.Header{}}
		r.Header.Set(c.header, c.value)
		got, err := serverWait(r, now)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%d %s: %s = %d, %v; want %d, failing %v", c.code, c.header, c.value, got, err, c.want, c.fails)
		}
	}
}

// TestManifest: what this release pins wins over what a Hub says, also if the
// Hub is consistent with itself; a file that is not pinned is taken from the list.
func TestManifest(t *testing.T) {
	for name, c := range map[string]struct {
		pin  func(f *File)
		want string
	}{
		"right":           {func(*File) {}, ""},
		"other sha256":    {func(f *File) { f.SHA256 = strings.Repeat("0", 64) }, "sha256"},
		"other size":      {func(f *File) { f.Size++ }, "size"},
		"nothing known":   {func(f *File) { f.SHA256, f.Git, f.Size = "", "", -1 }, ""},
		"size not known":  {func(f *File) { f.Size = -1 }, ""},
		"not in the repo": {func(f *File) { f.Path = "other.json" }, "file"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"model.safetensors", "config.json"} {
				w := worldWith(t, 5000)
				f := File{Path: path, Size: int64(len(w.files[path])), SHA256: sha2(w.files[path])}
				c.pin(&f)
				cl := w.client()
				cl.catalogue = entries{{Name: "short", Repo: "acme/m", Commit: w.commit, Files: []File{f}}}
				_, err := cl.Pull(context.Background(), "short")
				var m *MismatchError
				if (c.want == "") != (err == nil) || (err != nil && (!errors.As(err, &m) || m.Kind != c.want || !m.Pinned || !strings.Contains(err.Error(), "pinned by this release"))) {
					t.Errorf("%s: %v, want a mismatch of %q", path, err, c.want)
				}
				if err != nil {
					if w.count("cdn", "", "") > 0 && path == "model.safetensors" {
						t.Error("the file was fetched all the same")
					}
					continue
				}
				// The same cache, offline, and with a release that knows better.
				w.env["HF_HUB_OFFLINE"] = "1"
				cl = w.client()
				cl.catalogue = entries{{Name: "short", Repo: "acme/m", Commit: w.commit, Files: []File{f}}}
				if _, err := cl.Pull(context.Background(), "short"); err != nil {
					t.Errorf("offline: %v", err)
				}
				f.SHA256 = strings.Repeat("0", 64)
				cl.catalogue = entries{{Name: "short", Repo: "acme/m", Commit: w.commit, Files: []File{f}}}
				if _, err := cl.Pull(context.Background(), "acme/m@"+w.commit); !errors.As(err, &m) || m.Want != f.SHA256 || m.Got != sha2(w.files[path]) {
					t.Errorf("offline, another hash: %v", err)
				}
			}
		})
	}
}

// TestCatalogue holds the manifest against the real files, where there are some.
func TestCatalogue(t *testing.T) {
	for _, e := range Catalogue() {
		if !isRepo(e.Repo) || !isCommit(e.Commit) || e.License == "" || e.About == "" {
			t.Errorf("%+v", e)
		}
		var names []string
		for _, f := range e.Files {
			names = append(names, f.Path)
			if (f.SHA256 != "" && !isHex(f.SHA256, 64)) || (f.Git != "" && !isHex(f.Git, 40)) {
				t.Errorf("%s: %+v", e.Name, f)
			}
			if f.SHA256 == "" || f.Size < 0 {
				continue
			}
			b, err := os.ReadFile(filepath.Join("..", "..", "shared", "models", "smollm2", f.Path))
			if err != nil {
				t.Logf("%s %s: no real file beside the checkout", e.Name, f.Path)
			} else if int64(len(b)) != f.Size || sha2(b) != f.SHA256 || gitHash(b) != f.Git {
				t.Errorf("%s %s: the manifest says %+v, the file has %d, %s, %s", e.Name, f.Path, f, len(b), sha2(b), gitHash(b))
			}
		}
		if !slices.Equal(names, detector) {
			t.Errorf("%s pins %v, want %v", e.Name, names, detector)
		}
		if ref, err := catalogue.parse(e.Name); err != nil || catalogue.of(ref) == nil || ref.Commit != e.Commit {
			t.Errorf("parse(%s) = %+v, %v", e.Name, ref, err)
		}
		if ref, err := catalogue.parse(e.Repo + "@" + e.Commit); err != nil || catalogue.of(ref) == nil {
			t.Errorf("the catalogue does not know its own commit: %+v, %v", ref, err)
		}
	}
}

// TestSource: a firewall.Source by shape; branches and tags are refused unless
// accepted, and the refusal names the commit.
func TestSource(t *testing.T) {
	w := worldWith(t, 5000)
	ctx := context.Background()
	var _ interface {
		Dir(context.Context) (string, error)
		Revision() string
		String() string
	} = Model("smollm2-135m")
	if m := Model("smollm2-135m"); m.Revision() != catalogue[0].Commit || m.String() != "smollm2-135m" {
		t.Errorf("%s at %s", m, m.Revision())
	}
	s := w.client().Model("acme/m")
	if _, err := s.Dir(ctx); !errors.Is(err, ErrMoving) || !strings.Contains(err.Error(), "acme/m@"+w.commit) || s.Revision() != "" {
		t.Errorf("a branch: %v, revision %q", err, s.Revision())
	}
	if _, err := os.Stat(w.cache); err == nil {
		t.Error("something was fetched for a refused branch")
	}
	w.opt.AcceptMoving = true
	s = w.client().Model("acme/m")
	if dir, err := s.Dir(ctx); err != nil || s.Revision() != w.commit || filepath.Base(dir) != w.commit {
		t.Errorf("accepted: %q, %v, revision %q", dir, err, s.Revision())
	}
	w.opt.AcceptMoving = false
	s = w.client().Model("acme/m@" + w.commit)
	if dir, err := s.Dir(ctx); err != nil || s.Revision() != w.commit || filepath.Base(dir) != w.commit {
		t.Errorf("a commit: %q, %v, revision %q", dir, err, s.Revision())
	}
	for _, name := range []string{"nonsense", "a/b@../x"} {
		if _, err := w.client().Model(name).Dir(ctx); !errors.Is(err, ErrName) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestApprove: nothing is fetched without approval, and the plan is right.
func TestApprove(t *testing.T) {
	w := worldWith(t, 5000)
	no := errors.New("no")
	var asked Plan
	w.opt.Approve = func(_ context.Context, p Plan) error { asked = p; return no }
	if _, err := w.client().Pull(context.Background(), "acme/m"); !errors.Is(err, no) {
		t.Errorf("%v, want the refusal", err)
	}
	want := int64(5000 + 3000 + len(w.files["config.json"]))
	if asked.Bytes != want || asked.Missing != want || len(asked.Files) != 3 || asked.Commit != w.commit {
		t.Errorf("plan %+v, want %d bytes", asked, want)
	}
	if _, err := os.Stat(w.cache); err == nil {
		t.Error("the cache was touched")
	}
	p, err := w.client().Plan(context.Background(), "acme/m")
	if err != nil || p.Missing != want {
		t.Errorf("Plan: %+v, %v", p, err)
	}
	w.opt.Approve = nil
	w.pull("acme/m")
	if p, err := w.client().Plan(context.Background(), "acme/m"); err != nil || p.Missing != 0 || p.Bytes != want {
		t.Errorf("Plan afterwards: %+v, %v", p, err)
	}
	// A damaged file is not fetched without approval either.
	b := slices.Clone(w.files["model.safetensors"])
	b[0]++
	os.WriteFile(w.blob("model.safetensors"), b, 0o666)
	w.opt.Approve = func(_ context.Context, p Plan) error { asked = p; return no }
	if _, err := w.client().Pull(context.Background(), "acme/m"); !errors.Is(err, no) || asked.Missing != 5000 {
		t.Errorf("damaged: %v, %d bytes, want the refusal and 5000", err, asked.Missing)
	}
}

// TestShards: a checkpoint in several files; an index that names what is not
// there is not complete.
func TestShards(t *testing.T) {
	w := newWorld(t, hubtest.Options{})
	files := model(1, 10)
	delete(files, "model.safetensors")
	files["model.safetensors.index.json"] = []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`)
	files["model-00001-of-00002.safetensors"] = data(1, 5000)
	files["model-00002-of-00002.safetensors"] = data(2, 5000)
	files["consolidated.safetensors"] = data(3, 5000)
	w.put("acme/m", lfs, files)
	w.files = files
	s := w.pull("acme/m")
	names := []string{"config.json", "tokenizer.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
	w.same(s, files, names...)
	w.commit = s.Commit
	os.RemoveAll(filepath.Join(w.cache, "models--acme--m", "trees"))
	if s, err := w.offline("acme/m"); err != nil {
		t.Error(err)
	} else {
		w.same(s, files, names...)
	}
	os.Remove(w.blob("model-00002-of-00002.safetensors"))
	var inc *IncompleteError
	if _, err := w.offline("acme/m"); !errors.As(err, &inc) || !slices.Equal(inc.Missing, []string{"model-00002-of-00002.safetensors"}) {
		t.Errorf("%v, want the second shard missing", err)
	}
	for _, index := range []string{`{"weight_map":{"a":"../x.safetensors"}}`, `{"weight_map":{}}`, `{`, `{"weight_map":{"a":"model-00003-of-00003.safetensors"}}`} {
		w := newWorld(t, hubtest.Options{})
		files["model.safetensors.index.json"] = []byte(index)
		w.put("acme/m", lfs, files)
		if _, err := w.client().Pull(context.Background(), "acme/m"); err == nil {
			t.Errorf("index %s: no error", index)
		}
	}
}

// TestProgress: reports count up to the total, resumed bytes included, without
// overlap.
func TestProgress(t *testing.T) {
	w := worldWith(t, 3<<20)
	blobs := filepath.Join(w.cache, "models--acme--m", "blobs")
	os.MkdirAll(blobs, 0o777)
	good := w.files["model.safetensors"]
	os.WriteFile(filepath.Join(blobs, sha2(good)+partialExt), good[:1<<20], 0o666)
	var busy sync.Mutex
	var all []Progress
	w.opt.Progress = func(p Progress) {
		if !busy.TryLock() {
			t.Error("two reports at once")
			return
		}
		defer busy.Unlock()
		all = append(all, p)
	}
	s := w.pull("acme/m")
	last := all[len(all)-1]
	if last.Done != s.Bytes || last.Total != s.Bytes || last.Resumed != 1<<20 || last.Ref.Commit != w.commit || s.Fetched != s.Bytes-1<<20 {
		t.Errorf("last %+v, fetched %d of %d", last, s.Fetched, s.Bytes)
	}
	for i, p := range all {
		if p.Done > p.Total && p.Total > 0 || (i > 0 && p.Done < all[i-1].Done && p.Total == all[i-1].Total) {
			t.Errorf("report %d: %+v after %+v", i, p, all[max(0, i-1)])
		}
	}
}

// TestExport: out to a directory and a .tar file, and in again on a machine
// without a network; what was changed on the way is refused.
func TestExport(t *testing.T) {
	w := worldWith(t, 50_000)
	ctx := context.Background()
	w.pull("acme/m")
	w.hub.Close()
	w.env["HF_HUB_OFFLINE"] = "1"
	dir, tar := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out.tar")
	for _, to := range []string{dir, tar} {
		if _, err := w.client().Export(ctx, "acme/m", to); err != nil {
			t.Fatal(err)
		}
	}
	again := filepath.Join(t.TempDir(), "again.tar")
	w.client().Export(ctx, "acme/m@"+w.commit, again)
	a, _ := os.ReadFile(tar)
	if b, err := os.ReadFile(again); err != nil || !bytes.Equal(a, b) {
		t.Errorf("two exports differ: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "model.safetensors")); err != nil || sha2(b) != sha2(w.files["model.safetensors"]) {
		t.Errorf("the directory cannot be loaded: %v", err)
	}
	first := tree(t, w.cache)
	for _, from := range []string{dir, tar} {
		w.env["HF_HUB_CACHE"] = filepath.Join(t.TempDir(), "cache")
		s, err := w.client().Import(ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		w.same(s, w.files, detector...)
		if s, err = w.client().Find(ctx, "acme/m@"+w.commit); err != nil {
			t.Fatal(err)
		}
		w.same(s, w.files, detector...)
		got := tree(t, w.env["HF_HUB_CACHE"])
		for n, v := range first {
			if v != got[n] && !strings.Contains(n, "verified.json") && !strings.Contains(n, filepath.Join("refs", "main")) {
				t.Errorf("%s: %s is %q, was %q", from, n, got[n], v)
			}
		}
		if _, err := w.client().Import(ctx, from); err != nil { // once more is fine
			t.Error(err)
		}
	}
	for name, spoil := range map[string]func(tar []byte, dir string){
		"one bit of the weights": func(b []byte, dir string) {
			b[bytes.Index(b, w.files["model.safetensors"][:50])] ^= 1
			f := filepath.Join(dir, "model.safetensors")
			m, _ := os.ReadFile(f)
			m[0] ^= 1
			os.WriteFile(f, m, 0o666)
		},
		"a file is missing": func(b []byte, dir string) {
			name := append([]byte("tokenizer.json"), 0) // in its header; in the list no zero follows
			if i := bytes.Index(b, name); i >= 0 {
				copy(b[i:], "tokenizer.jsox")
			}
			os.Remove(filepath.Join(dir, "tokenizer.json"))
		},
		"no list": func(b []byte, dir string) {
			copy(b, "x")
			os.Remove(filepath.Join(dir, ExportFile))
		},
		"the list names a path outside": func(b []byte, dir string) {
			i := bytes.Index(b, []byte(`"path": "config.json"`))
			copy(b[i:], `"path": "../ig.json"  `)
			f := filepath.Join(dir, ExportFile)
			m, _ := os.ReadFile(f)
			os.WriteFile(f, bytes.Replace(m, []byte(`"path": "config.json"`), []byte(`"path": "../ig.json"`), 1), 0o666)
		},
	} {
		d := filepath.Join(t.TempDir(), "d")
		if err := os.CopyFS(d, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		b := bytes.Clone(a)
		spoil(b, d)
		f := filepath.Join(t.TempDir(), "x.tar")
		os.WriteFile(f, b, 0o666)
		for _, from := range []string{d, f} {
			w.cache = filepath.Join(t.TempDir(), "cache")
			w.env["HF_HUB_CACHE"] = w.cache
			if _, err := w.client().Import(ctx, from); err == nil {
				t.Errorf("%s: imported %s", name, filepath.Base(from))
			}
			if _, err := w.client().Find(ctx, "acme/m@"+w.commit); !errors.Is(err, ErrOffline) {
				t.Errorf("%s: found afterwards: %v", name, err)
			}
		}
	}
	w.env["HF_HUB_CACHE"] = filepath.Join(t.TempDir(), "cache")
	c := w.client()
	c.catalogue = entries{{Name: "short", Repo: "acme/m", Commit: w.commit, Files: []File{{Path: "config.json", Size: -1, SHA256: strings.Repeat("0", 64)}}}}
	var m *MismatchError
	if _, err := c.Import(ctx, tar); !errors.As(err, &m) || !m.Pinned {
		t.Errorf("an export that differs from what is pinned: %v", err)
	}
	if _, err := w.client().Export(ctx, "acme/m", filepath.Dir(tar)); err == nil {
		t.Error("exported over a directory that is not empty")
	}
}
