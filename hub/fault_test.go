package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alkimiadev/alknet-firewall/hub/hubtest"
)

// A trial is one row of the fault table in docs/formats/hub-cache.md. What the
// official clients do was seen by running them (huggingface_hub at ee0a4510,
// 1.29.0.dev0; @huggingface/hub 2.17.5) against the ancestor of hubtest; an
// empty js was not run. What ours does is what run returns now.
type trial struct {
	fault, python, js string
	run               func(w *world) string // "": cannot be run here
}

const weights = 3 << 20 // bytes of a trial's model.safetensors

// trials use a fresh world each, which holds the model acme/m.
var trials = []trial{
	{"connection dropped once mid-file", "ok; starts again at the last full 10 MB", "fails, no retry", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "drop", After: 1_000_001, Times: 1})
		return w.try() + w.resumed()
	}},
	{"TCP reset once mid-file", "**fails**, nothing kept", "fails", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "rst", After: 1_000_001, Times: 1})
		return w.try() + w.resumed()
	}},
	{"dropped before any data, always", "fails after 6.3 s", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "close"})
		return w.try() + w.tries("cdn")
	}},
	{"one wrong byte, same size, large file", "**ok, bad file, for good**", "**ok, bad file**", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "wrong", After: 77_777})
		return w.try() + w.tries("cdn")
	}},
	{"one wrong byte, small file", "**ok, bad file, for good**", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cache", Match: "config.json", Kind: "wrong", After: 3})
		return w.try() + w.tries("hub", "resolve-cache", "config.json")
	}},
	{"short body with a length of its own, or chunked", "fails, no retry", "**ok, bad file of 1000 bytes**", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "truncate", After: 1000})
		a := w.try()
		w.hub.Reset()
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "truncchunked", After: 1000})
		return w.both(a, w.try())
	}},
	{"100 extra bytes", "fails after reading all", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "extra", After: 100})
		a := w.try()
		w.hub.Reset()
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "extrachunked", After: 100})
		return "with a length: " + a + "; chunked: " + w.try()
	}},
	{"after a drop: range ignored (200)", "ok, starts again", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "drop", After: 500_000, Times: 1}, hubtest.Fault{Where: "cdn", Kind: "norange"})
		return w.try() + ", starts again"
	}},
	{"after a drop: 206 with other bytes", "**ok, bad file, for good**", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "drop", After: 500_000, Times: 1}, hubtest.Fault{Where: "cdn", Kind: "badrange", Times: 1})
		return w.try() + ", found by the hash, starts again"
	}},
	{"after a drop: 416, or 403 (address ran out)", "fails", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "drop", After: 500_000, Times: 1}, hubtest.Fault{Where: "cdn", Kind: "range416", Times: 1})
		a := w.try()
		w.forget()
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "drop", After: 500_000, Times: 1}, hubtest.Fault{Where: "cdn", Kind: "status", Code: 403, Times: 1})
		return w.both(a, w.try()) + ", with a fresh address"
	}},
	{"a web page with status 200 from the CDN", "fails", "**ok, 54 bytes of HTML as the model**", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "html"})
		a := w.try() + w.tries("cdn")
		w.forget()
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "drop", After: 1_000_001, Times: 1}, hubtest.Fault{Where: "cdn", Kind: "html", Times: 1})
		return a + "; once, after a drop: " + w.try() + w.resumed()
	}},
	{"captive portal: everything is a web page", "fails, **also when all is cached**", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "any", Kind: "html"})
		a := w.try()
		return a + "; cached: " + w.cached(hubtest.Fault{Where: "any", Kind: "html"})
	}},
	{"500 where the file is asked for: once, always", "ok; fails after 24 s", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "resolve", Kind: "status", Code: 500, Times: 1})
		a := w.try()
		w.forget()
		w.hub.Fault(hubtest.Fault{Where: "resolve", Kind: "status", Code: 500})
		return "once: " + a + "; always: " + w.try()
	}},
	{"503 from the CDN once", "**fails**", "fails", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "status", Code: 503, Times: 1})
		return w.try()
	}},
	{"429 with Retry-After 1 from the CDN", "ok", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "status", Code: 429, RetryAfter: "1", Times: 1})
		return w.try() + w.waited(time.Second)
	}},
	{"429 or 503 once from the API", "**fails**", "fails", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "api", Kind: "status", Code: 429, Value: `"api";r=0;t=0`, Times: 1}, hubtest.Fault{Where: "api", Kind: "status", Code: 503, Times: 1})
		return w.try()
	}},
	{"Retry-After 100000", "**sleeps 100001 s**", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "api", Kind: "status", Code: 429, RetryAfter: "100000"})
		return w.try()
	}},
	{"Retry-After as a date far away", "ignored, ok after 1 s", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "api", Kind: "status", Code: 503, RetryAfter: "Fri, 31 Dec 2199 23:59:59 GMT"})
		return w.try()
	}},
	{"the API never answers", "**waits as long as the server**", "", func(w *world) string {
		w.opt.HeaderTimeout = 50 * time.Millisecond
		f := hubtest.Fault{Where: "api", Kind: "hang", Pause: 500 * time.Millisecond}
		w.hub.Fault(f)
		a := w.try()
		return a + "; cached: " + w.cached(f)
	}},
	{"the API closes the connection, everything cached", "**fails**", "", func(w *world) string {
		return w.cached(hubtest.Fault{Where: "api", Kind: "close"})
	}},
	{"the question for the file hangs once, longer than the timeout", "ok", "", func(w *world) string {
		w.opt.HeaderTimeout = 100 * time.Millisecond
		w.hub.Fault(hubtest.Fault{Where: "resolve", Kind: "hang", Pause: 500 * time.Millisecond, Times: 1})
		return w.try()
	}},
	{"the body stalls once, longer than the timeout", "ok, fetched again", "fails", func(w *world) string {
		w.opt.StallTimeout = 100 * time.Millisecond
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "stall", After: 1_000_001, Pause: 500 * time.Millisecond, Times: 1})
		return w.try() + w.resumed()
	}},
	{"a trickle of bytes", "goes on", "", func(w *world) string {
		w.opt.StallTimeout = 300 * time.Millisecond
		w.hub.Fault(hubtest.Fault{Where: "cache", Match: "tokenizer.json", Kind: "trickle", Rate: 5000})
		return w.try() + ", as long as bytes come"
	}},
	{"redirect loop", "**endless**", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "resolve", Match: "model.safetensors", Kind: "redirect-loop"})
		return w.try() + w.tries("hub", "/resolve/", "model.safetensors")
	}},
	{"no ETag, no commit, no size", "fails, unclear", "", func(w *world) string {
		var out []string
		for _, k := range []string{"noetag", "nocommit", "nosize"} {
			w.hub.Fault(hubtest.Fault{Where: "any", Kind: k})
			out = append(out, w.try())
			w.forget()
		}
		return w.both(out...) + ": all three are known from the list of files"
	}},
	{"ETag `../../../../evil`", "**writes outside the cache**", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "any", Kind: "etag", Value: `"../../../../evil"`})
		return w.try() + w.nothingOutside()
	}},
	{"weak ETag", "ok", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "any", Kind: "weaketag"})
		return w.try()
	}},
	{"the answer is for another commit", "**ok, the file is missing**", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "resolve", Kind: "commit", Value: strings.Repeat("ab", 20)})
		return w.try()
	}},
	{"the answer's commit is a path", "fails", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "any", Kind: "commit", Value: "../../../evil"})
		return w.try() + w.nothingOutside()
	}},
	{"names in the list that leave the folder", "fails; older ones **write them**", "fails", func(w *world) string {
		var out []string
		for _, n := range []string{"../evil", `C:\evil`, `a\..\..\evil`, "/abs/evil", "a/./b", "a//b", "nul\x00l"} {
			conf := lfs
			conf.Extra = map[string]string{n: "config.json"}
			w.put("acme/m", conf, model(9, 10))
			out = append(out, w.try())
		}
		if _, err := os.Stat(filepath.Join(w.cache, "models--acme--m")); !errors.Is(err, fs.ErrNotExist) {
			w.t.Errorf("something of a repository with hostile names was written")
		}
		w.put("acme/m", lfs, w.files)
		return w.both(out...) + ", no file of that model is written" + w.nothingOutside()
	}},
	{"redirect to a foreign host, with a token", "no token sent; fails", "", func(w *world) string {
		w.env["HF_TOKEN"] = "hf_secret"
		w.hub.Fault(hubtest.Fault{Where: "resolve", Kind: "redirect-other"})
		out := w.try()
		if w.count("other", "", "") == 0 {
			w.t.Error("the redirect was not followed")
		}
		for _, r := range w.hub.Log() {
			if (r.Srv != "hub") == (r.Auth != "") {
				w.t.Errorf("%s request with Authorization %q", r.Srv, r.Auth)
			}
		}
		return "no token sent; " + out
	}},
	{"compression, if it is accepted", "ok", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "any", Kind: "gzip"})
		return w.try() + ": none is accepted"
	}},
	{"kill -9 mid-file, run again", "starts at 0, leaves a file behind", "", func(w *world) string {
		w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "stall", After: 1_000_001, Pause: 10 * time.Second, Times: 1})
		cmd := w.child("acme/m")
		if err := cmd.Start(); err != nil {
			w.t.Fatal(err)
		}
		w.until(func() bool { return w.partialSize() == 1_000_001 })
		cmd.Process.Kill()
		cmd.Wait()
		out := w.try() + w.resumed()
		if n := w.partials(); n != 0 {
			w.t.Errorf("%d partial files left", n)
		}
		return out + ", leaves nothing"
	}},
	{"a blob truncated on disk to 0 or 1000 bytes, online", "**returned as good**", "", func(w *world) string {
		var out []string
		for _, n := range []int64{0, 1000} {
			w.try()
			if err := os.Truncate(w.blob("model.safetensors"), n); err != nil {
				w.t.Fatal(err)
			}
			out = append(out, w.try())
		}
		return w.both(out...) + ", seen and fetched again"
	}},
	{"garbage in `<etag>.incomplete`, or in our own partial file", "ignored; older ones **append to it: bad file**", "overwritten", func(w *world) string {
		blob := sha2(w.files["model.safetensors"])
		dir := filepath.Join(w.cache, "models--acme--m", "blobs")
		os.MkdirAll(dir, 0o777)
		foreign := filepath.Join(dir, blob+".incomplete")
		garbage := data(5, 4000)
		os.WriteFile(foreign, garbage, 0o666)
		os.WriteFile(filepath.Join(dir, blob+partialExt), garbage, 0o666)
		out := w.try()
		if b, err := os.ReadFile(foreign); err != nil || !bytes.Equal(b, garbage) {
			w.t.Errorf("the other client's partial file was touched: %v", err)
		}
		os.Remove(foreign)
		return out + "; the first is not touched, the second is found by the hash"
	}},
	{"refs/main names a path outside, offline", "**returns that folder**", "", func(w *world) string {
		w.try()
		w.ref("main", "../../../../outside")
		w.env["HF_HUB_OFFLINE"] = "1"
		return w.try()
	}},
	{"refs/main ends in a newline, offline", "not found", "", func(w *world) string {
		w.try()
		w.ref("main", w.commit+"\n")
		w.env["HF_HUB_OFFLINE"] = "1"
		return w.try()
	}},
	{"four processes, one model", "one transfer", "", func(w *world) string {
		return w.processes(4)
	}},
	{"another program holds the lock", "waits, silently", "", func(w *world) string {
		w.opt.LockTimeout = 200 * time.Millisecond
		release := w.hold(sha2(w.files["model.safetensors"]))
		a := w.try()
		done := make(chan string)
		w.opt.LockTimeout = 10 * time.Second
		go func() { done <- w.try() }()
		time.Sleep(100 * time.Millisecond)
		release()
		return "for long: " + a + "; released: " + <-done
	}},
	{"read-only cache: complete; a file missing", "ok with a warning; PermissionError", "", func(w *world) string {
		w.try()
		undo := w.readOnly()
		if undo == nil {
			return ""
		}
		w.warns = nil
		a := w.try()
		if len(w.warns) > 0 {
			w.t.Errorf("warnings %q", w.warns)
		}
		undo()
		os.Remove(w.blob("config.json"))
		undo = w.readOnly()
		b := w.try()
		undo()
		return "complete: " + a + ", silently; missing: " + b
	}},
	{"disk full: before; mid-way", "warning, then ENOSPC, partial file removed", "", func(w *world) string {
		undo := w.smallDisk(2 << 20)
		if undo == nil {
			return ""
		}
		a := w.try()
		undo()
		undo = w.smallDisk(2 << 20)
		defer undo()
		c := w.client()
		c.noRoom = true
		_, err := c.Pull(context.Background(), "acme/m")
		w.forgetAllBut() // the cache stays as it was
		return "before: " + a + "; mid-way: " + w.outcome(err)
	}},
	{"partial snapshot offline, no list of files", "**returned as complete**", "", func(w *world) string {
		w.try()
		os.RemoveAll(filepath.Join(w.cache, "models--acme--m", "trees"))
		os.Remove(filepath.Join(w.cache, "models--acme--m", "snapshots", w.commit, "model.safetensors"))
		w.env["HF_HUB_OFFLINE"] = "1"
		return w.try() + ", naming the file"
	}},
	{"pinned commit, offline, complete, no list of files", "**fails**", "", func(w *world) string {
		w.try()
		os.RemoveAll(filepath.Join(w.cache, "models--acme--m", "trees"))
		w.env["HF_HUB_OFFLINE"] = "1"
		_, err := w.client().Pull(context.Background(), "acme/m@"+w.commit)
		return w.outcome(err)
	}},
	{"invalid token, cached", "cached copy", "", func(w *world) string {
		w.try()
		w.env["HF_TOKEN"] = "hf_wrong"
		w.hub.Close()
		var err error
		if w.hub, err = hubtest.Start(w.root, hubtest.Options{TokenChecked: true}); err != nil {
			w.t.Fatal(err)
		}
		defer w.hub.Close()
		w.env["HF_ENDPOINT"] = w.hub.URL
		return w.warned()
	}},
	{"a file of 0 bytes; `#` in a name", "ok", "**fails**", func(w *world) string {
		w.opt.Files = []string{"*"}
		w.files["empty.txt"], w.files["a#b?c%41 +.txt"] = nil, []byte("odd")
		w.put("acme/m", lfs, w.files)
		return w.try()
	}},
}

// TestFaults runs the table and compares it with the document's.
func TestFaults(t *testing.T) {
	const begin, end = "<!-- faults: go test ./hub -run TestFaults -update -->\n", "<!-- end -->"
	doc := filepath.Join("..", "docs", "formats", "hub-cache.md")
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the fault table", doc)
	}
	lines := make([]string, len(trials))
	t.Run("each", func(t *testing.T) {
		for i, tr := range trials {
			t.Run(fmt.Sprint(i+1), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, hubtest.Options{})
				w.files = model(uint64(i), weights)
				w.commit = w.put("acme/m", lfs, w.files)
				out := tr.run(w)
				if out == "" {
					return
				}
				w.sound()
				lines[i] = fmt.Sprintf("| %d | %s | %s | %s | %s |\n", i+1, tr.fault, tr.python, tr.js, out)
			})
		}
	})
	olds := strings.SplitAfter(old, "\n")
	var b strings.Builder
	b.WriteString("| | fault | Python | JavaScript | this client |\n|---|---|---|---|---|\n")
	for i, l := range lines {
		if l == "" && i+2 < len(olds) { // cannot be run here
			t.Logf("row %d cannot be run here (%s, uid %d)", i+1, runtime.GOOS, os.Geteuid())
			l = olds[i+2]
		}
		b.WriteString(l)
	}
	if *update {
		if err := os.WriteFile(doc, []byte(head+begin+b.String()+end+tail), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i, l := range strings.SplitAfter(b.String(), "\n") {
		if i >= len(olds) || l != olds[i] {
			was := ""
			if i < len(olds) {
				was = olds[i]
			}
			t.Errorf("the fault table changed (-update rewrites it):\n got %swant %s", l, was)
		}
	}
}

// try pulls acme/m and says how it went.
func (w *world) try() string {
	w.t.Helper()
	begun := time.Now()
	s, err := w.client().Pull(context.Background(), "acme/m")
	w.took = time.Since(begun)
	if err == nil {
		if s.Commit != w.commit {
			w.t.Errorf("commit %s, want %s", s.Commit, w.commit)
		}
		names := detector
		if w.opt.Files != nil {
			names = keysOf(w.files)
		}
		w.same(s, w.files, names...)
	}
	return w.outcome(err)
}

// outcome puts an error into the table's words.
func (w *world) outcome(err error) string {
	w.t.Helper()
	var mismatch *MismatchError
	var wait *WaitError
	var incomplete *IncompleteError
	switch {
	case err == nil:
		return "ok"
	case strings.Contains(err.Error(), "hf_") || strings.Contains(err.Error(), "X-Amz-Signature"):
		w.t.Errorf("the error has a secret in it: %v", err)
		return ""
	case errors.As(err, &mismatch):
		if mismatch.Want == "" || mismatch.Got == "" {
			w.t.Errorf("no expected or actual value: %v", err)
		}
		return "fails: " + ErrCorrupt.Error() + " (" + mismatch.Kind + ")"
	case errors.As(err, &wait):
		return "fails at once, saying how long was asked for"
	case errors.As(err, &incomplete):
		if len(incomplete.Missing) > 0 && !strings.Contains(err.Error(), incomplete.Missing[0]) || !strings.Contains(err.Error(), "alknet-firewall pull") {
			w.t.Errorf("the error names neither file nor command: %v", err)
		}
		return "refused: not complete"
	}
	for _, e := range []error{ErrNotHub, ErrNoSpace, ErrReadOnly, ErrLocked, ErrUnavailable, ErrCorrupt} {
		if errors.Is(err, e) {
			return "fails: " + e.Error()
		}
	}
	w.t.Errorf("unexpected error: %v", err)
	return "fails"
}

// resumed checks that little more than the file was sent.
func (w *world) resumed() string {
	w.t.Helper()
	var sent int64
	from := ""
	for _, r := range w.hub.Log() {
		if r.Srv == "cdn" {
			sent += r.Bytes
			if r.Range != "" {
				from = r.Range
			}
		}
	}
	if sent > weights+64<<10 || from == "" {
		w.t.Errorf("%d bytes were sent for a file of %d; last range %q", sent, weights, from)
	}
	return ", resumed"
}

// tries counts requests.
func (w *world) tries(srv string, parts ...string) string {
	n := 0
	for _, r := range w.hub.Log() {
		hit := r.Srv == srv
		for _, p := range parts {
			hit = hit && strings.Contains(r.URL, p)
		}
		if hit {
			n++
		}
	}
	return fmt.Sprintf(", %d requests", n)
}

func (w *world) waited(d time.Duration) string {
	w.t.Helper()
	if w.took < d {
		w.t.Errorf("waited %v, want %v", w.took, d)
	}
	return ""
}

func (w *world) both(outs ...string) string {
	w.t.Helper()
	for _, o := range outs {
		if o != outs[0] {
			w.t.Errorf("outcomes differ: %q", outs)
		}
	}
	return outs[0]
}

// forget empties the cache and ends the faults.
func (w *world) forget() {
	w.hub.Reset()
	os.RemoveAll(w.cache)
}

func (w *world) forgetAllBut() { w.hub.Reset() }

// cached makes the model complete, brings the fault, and says what happens then.
func (w *world) cached(f hubtest.Fault) string {
	w.t.Helper()
	w.hub.Reset()
	w.try()
	w.hub.Fault(f)
	return w.warned()
}

// warned expects success with a warning.
func (w *world) warned() string {
	w.t.Helper()
	w.warns = nil
	out := w.try()
	if len(w.warns) != 1 {
		w.t.Errorf("warnings %q, want one", w.warns)
	}
	return out + " with a warning"
}

// ref writes a reference as somebody else would.
func (w *world) ref(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.cache, "models--acme--m", "refs", name), []byte(content), 0o666); err != nil {
		w.t.Fatal(err)
	}
}

// blob returns the file behind a snapshot's.
func (w *world) blob(name string) string {
	w.t.Helper()
	p, err := filepath.EvalSymlinks(filepath.Join(w.cache, "models--acme--m", "snapshots", w.commit, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// nothingOutside checks the cache's surroundings.
func (w *world) nothingOutside() string {
	w.t.Helper()
	for _, dir := range []string{filepath.Dir(w.cache), filepath.Dir(filepath.Dir(w.cache))} {
		list, err := os.ReadDir(dir)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, d := range list {
			if strings.Contains(d.Name(), "evil") {
				w.t.Errorf("%s was written", filepath.Join(dir, d.Name()))
			}
		}
	}
	return ""
}

// partialSize returns the size of our partial files.
func (w *world) partialSize() (n int64) {
	names, _ := filepath.Glob(filepath.Join(w.cache, "models--acme--m", "blobs", "*"+partialExt))
	for _, p := range names {
		if fi, err := os.Stat(p); err == nil {
			n += fi.Size()
		}
	}
	return n
}

func (w *world) partials() int {
	names, _ := filepath.Glob(filepath.Join(w.cache, "models--*", "blobs", "*.incomplete"))
	return len(names)
}

func (w *world) until(ok func() bool) {
	w.t.Helper()
	for i := 0; !ok(); i++ {
		if i > 2000 {
			w.t.Fatal("waited in vain")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// sound checks what must hold after any fault: no blob whose content is not its
// name, no temporary file, no link into nothing, references that are commits
// which exist; and that a run without faults then succeeds.
func (w *world) sound() {
	w.t.Helper()
	repos, _ := filepath.Glob(filepath.Join(w.cache, "models--*"))
	for _, repo := range repos {
		blobs, _ := os.ReadDir(filepath.Join(repo, "blobs"))
		for _, d := range blobs {
			if strings.HasSuffix(d.Name(), ".incomplete") {
				continue
			}
			b, err := os.ReadFile(filepath.Join(repo, "blobs", d.Name()))
			if err != nil {
				w.t.Error(err)
			} else if d.Name() != sha2(b) && d.Name() != gitHash(b) {
				w.t.Errorf("blob %s has the content of %s", d.Name(), sha2(b))
			}
		}
		filepath.WalkDir(filepath.Join(repo, "refs"), func(p string, d fs.DirEntry, err error) error {
			if err == nil && strings.Contains(d.Name(), "tmp") {
				w.t.Errorf("temporary file %s", p)
			}
			return err
		})
	}
	if w.env["HF_HUB_OFFLINE"] != "" || w.env["HF_TOKEN"] != "" {
		return
	}
	w.hub.Reset()
	w.opt.HeaderTimeout, w.opt.StallTimeout, w.opt.LockTimeout = 0, 0, 0
	if out := w.try(); out != "ok" {
		w.t.Errorf("afterwards, without a fault: %s", out)
	}
}
