package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alkimiadev/alknet-firewall/hub/hubtest"
)

// A world is a stand-in Hub, a cache and an environment of its own.
type world struct {
	t     testing.TB
	root  string // the Hub's repositories
	cache string
	hub   *hubtest.Server
	env   map[string]string
	opt   Options

	files  map[string][]byte // of acme/m
	commit string            // of acme/m
	took   time.Duration     // the last try

	mu    sync.Mutex
	warns []string
}

func newWorld(t testing.TB, opt hubtest.Options) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir(), cache: filepath.Join(t.TempDir(), "cache"), env: map[string]string{"HOME": t.TempDir()}}
	var err error
	if w.hub, err = hubtest.Start(w.root, opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.hub.Close)
	w.env["HF_ENDPOINT"] = w.hub.URL
	w.env["HF_HUB_CACHE"] = w.cache
	return w
}

// client returns a client of the world that does not wait between tries.
func (w *world) client() *Client {
	w.t.Helper()
	opt := w.opt
	opt.Warn = func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.warns = append(w.warns, err.Error())
	}
	c, err := newClient(opt, func(n string) string { return w.env[n] })
	if err != nil {
		w.t.Fatal(err)
	}
	c.backoff = time.Millisecond
	return c
}

// worldWith returns a world that holds the model acme/m.
func worldWith(t testing.TB, weights int) *world {
	t.Helper()
	w := newWorld(t, hubtest.Options{})
	w.files = model(1, weights)
	w.commit = w.put("acme/m", lfs, w.files)
	return w
}

// outcomeOf pulls and says how it went.
func (w *world) outcomeOf(name string) string {
	_, err := w.client().Pull(context.Background(), name)
	return w.outcome(err)
}

func keysOf(m map[string][]byte) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// data returns n bytes that differ by seed.
func data(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func sha2(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func gitHash(b []byte) string {
	s := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(b), b))
	return hex.EncodeToString(s[:])
}

// model is a small model: what a detector needs, and what it does not.
func model(seed uint64, weights int) map[string][]byte {
	return map[string][]byte{
		"README.md":         []byte("# a model\n"),
		"config.json":       fmt.Appendf(nil, `{"model_type":"llama","seed":%d}`, seed),
		"tokenizer.json":    data(seed+1000, 3000),
		"model.safetensors": data(seed, weights),
		"pytorch_model.bin": data(seed+2000, 5000),
		"onnx/model.onnx":   data(seed+3000, 5000),
	}
}

var lfs = hubtest.Repo{LFS: []string{"*.safetensors", "*.bin", "*.onnx"}}

// put makes a repository with one commit, "c1", which is main.
func (w *world) put(repo string, conf hubtest.Repo, files map[string][]byte) string {
	w.t.Helper()
	return w.putCommit(repo, "c1", conf, files)
}

func (w *world) putCommit(repo, folder string, conf hubtest.Repo, files map[string][]byte) string {
	w.t.Helper()
	commit, err := hubtest.Write(w.root, repo, folder, conf, files)
	if err != nil {
		w.t.Fatal(err)
	}
	return commit
}

// pull pulls, or fails the test.
func (w *world) pull(name string) Snapshot {
	w.t.Helper()
	s, err := w.client().Pull(context.Background(), name)
	if err != nil {
		w.t.Fatalf("Pull(%s): %v", name, err)
	}
	return s
}

// same checks that a snapshot holds exactly these files with this content.
func (w *world) same(s Snapshot, files map[string][]byte, names ...string) {
	w.t.Helper()
	var got []string
	for _, f := range s.Files {
		got = append(got, f.Path)
		b, err := os.ReadFile(filepath.Join(s.Dir, filepath.FromSlash(f.Path)))
		if err != nil {
			w.t.Error(err)
		} else if sha2(b) != sha2(files[f.Path]) || f.SHA256 != sha2(b) || f.Size != int64(len(b)) {
			w.t.Errorf("%s has sha256 %s and size %d, want %s and %d; reported %s and %d",
				f.Path, sha2(b), len(b), sha2(files[f.Path]), len(files[f.Path]), f.SHA256, f.Size)
		}
	}
	slices.Sort(names)
	if !slices.Equal(got, names) {
		w.t.Errorf("files %v, want %v", got, names)
	}
}

// count counts requests of the log.
func (w *world) count(srv, method, part string) (n int) {
	for _, r := range w.hub.Log() {
		if r.Srv == srv && (method == "" || r.Method == method) && strings.Contains(r.URL, part) {
			n++
		}
	}
	return n
}

// tree lists a directory: every name, with a link's target or the content's hash.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.Type()&os.ModeSymlink != 0:
			to, err := os.Readlink(p)
			out[rel] = "-> " + to
			return err
		case d.IsDir():
			out[rel] = "folder"
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			out[rel] = sha2(b)
			return err
		default:
			out[rel] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var detector = []string{"config.json", "model.safetensors", "tokenizer.json"}

func TestPull(t *testing.T) {
	w := newWorld(t, hubtest.Options{})
	files := model(1, 300_000)
	commit := w.put("acme/tiny", lfs, files)
	s := w.pull("acme/tiny")
	if s.Commit != commit || s.Fetched != s.Bytes {
		t.Errorf("commit %s with %d of %d bytes fetched, want %s and all", s.Commit, s.Fetched, s.Bytes, commit)
	}
	w.same(s, files, detector...)
	for _, r := range w.hub.Log() {
		if r.AcceptEncoding != "identity" || !strings.HasPrefix(r.UserAgent, "alknet-firewall/") {
			t.Errorf("%s %s: Accept-Encoding %q, User-Agent %q", r.Method, r.URL, r.AcceptEncoding, r.UserAgent)
		}
	}
	w.hub.Close()
	for _, name := range []string{"acme/tiny@" + commit} {
		s = w.pull(name)
		w.same(s, files, detector...)
		if s.Fetched != 0 {
			t.Errorf("%s: %d bytes fetched again", name, s.Fetched)
		}
	}
}

var discard = log.New(io.Discard, "", 0)

var fixedNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
