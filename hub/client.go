package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// workers is how many files are fetched at once: small files wait for round
// trips, shards for each other.
const workers = 4

// A Client fetches and finds models. It is safe for concurrent use.
type Client struct {
	opt           Options
	env           environment
	catalogue     entries
	cache         string // absolute
	endpoint      *url.URL
	token         string
	tokenFrom     string
	offline       bool
	agent         string
	headerTimeout time.Duration
	stallTimeout  time.Duration
	lockTimeout   time.Duration
	backoff       time.Duration // before the second try; doubles
	transport     http.RoundTripper

	noLinks   atomic.Bool // the cache's file system has no symbolic links, or they are not wanted
	reporting sync.Mutex  // one call of Progress or Warn at a time

	noRoom   bool                // for tests: do not look for room on the disk beforehand
	lockName func(string) string // for tests: other files than those asked for are locks that lock nothing
}

// New returns a Client. It connects to nothing, and reads no file but the
// token's.
func New(opt Options) (*Client, error) { return newClient(opt, os.Getenv) }

func newClient(opt Options, env environment) (*Client, error) {
	c := &Client{opt: opt, env: env, catalogue: catalogue, backoff: time.Second}
	var err error
	if c.cache, err = env.cacheDir(opt.CacheDir); err != nil {
		return nil, err
	}
	if c.endpoint, err = env.endpoint(opt.Endpoint); err != nil {
		return nil, err
	}
	if !opt.NoToken {
		c.token, c.tokenFrom = env.token(opt.Token)
		if strings.ContainsFunc(c.token, func(r rune) bool { return r <= 0x20 || r >= 0x7f }) {
			return nil, fmt.Errorf("the token (%s) has characters that no token has", c.tokenFrom)
		}
	}
	c.offline = opt.Offline || env.is("HF_HUB_OFFLINE") || env.is("TRANSFORMERS_OFFLINE")
	or := func(d, otherwise time.Duration) time.Duration {
		if d > 0 {
			return d
		}
		return otherwise
	}
	c.headerTimeout = or(opt.HeaderTimeout, env.seconds("HF_HUB_ETAG_TIMEOUT", 10*time.Second))
	c.stallTimeout = or(opt.StallTimeout, env.seconds("HF_HUB_DOWNLOAD_TIMEOUT", 10*time.Second))
	c.lockTimeout = or(opt.LockTimeout, time.Minute)
	c.noLinks.Store(opt.NoSymlinks || env.is("HF_HUB_DISABLE_SYMLINKS"))
	c.agent = userAgent(env)
	c.transport = c.newTransport()
	return c, nil
}

// userAgent says who asks. It does not claim to be another client.
func userAgent(env environment) string {
	version := "devel"
	if b, ok := debug.ReadBuildInfo(); ok {
		const module = "github.com/alkimiadev/alknet-firewall"
		for _, m := range append(b.Deps, &b.Main) {
			if m.Path == module && strings.HasPrefix(m.Version, "v") {
				version = m.Version
			}
		}
	}
	s := "alknet-firewall/" + version + "; go/" + strings.TrimPrefix(runtime.Version(), "go")
	if o := env("HF_HUB_USER_AGENT_ORIGIN"); o != "" && !strings.ContainsFunc(o, func(r rune) bool { return r < 0x20 || r >= 0x7f }) {
		s += "; origin/" + o
	}
	return s
}

// Settings are what a Client took from its Options and the environment.
type Settings struct {
	CacheDir  string // absolute
	Endpoint  string
	Offline   bool
	TokenFrom string // where the token comes from: "option", "HF_TOKEN", a file's name; empty: none. Never the token
	Bars      string // HF_HUB_DISABLE_PROGRESS_BARS: "off", "on", or empty for as the program likes
}

// Settings returns what the client works with.
func (c *Client) Settings() Settings {
	s := Settings{CacheDir: c.cache, Endpoint: c.endpoint.String(), Offline: c.offline, TokenFrom: c.tokenFrom}
	if v := c.env("HF_HUB_DISABLE_PROGRESS_BARS"); v != "" {
		s.Bars = "on"
		if c.env.is("HF_HUB_DISABLE_PROGRESS_BARS") {
			s.Bars = "off"
		}
	}
	return s
}

func (c *Client) warn(err error) {
	if c.opt.Warn != nil {
		c.reporting.Lock()
		defer c.reporting.Unlock()
		c.opt.Warn(err)
	}
}

// Resolve finds out what a name stands for. A name is a catalogue name, or
// "org/name@commit"; instead of a commit it may be a branch or tag, for which
// the Hub is asked, or the cache if offline or if the Hub cannot be reached.
// Without "@", "org/name" is its branch main.
func (c *Client) Resolve(ctx context.Context, name string) (Ref, error) {
	ref, err := c.catalogue.parse(name)
	if err != nil {
		return Ref{}, err
	}
	return c.resolve(ctx, ref)
}

func (c *Client) resolve(ctx context.Context, ref Ref) (Ref, error) {
	if ref.Commit != "" {
		return ref, nil
	}
	cached := ""
	if r, err := c.openRepo(ref.Repo, false); err == nil {
		cached = r.readRef(ref.Revision)
		r.close()
	}
	if c.offline {
		if cached == "" {
			return Ref{}, &IncompleteError{Ref: ref, Cache: c.cache}
		}
		ref.Commit = cached
		return ref, nil
	}
	commit, err := c.askCommit(ctx, ref, cached != "")
	switch {
	case err == nil:
		ref.Commit = commit
	case ctx.Err() != nil || cached == "" || errors.Is(err, ErrRevision):
		return Ref{}, fmt.Errorf("resolve %s: %w", ref.Name, err)
	default:
		c.warn(fmt.Errorf("resolve %s: %w; going on with commit %s, which it was when last asked", ref.Name, err, cached))
		ref.Commit = cached
	}
	return ref, nil
}

// Plan says what Pull would fetch. It may ask the Hub for a list of files; it
// fetches none and writes nothing.
func (c *Client) Plan(ctx context.Context, name string) (Plan, error) {
	ref, err := c.Resolve(ctx, name)
	if err != nil {
		return Plan{}, err
	}
	if s, err := c.find(ctx, ref, false, c.track(ref)); err == nil {
		return Plan{Ref: ref, Files: s.Files, Bytes: s.Bytes}, nil
	} else if c.offline || ctx.Err() != nil {
		return Plan{}, err
	}
	_, wants, err := c.list(ctx, ref)
	if err != nil {
		return Plan{}, err
	}
	return c.plan(ctx, ref, wants), nil
}

// list asks the Hub for a commit's files and picks those that are wanted.
func (c *Client) list(ctx context.Context, ref Ref) (listing, []want, error) {
	l, err := c.askTree(ctx, ref)
	if err != nil {
		return nil, nil, fmt.Errorf("list the files of %s at %s: %w", ref.Repo, ref.Commit, err)
	}
	wants, err := c.wanted(l, c.catalogue.of(ref))
	if err != nil {
		return nil, nil, fmt.Errorf("%s at %s: %w", ref.Repo, ref.Commit, err)
	}
	return l, wants, nil
}

// plan finds out what is there and right. What is not counts as missing, but for
// the bytes of a partial file.
func (c *Client) plan(ctx context.Context, ref Ref, wants []want) Plan {
	p := Plan{Ref: ref}
	missing := func(w want) int64 { return w.size }
	if r, err := c.openRepo(ref.Repo, false); err == nil {
		defer r.close()
		a := r.audit(false)
		missing = func(w want) int64 {
			if _, err := a.file(ctx, ref.Commit, w); err == nil {
				return 0
			}
			blob := "blobs/" + w.blob
			if fi, err := r.root.Lstat(filepath.FromSlash(blob)); err == nil && fi.Mode().IsRegular() {
				if _, err := a.check(ctx, blob, fi, w); err == nil {
					return 0
				}
			}
			if fi, err := r.root.Lstat(filepath.FromSlash(blob + partialExt)); err == nil && fi.Mode().IsRegular() && fi.Size() <= w.size {
				return w.size - fi.Size()
			}
			return w.size
		}
	}
	for _, w := range wants {
		p.Files = append(p.Files, File{Path: w.path, Size: w.size, SHA256: w.sha256, Git: w.git})
		p.Bytes += w.size
		p.Missing += missing(w)
	}
	return p
}

// spare is left free beside the model: folders, links, lists of files.
const spare = 4 << 20 // bytes

// room checks the disk before anything is fetched.
func (c *Client) room(missing int64, files int) error {
	if c.noRoom {
		return nil
	}
	dir := c.cache
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	bytes, nodes := free(dir)
	if missing > 0 && bytes >= 0 && bytes < missing+spare {
		return fmt.Errorf("%w: %d bytes are needed in %s, %d are free; set HF_HUB_CACHE to a larger disk", ErrNoSpace, missing+spare, c.cache, bytes)
	}
	if need := int64(2*files + 8); nodes >= 0 && nodes < need {
		return fmt.Errorf("%w: %d new files are needed in %s, its file system has room for %d", ErrNoSpace, need, c.cache, nodes)
	}
	return nil
}

// Pull makes the model complete in the cache and returns it. If a commit is
// complete already nothing is sent, online too. Damaged files are fetched again.
// A branch or tag is resolved first; Snapshot.Commit says to what.
func (c *Client) Pull(ctx context.Context, name string) (Snapshot, error) {
	return c.pullTold(ctx, name, nil)
}

// pullTold is Pull; tell, if it is not nil, hears of every step.
func (c *Client) pullTold(ctx context.Context, name string, tell func(Progress)) (Snapshot, error) {
	ref, err := c.catalogue.parse(name)
	if err != nil {
		return Snapshot{}, err
	}
	t := c.track(ref)
	t.tell = tell
	if ref.Commit == "" {
		t.phase(PhaseResolve, "")
	}
	if ref, err = c.resolve(ctx, ref); err != nil {
		return Snapshot{}, err
	}
	t.now.Ref = ref
	s, err := c.pull(ctx, ref, t)
	if err != nil {
		return Snapshot{}, fmt.Errorf("pull %s: %w", name, err)
	}
	s.Fetched = t.bytes()
	t.phase(PhaseDone, "")
	return s, nil
}

func (c *Client) pull(ctx context.Context, ref Ref, t *tracker) (Snapshot, error) {
	s, err := c.find(ctx, ref, false, t)
	if err == nil {
		if r, err := c.openRepo(ref.Repo, false); err == nil {
			r.keep(ctx, ref) // a cache that cannot be written is fine
			r.close()
		}
		return s, nil
	}
	if c.offline || ctx.Err() != nil {
		return Snapshot{}, err
	}
	t.phase(PhaseResolve, "")
	l, wants, err := c.list(ctx, ref)
	if err != nil {
		return Snapshot{}, err
	}
	p := c.plan(ctx, ref, wants)
	if c.opt.Approve != nil && p.Missing > 0 {
		if err := c.opt.Approve(ctx, p); err != nil {
			return Snapshot{}, err
		}
	}
	if err := c.room(p.Missing, len(wants)); err != nil {
		return Snapshot{}, err
	}
	r, err := c.openRepo(ref.Repo, true)
	if err != nil {
		return Snapshot{}, err
	}
	defer r.close()
	if err := r.writeTree(ctx, ref.Commit, l); err != nil {
		return Snapshot{}, err
	}
	t.restart(p.Bytes)
	err = each(ctx, wants, func(ctx context.Context, w want) error {
		return r.obtain(ctx, ref, w, t, func(p *partial) error {
			if err := r.receive(ctx, ref, p, t); err != nil {
				return fmt.Errorf("fetch %s: %w", w.path, err)
			}
			return nil
		})
	})
	if err != nil {
		return Snapshot{}, err
	}
	return r.complete(ctx, ref)
}

// writeTree writes a commit's list. It comes before the files: a killed pull then
// leaves what tells every client that something is missing, and one whose last
// file was just linked leaves nothing undone that nobody would notice.
func (r *repo) writeTree(ctx context.Context, commit string, l listing) error {
	return r.writeFile(ctx, "trees/"+commit+".json", l.encode())
}

// complete is the end of a download or import: the reference, and a last look.
func (r *repo) complete(ctx context.Context, ref Ref) (Snapshot, error) {
	if err := r.keep(ctx, ref); err != nil {
		return Snapshot{}, err
	}
	return r.c.find(ctx, ref, false, &tracker{c: r.c, quiet: true})
}

// keep writes the reference of a branch or tag. A commit gets one too, below our
// own name: without any, the reference client's "hf cache prune" deletes it.
func (r *repo) keep(ctx context.Context, ref Ref) error {
	name := "refs/" + ref.Revision
	if ref.Revision == ref.Commit {
		name = "refs/" + ownFolder + "/" + ref.Commit
	}
	return r.writeFile(ctx, name, []byte(ref.Commit))
}

// each calls do for all wants, some at once, and returns the first error. The
// others are stopped then.
func each(ctx context.Context, wants []want, do func(context.Context, want) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan want)
	var wg sync.WaitGroup
	for range min(workers, len(wants)) {
		wg.Go(func() {
			for w := range next {
				if err := do(ctx, w); err != nil {
					cancel(err) // the first one counts
				}
			}
		})
	}
	for _, w := range wants {
		select {
		case next <- w:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// Find returns the model if it is complete in the cache and nothing of it
// changed since it was verified; what was not verified yet is. It sends nothing.
// The error of an incomplete model is an [*IncompleteError], which is
// ErrOffline; that of a damaged one is a [*MismatchError], which is ErrCorrupt.
func (c *Client) Find(ctx context.Context, name string) (Snapshot, error) {
	return c.look(ctx, name, false)
}

// Verify reads every byte of the model in the cache again and compares hashes.
// It sends nothing and repairs nothing; Pull does.
func (c *Client) Verify(ctx context.Context, name string) (Snapshot, error) {
	return c.look(ctx, name, true)
}

func (c *Client) look(ctx context.Context, name string, full bool) (Snapshot, error) {
	ref, err := c.local(name)
	if err != nil {
		return Snapshot{}, err
	}
	t := c.track(ref)
	s, err := c.find(ctx, ref, full, t)
	if err == nil {
		t.phase(PhaseDone, "")
	}
	return s, err
}

// local resolves a name by the cache alone.
func (c *Client) local(name string) (Ref, error) {
	ref, err := c.catalogue.parse(name)
	if err != nil || ref.Commit != "" {
		return ref, err
	}
	if r, err := c.openRepo(ref.Repo, false); err == nil {
		ref.Commit = r.readRef(ref.Revision)
		r.close()
	}
	if ref.Commit == "" {
		return Ref{}, &IncompleteError{Ref: ref, Cache: c.cache}
	}
	return ref, nil
}

// find looks a commit up in the cache and checks every file of it.
func (c *Client) find(ctx context.Context, ref Ref, full bool, t *tracker) (Snapshot, error) {
	none := &IncompleteError{Ref: ref, Cache: c.cache}
	e := c.catalogue.of(ref)
	if e != nil {
		for _, f := range e.Files {
			none.Missing = append(none.Missing, f.Path)
		}
	}
	r, err := c.openRepo(ref.Repo, false)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Snapshot{}, none
		}
		return Snapshot{}, err
	}
	defer r.close()
	wants, err := c.expected(r, ref, e)
	if err != nil {
		return Snapshot{}, fmt.Errorf("%s in the Hub cache: %w", ref.Repo, err)
	}
	if len(wants) == 0 {
		return Snapshot{}, none
	}
	var size int64
	for _, w := range wants {
		if p, err := r.locate(ref.Commit, w.path); err == nil {
			size += p.info.Size()
		}
	}
	t.restart(size)
	t.enter(PhaseVerify)
	a := r.audit(full)
	a.looking = func(file string) { t.phase(PhaseVerify, file) }
	a.report = func(_ string, n int64) { t.found(n) }
	s := Snapshot{Ref: ref, Dir: r.dir(ref.Commit)}
	var wrong error
	var missing []string
	for _, w := range wants {
		f, err := a.file(ctx, ref.Commit, w)
		switch {
		case err == nil:
			s.Files = append(s.Files, f)
			s.Bytes += f.Size
		case ctx.Err() != nil:
			return Snapshot{}, context.Cause(ctx)
		case errors.Is(err, ErrCorrupt) || errors.Is(err, errElsewhere):
			wrong = errors.Join(wrong, err)
		case errors.Is(err, fs.ErrPermission):
			return Snapshot{}, fmt.Errorf("read %s in the Hub cache: %w", w.path, err)
		default:
			missing = append(missing, w.path)
		}
	}
	r.addStamps(ctx, a.fresh)
	if wrong != nil {
		if !errors.Is(wrong, ErrCorrupt) {
			wrong = fmt.Errorf("%w: %w", ErrCorrupt, wrong)
		}
		return Snapshot{}, fmt.Errorf("%s at %s is damaged in the Hub cache; pull fetches it again: %w", ref.Repo, ref.Commit, wrong)
	}
	if len(missing) > 0 {
		none.Missing = missing
		return Snapshot{}, none
	}
	return s, nil
}

// Cached lists the model revisions in the cache. It hashes nothing.
func (c *Client) Cached(ctx context.Context) ([]Cached, error) {
	list, err := os.ReadDir(c.cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the Hub cache: %w", err)
	}
	var out []Cached
	for _, d := range list {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		rest, ok := strings.CutPrefix(d.Name(), "models--")
		id := strings.Replace(rest, "--", "/", 1)
		if !ok || !isRepo(id) {
			continue
		}
		r, err := c.openRepo(id, false)
		if err != nil {
			c.warn(err)
			continue
		}
		refs := r.refs()
		for _, commit := range r.snapshots() {
			out = append(out, r.describe(ctx, commit, refs[commit]))
		}
		r.close()
	}
	return out, nil
}

func (r *repo) describe(ctx context.Context, commit string, refs []string) Cached {
	ref := Ref{Repo: r.id, Revision: commit, Commit: commit}
	x := Cached{Repo: r.id, Commit: commit, Dir: r.dir(commit)}
	for _, n := range refs {
		if !strings.HasPrefix(n, ownFolder+"/") {
			x.Refs = append(x.Refs, n)
		}
	}
	slices.Sort(x.Refs)
	e := r.c.catalogue.of(ref)
	if e != nil {
		x.Name = e.Name
	}
	for _, f := range r.files(commit) {
		if p, err := r.locate(commit, f); err == nil {
			x.Bytes += p.info.Size()
		}
	}
	wants, err := r.c.expected(r, ref, e)
	if err != nil {
		x.Missing = []string{indexFile}
		return x
	}
	a := r.audit(false)
	a.cheap = true
	for _, w := range wants {
		if _, err := a.file(ctx, commit, w); err != nil {
			x.Missing = append(x.Missing, w.path)
		}
	}
	return x
}

// files returns the names of everything in a snapshot that is no folder.
func (r *repo) files(commit string) []string {
	var out []string
	base := "snapshots/" + commit
	fs.WalkDir(r.root.FS(), base, func(p string, d fs.DirEntry, err error) error {
		if err != nil || len(out) >= maxEntries {
			return fs.SkipAll
		}
		if !d.IsDir() {
			out = append(out, strings.TrimPrefix(p, base+"/"))
		}
		return nil
	})
	return out
}

// Remove deletes one revision of a model from the cache, with the files that no
// other revision uses, and returns how many bytes that freed. The error of a
// model that is not there is fs.ErrNotExist. Programs that have the model
// loaded keep what they mapped, on Unix; on Windows removal fails.
func (c *Client) Remove(ctx context.Context, name string) (int64, error) {
	absent := fmt.Errorf("remove %s: not in the Hub cache %s: %w", name, c.cache, fs.ErrNotExist)
	ref, err := c.local(name)
	if errors.Is(err, ErrOffline) {
		return 0, absent
	}
	if err != nil {
		return 0, err
	}
	r, err := c.openRepo(ref.Repo, false)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, absent
	}
	if err != nil {
		return 0, err
	}
	defer r.close()
	before := r.used()
	rest := slices.DeleteFunc(r.snapshots(), func(s string) bool { return s == ref.Commit })
	if _, err := r.root.Lstat(filepath.Join("snapshots", ref.Commit)); err != nil && len(rest) > 0 {
		return 0, absent
	}
	if err := r.remove(ctx, ref.Commit, rest); err != nil {
		return 0, fmt.Errorf("remove %s: %w", name, cacheError(err))
	}
	return before - r.used(), nil
}

// remove deletes one commit; the commits in rest stay.
func (r *repo) remove(ctx context.Context, commit string, rest []string) error {
	if len(rest) == 0 {
		for _, d := range []string{"refs", "snapshots", "trees", ".no_exist", "blobs", "." + ownFolder} {
			if err := r.root.RemoveAll(d); err != nil {
				return err
			}
		}
		r.root.Close()
		os.Remove(r.root.Name()) // fails if there is something of somebody else's; then it stays
		return nil
	}
	keep := map[string]bool{}
	for _, other := range rest {
		for _, f := range r.files(other) {
			if p, err := r.locate(other, f); err == nil {
				keep[p.blob] = true
			}
		}
	}
	for _, n := range r.refs()[commit] {
		if err := r.root.Remove(filepath.FromSlash("refs/" + n)); err != nil {
			return err
		}
	}
	var blobs []string
	for _, f := range r.files(commit) {
		if p, err := r.locate(commit, f); err == nil && p.blob != "" && !keep[p.blob] {
			blobs = append(blobs, p.blob)
		}
	}
	for _, f := range r.readTree(commit) { // partial files
		for _, b := range []string{f.BlobID, f.LFSSHA256} {
			if b != "" && !keep[b] {
				blobs = append(blobs, b)
			}
		}
	}
	for _, d := range []string{"snapshots/" + commit, "trees/" + commit + ".json", ".no_exist/" + commit} {
		if err := r.root.RemoveAll(filepath.FromSlash(d)); err != nil {
			return err
		}
	}
	for _, b := range blobs {
		for _, n := range []string{b, b + partialExt} {
			if err := r.root.RemoveAll(filepath.FromSlash("blobs/" + n)); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// used returns the bytes of all regular files in the repository's folder.
func (r *repo) used() (n int64) {
	filepath.WalkDir(r.root.Name(), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if fi, err := d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil
	})
	return n
}

// Model returns a source for firewall.Options that takes the model from the
// cache, or fetches it on first use. A name that cannot be is an error of the
// source's first use.
func (c *Client) Model(name string) *Source { return &Source{client: c, name: name} }

// Model is [Client.Model] of a client with the zero Options, made on first use.
func Model(name string) *Source { return &Source{name: name} }

// A Source is a model by name. It is a firewall.Source, and safe for concurrent
// use.
type Source struct {
	name   string
	mu     sync.Mutex
	client *Client // nil until first use, if made by the package's Model
	commit string

	done, total int64 // bytes, of the call in hand or the last one
}

// Dir returns the model's directory, complete and verified. See [Client.Pull].
// A branch or tag is refused with ErrMoving unless Options.AcceptMoving is set:
// its content can change while the codebook that was calibrated on it does not.
func (s *Source) Dir(ctx context.Context) (string, error) {
	s.mu.Lock()
	if s.client == nil {
		c, err := New(Options{})
		if err != nil {
			s.mu.Unlock()
			return "", err
		}
		s.client = c
	}
	c := s.client
	s.mu.Unlock()
	ref, err := c.catalogue.parse(s.name)
	if err != nil {
		return "", err
	}
	if ref.Commit == "" && !c.opt.AcceptMoving {
		if ref, err = c.resolve(ctx, ref); err != nil {
			return "", err
		}
		return "", fmt.Errorf("%s: %w: it is at commit %s now; name that instead: %s@%s", s.name, ErrMoving, ref.Commit, ref.Repo, ref.Commit)
	}
	snap, err := c.pullTold(ctx, s.name, func(p Progress) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done, s.total = p.Done, p.Total
	})
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.commit = snap.Commit
	s.mu.Unlock()
	return snap.Dir, nil
}

// Revision returns the commit; empty while a branch or tag was not resolved.
func (s *Source) Revision() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.commit == "" {
		if ref, err := catalogue.parse(s.name); err == nil {
			return ref.Commit
		}
	}
	return s.commit
}

// Progress returns how many bytes of the model are there and how many there will
// be, for firewall.LoadState: while Dir runs and after it. 0 while unknown.
func (s *Source) Progress() (done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done, s.total
}

// String returns the name.
func (s *Source) String() string { return s.name }
