// Package hubtest is a stand-in for the Hugging Face Hub, for tests: the API, the
// redirects, a CDN on another port, a foreign host, a forward proxy, and the
// faults that real networks have. It serves a directory:
//
//	ROOT/<owner>/<name>/repo.json     optional settings, see [Repo]
//	ROOT/<owner>/<name>/<folder>/...  the files of one commit. A folder whose name
//	                                  is no commit gets the id sha1("fakehub:<owner>/<name>:<folder>"), see [Commit]
//
// It behaves as the Hub did for its official clients in 2026, as far as those
// clients can tell. It is no Hub: what it accepts as a token proves nothing.
package hubtest

import (
	"bufio"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a stand-in. The zero value is what tests mostly want.
type Options struct {
	Addr         string   // of the Hub; default 127.0.0.1:0
	CDN          string   // address of the CDN; default 127.0.0.1:0
	Prefix       string   // path before everything on the Hub, such as "/mirror"
	Page         int      // entries a page of a tree; default 1000
	NoCacheHop   bool     // answer small files at once instead of by a redirect to /api/resolve-cache
	CDNNoAuth    bool     // the CDN answers 400 to requests with an Authorization header, as S3 does
	Tokens       []string // tokens that are valid; default: all are
	TokenChecked bool     // none but Tokens and a repository's own are valid, even if there are no Tokens
}

// A Repo is the content of repo.json.
type Repo struct {
	Refs         map[string]string `json:"refs,omitempty"`         // branch or tag to commit folder; without any, main is the last folder
	LFS          []string          `json:"lfs,omitempty"`          // globs on the base name stored as LFS
	LFSThreshold int64             `json:"lfsThreshold,omitempty"` // files at least this large are LFS too
	Xet          bool              `json:"xet,omitempty"`          // LFS files also carry X-Xet-Hash (plain HTTP still works)
	Gated        string            `json:"gated,omitempty"`        // "", "auto", "manual"
	Private      bool              `json:"private,omitempty"`
	Disabled     bool              `json:"disabled,omitempty"`
	Tokens       []string          `json:"tokens,omitempty"`    // tokens that may read a gated or private repository
	RenamedTo    string            `json:"renamedTo,omitempty"` // 307 to another repository, relative
	Extra        map[string]string `json:"extra,omitempty"`     // additional tree entries: path to existing file, for hostile names
	Virtual      map[string]int64  `json:"virtual,omitempty"`   // files that exist only as a size (huge files), all LFS
}

// A Fault spoils requests that match it.
type Fault struct {
	Where  string // api, resolve, cache (the second hop of small files), cdn, other, any
	Match  string // glob on the file's base name or full path; empty matches everything
	Method string // empty: any
	Skip   int    // let this many matching requests pass first
	Times  int    // 0: always

	// Kind is what happens. To the whole answer: status (Code, RetryAfter, Value
	// = RateLimit header), html, hang (Pause, then close), close, redirect-other,
	// redirect-loop, redirect (Value = Location). To a body: drop, rst, stall
	// (Pause) after After bytes, trickle (Rate), wrong (flip the byte at After),
	// truncate, truncchunked (end properly after After bytes), extra (After bytes
	// more), extrachunked, norange, badrange, range416, gzip (if accepted),
	// gzipforced. To headers: noetag, nosize, nocommit, weaketag, etag, commit
	// (Value).
	Kind       string
	After      int64
	Code       int
	RetryAfter string
	Rate       int64 // bytes a second
	Pause      time.Duration
	Value      string

	used, seen int
}

// A Request is one line of the log.
type Request struct {
	Srv            string // hub, cdn, other, proxy
	Method         string
	URL            string
	Host           string
	Auth           string
	Range          string
	UserAgent      string
	AcceptEncoding string
	Status         int
	Bytes          int64 // of the body that was sent
	Fault          string
}

type fileInfo struct {
	path    string // in the repository
	disk    string // "" for virtual
	size    int64
	lfs     bool
	oid     string // git blob id (of the pointer for LFS)
	sha256  string
	ptrSize int
	xet     string
}

// A Server is a stand-in that runs. It is safe for concurrent use.
type Server struct {
	URL   string // the Hub
	CDN   string
	Other string // a foreign host: it records what arrives and answers with a plausible file
	Proxy string // a forward proxy: *.test goes to the Hub, cdn.test to the CDN

	opt     Options
	root    string
	servers []*http.Server

	mu     sync.Mutex
	faults []*Fault
	logs   []*Request
	hashes map[string][2]string
	blobs  map[string]*fileInfo // sha256 to file, for the CDN
}

// Start serves the directory root on loopback until Close.
func Start(root string, opt Options) (*Server, error) {
	if opt.Page == 0 {
		opt.Page = 1000
	}
	h := &Server{opt: opt, root: root, hashes: map[string][2]string{}, blobs: map[string]*fileInfo{}}
	for _, s := range []struct {
		name, addr string
		url        *string
		serve      func(*rec, *http.Request)
	}{
		{"cdn", opt.CDN, &h.CDN, h.serveCDN},
		{"other", "", &h.Other, h.serveOther},
		{"proxy", "", &h.Proxy, h.serveProxy},
		{"hub", opt.Addr, &h.URL, h.serveHub},
	} {
		addr := s.addr
		if addr == "" {
			addr = "127.0.0.1:0"
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			h.Close()
			return nil, fmt.Errorf("hubtest: listen: %w", err)
		}
		*s.url = "http://" + l.Addr().String()
		srv := &http.Server{Handler: h.logged(s.name, s.serve)}
		h.servers = append(h.servers, srv)
		go srv.Serve(l)
	}
	h.URL += opt.Prefix
	return h, nil
}

// Close stops the server and drops its connections.
func (h *Server) Close() {
	for _, s := range h.servers {
		s.Close()
	}
}

// Fault adds faults. The first one that matches a request applies.
func (h *Server) Fault(faults ...Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range faults {
		h.faults = append(h.faults, &f)
	}
}

// Reset forgets all faults and the log.
func (h *Server) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults, h.logs = nil, nil
}

// Log returns the requests since the start or the last Reset.
func (h *Server) Log() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Request
	for _, r := range h.logs {
		out = append(out, *r)
	}
	return out
}

// Commit returns the id of a commit folder.
func Commit(repo, folder string) string {
	if len(folder) == 40 && strings.Trim(folder, "0123456789abcdef") == "" {
		return folder
	}
	s := sha1.Sum([]byte("fakehub:" + repo + ":" + folder))
	return hexsum(s[:])
}

// Write writes the files of one commit below root, and repo.json, and returns
// the commit's id.
func Write(root, repo, commitFolder string, conf Repo, files map[string][]byte) (string, error) {
	dir := filepath.Join(root, filepath.FromSlash(repo))
	for name, b := range files {
		p := filepath.Join(dir, commitFolder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			return "", err
		}
		if err := os.WriteFile(p, b, 0o666); err != nil {
			return "", err
		}
	}
	b, err := json.MarshalIndent(conf, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "repo.json"), b, 0o666)
	}
	return Commit(repo, commitFolder), err
}

func hexsum(b []byte) string { return hex.EncodeToString(b) }

func (h *Server) conf(repo string) (*Repo, bool) {
	if repo == "" || strings.Contains(repo, "..") {
		return nil, false
	}
	dir := filepath.Join(h.root, filepath.FromSlash(repo))
	st, err := os.Stat(dir)
	if err != nil || !st.IsDir() {
		return nil, false
	}
	c := &Repo{}
	b, err := os.ReadFile(filepath.Join(dir, "repo.json"))
	if err == nil {
		if err := json.Unmarshal(b, c); err != nil {
			return nil, false
		}
	} else if strings.Count(repo, "/") == 0 {
		return nil, false // a namespace folder
	}
	return c, true
}

// folderFor maps a revision (ref, full commit, commit prefix, folder name) to the commit folder and its id.
func (h *Server) folderFor(repo string, c *Repo, rev string) (string, string, bool) {
	ents, _ := os.ReadDir(filepath.Join(h.root, filepath.FromSlash(repo)))
	var dirs []string
	for _, e := range ents {
		if e.IsDir() {
			dirs = append(dirs, e.Name())
		}
	}
	if rev == "HEAD" {
		rev = "main"
	}
	if f, ok := c.Refs[strings.TrimPrefix(strings.TrimPrefix(rev, "refs/heads/"), "refs/tags/")]; ok {
		return f, Commit(repo, f), true
	}
	if f, ok := c.Refs[rev]; ok {
		return f, Commit(repo, f), true
	}
	if rev == "main" && len(dirs) > 0 && len(c.Refs) == 0 {
		f := dirs[len(dirs)-1]
		return f, Commit(repo, f), true
	}
	for _, d := range dirs {
		id := Commit(repo, d)
		if rev == id || (len(rev) >= 7 && strings.HasPrefix(id, rev)) {
			return d, id, true
		}
	}
	return "", "", false
}

const pattern = 65536

func virtualBlock() []byte {
	b := make([]byte, pattern)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

var vblock = virtualBlock()

type virtualReader struct{ size int64 }

func (v *virtualReader) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < v.size {
		i := off % pattern
		m := int64(copy(p[n:], vblock[i:]))
		if off+m > v.size {
			m = v.size - off
		}
		n += int(m)
		off += m
	}
	if off >= v.size && n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *fileInfo) open() (io.ReaderAt, func(), error) {
	if f.disk == "" {
		return &virtualReader{size: f.size}, func() {}, nil
	}
	fh, err := os.Open(f.disk)
	if err != nil {
		return nil, nil, err
	}
	return fh, func() { fh.Close() }, nil
}

func (h *Server) hash(f *fileInfo, key string) (string, string) {
	h.mu.Lock()
	v, ok := h.hashes[key]
	h.mu.Unlock()
	if ok {
		return v[0], v[1]
	}
	ra, done, err := f.open()
	if err != nil {
		return "", ""
	}
	defer done()
	s2, s1 := sha256.New(), sha1.New()
	fmt.Fprintf(s1, "blob %d\x00", f.size)
	io.Copy(io.MultiWriter(s1, s2), io.NewSectionReader(ra, 0, f.size))
	v = [2]string{hexsum(s1.Sum(nil)), hexsum(s2.Sum(nil))}
	h.mu.Lock()
	h.hashes[key] = v
	h.mu.Unlock()
	return v[0], v[1]
}

func (h *Server) describe(repo string, c *Repo, p, disk string, size int64, virtual bool) *fileInfo {
	f := &fileInfo{path: p, disk: disk, size: size}
	f.lfs = virtual || (c.LFSThreshold > 0 && size >= c.LFSThreshold)
	for _, g := range c.LFS {
		if ok, _ := path.Match(g, path.Base(p)); ok {
			f.lfs = true
		}
	}
	key := fmt.Sprintf("%s|%d", disk, size)
	if disk != "" {
		if st, err := os.Stat(disk); err == nil {
			key += st.ModTime().String()
		}
	}
	f.oid, f.sha256 = h.hash(f, key)
	if f.lfs {
		ptr := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", f.sha256, size)
		s := sha1.New()
		fmt.Fprintf(s, "blob %d\x00%s", len(ptr), ptr)
		f.oid, f.ptrSize = hexsum(s.Sum(nil)), len(ptr)
		if c.Xet {
			x := sha256.Sum256([]byte("xet" + f.sha256))
			f.xet = hexsum(x[:])
		}
		h.mu.Lock()
		h.blobs[f.sha256] = f
		h.mu.Unlock()
	}
	return f
}

func (h *Server) files(repo string, c *Repo, folder string) map[string]*fileInfo {
	base := filepath.Join(h.root, filepath.FromSlash(repo), folder)
	out := map[string]*fileInfo{}
	filepath.Walk(base, func(p string, st os.FileInfo, err error) error {
		if err == nil && st.Mode().IsRegular() {
			rel, _ := filepath.Rel(base, p)
			rel = filepath.ToSlash(rel)
			out[rel] = h.describe(repo, c, rel, p, st.Size(), false)
		}
		return nil
	})
	for p, n := range c.Virtual {
		out[p] = h.describe(repo, c, p, "", n, true)
	}
	for p, src := range c.Extra {
		if f, ok := out[src]; ok {
			g := *f
			g.path = p
			out[p] = &g
		}
	}
	return out
}

// ---------------------------------------------------------------- faults and log

func (h *Server) pick(where, p, method string) *Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.faults {
		if f.Where != "any" && f.Where != where {
			continue
		}
		if f.Method != "" && !strings.EqualFold(f.Method, method) {
			continue
		}
		if f.Match != "" {
			a, _ := path.Match(f.Match, path.Base(p))
			b, _ := path.Match(f.Match, p)
			if !a && !b {
				continue
			}
		}
		f.seen++
		if f.seen <= f.Skip {
			continue
		}
		if f.Times > 0 && f.used >= f.Times {
			continue
		}
		f.used++
		return f
	}
	return nil
}

type rec struct {
	http.ResponseWriter
	e *Request
	h *Server
}

func (r *rec) fault(kind string) {
	r.h.mu.Lock()
	r.e.Fault = kind
	r.h.mu.Unlock()
}

func (r *rec) note(status int, n int) {
	r.h.mu.Lock()
	if r.e.Status == 0 {
		r.e.Status = status
	}
	r.e.Bytes += int64(n)
	r.h.mu.Unlock()
}

func (r *rec) WriteHeader(c int) {
	r.note(c, 0)
	r.ResponseWriter.WriteHeader(c)
}

func (r *rec) Write(b []byte) (int, error) {
	n, err := r.ResponseWriter.Write(b)
	r.note(200, n)
	return n, err
}
func (r *rec) Flush() { r.ResponseWriter.(http.Flusher).Flush() }
func (r *rec) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return r.ResponseWriter.(http.Hijacker).Hijack()
}

func (h *Server) logged(srv string, fn func(w *rec, r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &Request{
			Srv: srv, Method: r.Method, URL: r.URL.RequestURI(), Host: r.Host, Auth: r.Header.Get("Authorization"),
			Range: r.Header.Get("Range"), UserAgent: r.UserAgent(), AcceptEncoding: r.Header.Get("Accept-Encoding"),
		}
		h.mu.Lock()
		h.logs = append(h.logs, e)
		h.mu.Unlock()
		fn(&rec{w, e, h}, r)
	})
}

// early handles faults that replace the whole answer. It reports whether it did.
func (h *Server) early(w *rec, r *http.Request, f *Fault) bool {
	if f == nil {
		return false
	}
	w.fault(f.Kind)
	switch f.Kind {
	case "status":
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		if f.Value != "" { // e.g. "api";r=0;t=2
			w.Header().Set("RateLimit", f.Value)
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(f.Code)
		fmt.Fprintf(w, "injected status %d", f.Code)
		return true
	case "html":
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(200)
		io.WriteString(w, "<html><body>Please log in to the network</body></html>")
		return true
	case "hang":
		time.Sleep(f.Pause)
		panic(http.ErrAbortHandler)
	case "close":
		panic(http.ErrAbortHandler)
	case "redirect-other":
		w.Header().Set("Location", h.Other+r.URL.RequestURI())
		w.WriteHeader(302)
		return true
	case "redirect":
		w.Header().Set("Location", f.Value)
		w.WriteHeader(302)
		return true
	case "redirect-loop":
		w.Header().Set("Location", r.URL.RequestURI())
		w.WriteHeader(302)
		return true
	}
	return false
}

func (h *Server) body(w *rec, r *http.Request, f *fileInfo, flt *Fault) {
	hd := w.Header()
	kind := ""
	if flt != nil {
		kind = flt.Kind
		w.fault(kind)
	}
	size, start, end, status := f.size, int64(0), f.size, 200
	hd.Set("Accept-Ranges", "bytes")
	if rg := r.Header.Get("Range"); rg != "" && kind != "norange" {
		var s int64
		e := size - 1
		spec := strings.TrimPrefix(rg, "bytes=")
		a, b, _ := strings.Cut(spec, "-")
		if a == "" {
			n, _ := strconv.ParseInt(b, 10, 64)
			s = max(0, size-n)
		} else {
			s, _ = strconv.ParseInt(a, 10, 64)
			if b != "" {
				e, _ = strconv.ParseInt(b, 10, 64)
			}
		}
		if s >= size || kind == "range416" {
			hd.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
			w.WriteHeader(416)
			return
		}
		e = min(e, size-1)
		start, end, status = s, e+1, 206
		hd.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", s, e, size))
		if kind == "badrange" { // right headers, bytes from offset 0
			end, start = end-start, 0
		}
	}
	n := end - start
	switch kind {
	case "truncate": // a clean but short answer
		n = max(0, min(n, flt.After))
	case "extra", "extrachunked":
		n += flt.After
	}
	ra, done, err := f.open()
	if err != nil {
		w.WriteHeader(500)
		return
	}
	defer done()
	if kind == "gzipforced" || (kind == "gzip" && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")) {
		hd.Set("Content-Encoding", "gzip")
		hd.Del("Accept-Ranges")
		w.WriteHeader(200)
		if r.Method != "HEAD" {
			z := gzip.NewWriter(w)
			io.Copy(z, io.NewSectionReader(ra, 0, size))
			z.Close()
		}
		return
	}
	if kind != "nolength" && kind != "truncchunked" && kind != "extrachunked" {
		hd.Set("Content-Length", strconv.FormatInt(n, 10))
	}
	w.WriteHeader(status)
	if r.Method == "HEAD" {
		return
	}
	if kind == "truncchunked" { // unknown length, properly terminated, too short
		n = max(0, min(n, flt.After))
	}
	buf := make([]byte, 32768)
	var sent int64
	for sent < n {
		k := min(int64(len(buf)), n-sent)
		if kind == "drop" || kind == "rst" || kind == "stall" {
			if sent >= flt.After {
				w.Flush()
				switch kind {
				case "stall":
					time.Sleep(flt.Pause)
				case "rst":
					time.Sleep(50 * time.Millisecond) // a reset throws away what the other side has not read yet
					if c, _, err := w.Hijack(); err == nil {
						if t, ok := c.(*net.TCPConn); ok {
							t.SetLinger(0)
						}
						c.Close()
						return
					}
				default:
					time.Sleep(50 * time.Millisecond)
				}
				panic(http.ErrAbortHandler)
			}
			k = min(k, flt.After-sent)
		}
		if kind == "trickle" {
			k = min(k, max(1, flt.Rate/10))
		}
		m, _ := ra.ReadAt(buf[:k], start+sent)
		for i := int64(m); i < k; i++ { // "extra" reads beyond the end
			buf[i] = 'X'
		}
		if kind == "wrong" {
			for i := int64(0); i < k; i++ {
				if start+sent+i == flt.After {
					buf[i] ^= 0xff
				}
			}
		}
		if _, err := w.Write(buf[:k]); err != nil {
			return
		}
		sent += k
		if kind == "trickle" {
			w.Flush()
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// ---------------------------------------------------------------- hub

func apiErr(w *rec, status int, code, msg string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", msg)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": msg})
}

func token(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// access checks authentication. content is true for file bytes (gating applies), false for the API.
func (h *Server) access(w *rec, r *http.Request, repo string, c *Repo, ok, content bool) bool {
	t := token(r)
	authed := t != "" && (len(h.opt.Tokens) == 0 && !h.opt.TokenChecked || slices.Contains(h.opt.Tokens, t) || (c != nil && slices.Contains(c.Tokens, t)))
	if t != "" && !authed {
		apiErr(w, 401, "", "Invalid credentials in Authorization header")
		return false
	}
	if !ok || (c.Private && !slices.Contains(c.Tokens, t)) {
		if authed {
			apiErr(w, 404, "RepoNotFound", "Repository not found")
		} else {
			apiErr(w, 401, "RepoNotFound", "Invalid username or password.")
		}
		return false
	}
	if c.Disabled {
		apiErr(w, 403, "", "Access to this resource is disabled.")
		return false
	}
	if content && c.Gated != "" && !slices.Contains(c.Tokens, t) {
		if t == "" {
			apiErr(w, 401, "GatedRepo", "Access to model "+repo+" is restricted. You must have access to it and be authenticated to access it. Please log in.")
		} else {
			apiErr(w, 403, "GatedRepo", "Access to model "+repo+" is restricted and you are not in the authorized list. Visit https://huggingface.co/"+repo+" to ask for access.")
		}
		return false
	}
	return true
}

// segs splits the escaped path, so that an encoded slash stays inside its segment.
func segs(r *http.Request) []string {
	var out []string
	for _, s := range strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/") {
		u, err := url.PathUnescape(s)
		if err != nil {
			u = s
		}
		out = append(out, u)
	}
	return out
}

// repoFrom takes one or two leading segments as the repo id; verb is what may follow it.
func (h *Server) repoFrom(s []string, verbs string) (string, []string) {
	if len(s) >= 2 && !strings.Contains(verbs, " "+s[1]+" ") {
		return s[0] + "/" + s[1], s[2:]
	}
	return s[0], s[1:]
}

func (h *Server) serveHub(w *rec, r *http.Request) {
	if h.opt.Prefix != "" {
		p, ok := strings.CutPrefix(r.URL.EscapedPath(), h.opt.Prefix)
		if !ok {
			w.WriteHeader(404)
			return
		}
		r = r.Clone(r.Context())
		r.URL.Path, _ = url.PathUnescape(p)
		r.URL.RawPath = p
	}
	w.Header().Set("X-Request-Id", fmt.Sprintf("Root=1-fake-%d", time.Now().UnixNano()))
	w.Header().Set("X-Powered-By", "fakehub")
	s := segs(r)
	switch {
	case len(s) >= 3 && s[0] == "api" && s[1] == "models":
		repo, rest := h.repoFrom(s[2:], " revision tree paths-info refs xet-read-token ")
		h.api(w, r, repo, rest)
	case len(s) >= 5 && s[0] == "api" && s[1] == "resolve-cache" && s[2] == "models":
		// /api/resolve-cache/models/<repo>/<commit>/<path>: the commit is the first 40-hex segment
		for i := 4; i < len(s); i++ {
			if len(s[i]) == 40 {
				h.resolve(w, r, strings.Join(s[3:i], "/"), s[i], strings.Join(s[i+1:], "/"), true)
				return
			}
		}
		apiErr(w, 404, "", "not found")
	case len(s) == 2 && s[0] == "api" && s[1] == "whoami-v2":
		if token(r) == "" {
			apiErr(w, 401, "", "Invalid username or password.")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"type":"user","name":"fake","auth":{"type":"access_token"}}`)
	default:
		for i := 1; i <= 2 && i+2 < len(s); i++ {
			if s[i] == "resolve" {
				h.resolve(w, r, strings.Join(s[:i], "/"), s[i+1], strings.Join(s[i+2:], "/"), false)
				return
			}
		}
		apiErr(w, 404, "", "Sorry, we can't find the page you are looking for.")
	}
}

func (h *Server) treeEntry(f *fileInfo, commit string, expand bool) map[string]any {
	e := map[string]any{"type": "file", "oid": f.oid, "size": f.size, "path": f.path}
	if f.lfs {
		e["lfs"] = map[string]any{"oid": f.sha256, "size": f.size, "pointerSize": f.ptrSize}
	}
	if f.xet != "" {
		e["xetHash"] = f.xet
	}
	if expand {
		e["lastCommit"] = map[string]any{"id": commit, "title": "fake", "date": "2024-01-01T00:00:00.000Z"}
	}
	return e
}

func (h *Server) api(w *rec, r *http.Request, repo string, rest []string) {
	if h.early(w, r, h.pick("api", "/"+strings.Join(rest, "/"), r.Method)) {
		return
	}
	c, ok := h.conf(repo)
	if !h.access(w, r, repo, c, ok, false) {
		return
	}
	if c.RenamedTo != "" {
		w.Header().Set("Location", strings.Replace(r.URL.RequestURI(), "/api/models/"+repo, "/api/models/"+c.RenamedTo, 1))
		w.WriteHeader(307)
		return
	}
	verb, rev := "revision", "main"
	if len(rest) > 0 {
		verb = rest[0]
	}
	if len(rest) > 1 {
		rev = rest[1]
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if verb == "refs" {
		var br []map[string]string
		for name, f := range c.Refs {
			br = append(br, map[string]string{"name": name, "ref": "refs/heads/" + name, "targetCommit": Commit(repo, f)})
		}
		json.NewEncoder(w).Encode(map[string]any{"branches": br, "tags": []string{}, "converts": []string{}})
		return
	}
	folder, commit, found := h.folderFor(repo, c, rev)
	if !found {
		apiErr(w, 404, "RevisionNotFound", "Invalid rev id: "+rev)
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	fs := h.files(repo, c, folder)
	names := make([]string, 0, len(fs))
	for p := range fs {
		names = append(names, p)
	}
	sort.Strings(names)
	switch verb {
	case "revision":
		sib := []map[string]any{}
		for _, p := range names {
			e := map[string]any{"rfilename": p}
			if r.URL.Query().Get("blobs") != "" {
				f := fs[p]
				e["size"], e["blobId"] = f.size, f.oid
				if f.lfs {
					e["lfs"] = map[string]any{"sha256": f.sha256, "size": f.size, "pointerSize": f.ptrSize}
				}
			}
			sib = append(sib, e)
		}
		gated := any(false)
		if c.Gated != "" {
			gated = c.Gated
		}
		json.NewEncoder(w).Encode(map[string]any{
			"_id": "fake" + commit[:20], "id": repo, "modelId": repo, "sha": commit, "private": c.Private,
			"gated": gated, "disabled": c.Disabled, "lastModified": "2024-01-01T00:00:00.000Z", "createdAt": "2024-01-01T00:00:00.000Z", "downloads": 0, "likes": 0, "tags": []string{}, "siblings": sib,
		})
	case "tree":
		sub := strings.Join(rest[min(2, len(rest)):], "/")
		expand := strings.EqualFold(r.URL.Query().Get("expand"), "true")
		recursive := strings.EqualFold(r.URL.Query().Get("recursive"), "true")
		var out []map[string]any
		dirs := map[string]bool{}
		for _, p := range names {
			rel := p
			if sub != "" {
				if !strings.HasPrefix(p, sub+"/") {
					continue
				}
				rel = strings.TrimPrefix(p, sub+"/")
			}
			if i := strings.IndexByte(rel, '/'); i > 0 && !strings.Contains(p, "..") {
				d := path.Dir(p)
				if !recursive {
					d = path.Join(sub, rel[:i])
				}
				if !dirs[d] {
					dirs[d] = true
					t := sha1.Sum([]byte("tree" + d))
					out = append(out, map[string]any{"type": "directory", "oid": hexsum(t[:]), "size": 0, "path": d})
				}
				if !recursive {
					continue
				}
			}
			out = append(out, h.treeEntry(fs[p], commit, expand))
		}
		cur, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		cur = min(cur, len(out))
		end := min(len(out), cur+h.opt.Page)
		if end < len(out) {
			q := r.URL.Query()
			q.Set("cursor", strconv.Itoa(end))
			w.Header().Set("Link", "<"+h.URL+r.URL.EscapedPath()+"?"+q.Encode()+`>; rel="next"`)
		}
		if out == nil {
			out = []map[string]any{}
		}
		json.NewEncoder(w).Encode(out[cur:end])
	case "paths-info":
		var req struct {
			Paths  []string `json:"paths"`
			Expand bool     `json:"expand"`
		}
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
			json.NewDecoder(r.Body).Decode(&req)
		} else {
			r.ParseForm()
			req.Paths, req.Expand = r.Form["paths"], strings.EqualFold(r.Form.Get("expand"), "true")
		}
		out := []map[string]any{}
		for _, p := range req.Paths {
			if f, ok := fs[p]; ok {
				out = append(out, h.treeEntry(f, commit, req.Expand))
			}
		}
		json.NewEncoder(w).Encode(out)
	default:
		apiErr(w, 404, "", "Sorry, we can't find the page you are looking for.")
	}
}

func (h *Server) resolve(w *rec, r *http.Request, repo, rev, p string, cached bool) {
	where := "resolve"
	if cached {
		where = "cache"
	}
	flt := h.pick(where, p, r.Method)
	if h.early(w, r, flt) {
		return
	}
	c, ok := h.conf(repo)
	if !h.access(w, r, repo, c, ok, true) {
		return
	}
	if c.RenamedTo != "" {
		w.Header().Set("Location", strings.Replace(r.URL.RequestURI(), "/"+repo+"/", "/"+c.RenamedTo+"/", 1))
		w.WriteHeader(307)
		return
	}
	folder, commit, found := h.folderFor(repo, c, rev)
	if !found {
		apiErr(w, 404, "RevisionNotFound", "Invalid rev id: "+rev)
		return
	}
	kind, val := "", ""
	if flt != nil {
		kind, val = flt.Kind, flt.Value
		w.fault(kind)
	}
	hd := w.Header()
	if kind == "commit" {
		hd.Set("X-Repo-Commit", val)
	} else if kind != "nocommit" {
		hd.Set("X-Repo-Commit", commit)
	}
	f, ok := h.files(repo, c, folder)[p]
	if !ok {
		apiErr(w, 404, "EntryNotFound", "Entry not found")
		return
	}
	q := func(s string) string {
		switch kind {
		case "etag":
			return val
		case "weaketag":
			return `W/"` + s + `"`
		}
		return `"` + s + `"`
	}
	base := path.Base(p)
	hd.Set("Content-Disposition", fmt.Sprintf(`inline; filename*=UTF-8''%s; filename="%s";`, url.PathEscape(base), base))
	if f.lfs {
		if kind != "noetag" {
			hd.Set("X-Linked-ETag", q(f.sha256))
		}
		if kind != "nosize" {
			hd.Set("X-Linked-Size", strconv.FormatInt(f.size, 10))
		}
		if f.xet != "" {
			hd.Set("X-Xet-Hash", f.xet)
			hd.Set("Link", fmt.Sprintf(`<%s/api/models/%s/xet-read-token/%s>; rel="xet-auth", <%s/v1/reconstructions/%s>; rel="xet-reconstruction-info"`, h.URL, repo, commit, h.CDN, f.xet))
		}
		if strings.Contains(r.Header.Get("Accept"), "application/vnd.xet-fileinfo+json") && f.xet != "" {
			hd.Set("Content-Type", "application/vnd.xet-fileinfo+json")
			w.WriteHeader(200)
			io.WriteString(w, "{}")
			return
		}
		hd.Set("Location", fmt.Sprintf("%s/blob/%s/%s?X-Amz-Signature=fake&Expires=%d", h.CDN, f.sha256, url.PathEscape(base), time.Now().Add(time.Hour).Unix()))
		hd.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(302)
		io.WriteString(w, "Found. Redirecting to CDN")
		return
	}
	if !h.opt.NoCacheHop && !cached {
		hd.Set("Location", h.opt.Prefix+fmt.Sprintf("/api/resolve-cache/models/%s/%s/%s?%s=&etag=%s", repo, commit, (&url.URL{Path: p}).EscapedPath(),
			url.QueryEscape("/"+repo+"/resolve/"+rev+"/"+p), url.QueryEscape(`"`+f.oid+`"`)))
		hd.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(307)
		io.WriteString(w, "Temporary Redirect")
		return
	}
	if kind != "noetag" {
		hd.Set("ETag", q(f.oid))
	}
	hd.Set("Content-Type", "text/plain; charset=utf-8")
	if kind == "nosize" {
		flt = &Fault{Kind: "nolength"}
	}
	h.body(w, r, f, flt)
}

func (h *Server) serveCDN(w *rec, r *http.Request) {
	s := segs(r)
	h.mu.Lock()
	var f *fileInfo
	if len(s) >= 2 {
		f = h.blobs[s[1]]
	}
	h.mu.Unlock()
	if f == nil {
		w.WriteHeader(404)
		return
	}
	if h.opt.CDNNoAuth && r.Header.Get("Authorization") != "" {
		w.WriteHeader(400) // as S3 does for a signed URL with a second mechanism
		io.WriteString(w, "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>")
		return
	}
	flt := h.pick("cdn", f.path, r.Method)
	if h.early(w, r, flt) {
		return
	}
	m := sha1.Sum([]byte("cdn" + f.sha256))
	w.Header().Set("ETag", `"`+hexsum(m[:16])+`"`) // like S3: NOT the sha256
	w.Header().Set("Content-Type", "binary/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`inline; filename*=UTF-8''%s; filename="%s";`, url.PathEscape(path.Base(f.path)), path.Base(f.path)))
	h.body(w, r, f, flt)
}

// serveOther is a foreign host: it records what arrives and answers with a plausible file.
func (h *Server) serveOther(w *rec, r *http.Request) {
	if h.early(w, r, h.pick("other", r.URL.Path, r.Method)) {
		return
	}
	w.Header().Set("ETag", `"0123456789abcdef"`)
	body := []byte("foreign host\n")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(200)
	if r.Method != "HEAD" {
		w.Write(body)
	}
}

// proxy is a forward proxy; any *.test host goes to the hub, cdn.test to the CDN.
func (h *Server) serveProxy(w *rec, r *http.Request) {
	target := func(host string) string {
		name, _, err := net.SplitHostPort(host)
		if err != nil {
			name = host
		}
		if name == "cdn.test" {
			return strings.TrimPrefix(h.CDN, "http://")
		}
		if strings.HasSuffix(name, ".test") {
			return strings.TrimPrefix(h.URL, "http://")
		}
		return host
	}
	if r.Method == "CONNECT" {
		up, err := net.Dial("tcp", target(r.Host))
		if err != nil {
			w.WriteHeader(502)
			return
		}
		c, _, err := w.Hijack()
		if err != nil {
			return
		}
		w.note(200, 0)
		io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		go io.Copy(up, c)
		io.Copy(c, up)
		c.Close()
		up.Close()
		return
	}
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = "http", target(r.Host)
	resp, err := (&http.Transport{}).RoundTrip(out)
	if err != nil {
		w.WriteHeader(502)
		return
	}
	defer resp.Body.Close()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}
