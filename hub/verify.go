package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const chunk = 256 << 10 // bytes read, hashed and written at a time

// A want is what a file must be. The fields that are known are compared.
type want struct {
	path   string
	size   int64  // -1: not known
	sha256 string // of the content
	git    string // git's blob hash of the content
	blob   string // its name in blobs/, if the list of files says so
	pinned bool   // size and hashes are part of this release

	hint listed // what the cache's own list says: used only where nothing else is known
}

// check compares size and hashes as far as both sides know them, and wants at
// least one hash.
func (w want) check(got stamp) error {
	if w.size >= 0 && got.Size != w.size {
		return &MismatchError{Path: w.path, Kind: "size", Pinned: w.pinned, Want: strconv.FormatInt(w.size, 10), Got: strconv.FormatInt(got.Size, 10)}
	}
	if w.sha256 != "" && got.SHA256 != w.sha256 {
		return &MismatchError{Path: w.path, Kind: "sha256", Pinned: w.pinned, Want: w.sha256, Got: got.SHA256}
	}
	if w.git != "" && got.Git != w.git {
		return &MismatchError{Path: w.path, Kind: "git blob hash", Pinned: w.pinned, Want: w.git, Got: got.Git}
	}
	return nil
}

// knows tells whether a stamp has every hash that w asks for.
func (w want) knows(s stamp) bool {
	return (w.sha256 == "" || s.SHA256 != "") && (w.git == "" || s.Git != "")
}

// errUnknown: there is nothing to compare a file with.
var errUnknown = errors.New("its hash is not known without the Hub")

// settle fills in what is known of a file in the cache. The catalogue and a
// list that the Hub just sent come first; then the blob's name, which is a
// hash; for a file without a blob, the list in the cache.
func (w want) settle(p place) (want, error) {
	switch {
	case w.sha256 != "" || w.git != "":
	case len(p.blob) == 64:
		w.sha256 = p.blob
	case len(p.blob) == 40:
		w.git = p.blob
	case w.hint.LFSSHA256 != "":
		w.sha256, w.size = w.hint.LFSSHA256, w.hint.Size
	case w.hint.BlobID != "":
		w.git, w.size = w.hint.BlobID, w.hint.Size
	default:
		return w, fmt.Errorf("%s: %w", w.path, errUnknown)
	}
	return w, nil
}

// A digest hashes content as w asks for it.
type digest struct {
	n           int64
	sha256, git hash.Hash // git is nil unless asked for
}

// newDigest begins. Git's hash is over "blob ", the size, a zero byte and the
// content, so the size must be known first.
func newDigest(w want, size int64) *digest {
	d := &digest{sha256: sha256.New()}
	if w.git != "" {
		d.git = sha1.New()
		fmt.Fprintf(d.git, "blob %d\x00", size)
	}
	return d
}

func (d *digest) Write(b []byte) (int, error) {
	d.n += int64(len(b))
	d.sha256.Write(b)
	if d.git != nil {
		d.git.Write(b)
	}
	return len(b), nil
}

// sum returns a stamp with size and hashes only.
func (d *digest) sum() stamp {
	s := stamp{Size: d.n, SHA256: hex.EncodeToString(d.sha256.Sum(nil))}
	if d.git != nil {
		s.Git = hex.EncodeToString(d.git.Sum(nil))
	}
	return s
}

// A contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(b)
}

// hashFile reads a file of the repository's folder and returns its stamp.
func (r *repo) hashFile(ctx context.Context, name string, w want, report func(n int64)) (stamp, error) {
	f, fi, err := r.open(name)
	if err != nil {
		return stamp{}, err
	}
	defer f.Close()
	d := newDigest(w, fi.Size())
	buf := make([]byte, chunk)
	for {
		n, err := contextReader{ctx, f}.Read(buf)
		d.Write(buf[:n])
		if report != nil && n > 0 {
			report(int64(n))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return stamp{}, err
		}
	}
	s, sum := stampOf(fi), d.sum()
	if after, err := f.Stat(); err != nil || stampOf(after) != s {
		return stamp{}, fmt.Errorf("%s: %w", name, errChanged)
	}
	if sum.Size != s.Size {
		return stamp{}, fmt.Errorf("%s: %w", name, errChanged)
	}
	s.SHA256, s.Git = sum.SHA256, sum.Git
	return s, nil
}

// An audit checks files of one repository in the cache against what they must
// be, hashing each at most once, and those whose stamp still fits not at all.
type audit struct {
	r       *repo
	full    bool // hash everything
	cheap   bool // hash nothing: sizes must do
	old     map[string]stamp
	fresh   map[string]stamp
	report  func(file string, n int64)
	looking func(file string)
}

func (r *repo) audit(full bool) *audit {
	return &audit{r: r, full: full, old: r.readStamps(), fresh: map[string]stamp{}}
}

// file checks one file of a snapshot and returns what it turned out to be.
func (a *audit) file(ctx context.Context, commit string, w want) (File, error) {
	p, err := a.r.locate(commit, w.path)
	if err != nil {
		return File{}, err
	}
	if w, err = w.settle(p); err != nil {
		return File{}, err
	}
	return a.check(ctx, p.name, p.info, w)
}

// maxChanges is how often a file is read again because it was replaced meanwhile:
// where locks have no effect, each of several programs puts its own copy in place.
const maxChanges = 16

// check checks one regular file.
func (a *audit) check(ctx context.Context, name string, fi fs.FileInfo, w want) (File, error) {
	now := stampOf(fi)
	if err := w.check(stamp{Size: fi.Size(), SHA256: w.sha256, Git: w.git}); err != nil {
		return File{}, err // the size alone says it
	}
	if a.cheap {
		return File{Path: w.path, Size: fi.Size()}, nil
	}
	s, ok := a.fresh[name]
	if !ok && !a.full {
		s, ok = a.old[name]
	}
	if !ok || s.at() != now || !w.knows(s) {
		if a.looking != nil {
			a.looking(w.path)
		}
		var err error
		for range maxChanges {
			s, err = a.r.hashFile(ctx, name, w, func(n int64) {
				if a.report != nil {
					a.report(w.path, n)
				}
			})
			if !errors.Is(err, errChanged) {
				break
			}
		}
		if err != nil {
			return File{}, err
		}
		a.fresh[name] = s
	} else if a.report != nil {
		a.report(w.path, s.Size)
	}
	if err := w.check(s); err != nil {
		return File{}, err
	}
	return File{Path: w.path, Size: s.Size, SHA256: s.SHA256, Git: w.git}, nil
}

// selection picks the files to fetch or to expect out of a list. A checkpoint in
// one file makes shards beside it superfluous.
func (c *Client) selection(names []string) []string {
	patterns := c.opt.Files
	if patterns == nil {
		patterns = DetectorFiles
	}
	single := c.opt.Files == nil && slices.Contains(names, "model.safetensors")
	var out []string
	for _, n := range names {
		if single && n != "model.safetensors" && (n == indexFile || match("model-?????-of-?????.safetensors", n)) {
			continue
		}
		if slices.ContainsFunc(patterns, func(p string) bool { return match(p, n) }) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

const indexFile = "model.safetensors.index.json"

// shards returns the files that an index names.
func shards(index []byte) ([]string, error) {
	var x struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &x); err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	seen := map[string]bool{}
	var out []string
	for _, name := range x.Map {
		if !seen[name] {
			if strings.Contains(name, "/") || !strings.HasSuffix(name, ".safetensors") || !isPortable(name) {
				return nil, fmt.Errorf("%s: names a shard that is no plain file name", indexFile)
			}
			seen[name] = true
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: names no shards", indexFile)
	}
	slices.Sort(out)
	return out, nil
}

// pin adds what this release knows of a file.
func (w want) pin(e *Entry) want {
	if e == nil {
		return w
	}
	for _, f := range e.Files {
		if f.Path == w.path {
			w.sha256, w.git, w.size, w.pinned = f.SHA256, f.Git, f.Size, f.SHA256 != ""
		}
	}
	return w
}

// expected says which files of a commit there should be in the cache, as far as
// that is known without the Hub: from the catalogue, the list in the cache, and
// what no detector can do without.
func (c *Client) expected(r *repo, ref Ref, e *Entry) ([]want, error) {
	list := r.readTree(ref.Commit)
	names := map[string]bool{}
	for _, n := range c.selection(keys(list)) {
		names[n] = true
	}
	if c.opt.Files == nil {
		if e != nil {
			for _, f := range e.Files {
				names[f.Path] = true
			}
		}
		names["config.json"], names["tokenizer.json"] = true, true
		if _, err := r.locate(ref.Commit, "model.safetensors"); err == nil || !names[indexFile] {
			_, err2 := r.locate(ref.Commit, indexFile)
			if err == nil || err2 != nil {
				names["model.safetensors"] = true
			} else {
				names[indexFile] = true
			}
		}
		if names[indexFile] && !names["model.safetensors"] {
			if p, err := r.locate(ref.Commit, indexFile); err == nil {
				b, err := r.read(p.name, maxIndex)
				if err != nil {
					return nil, err
				}
				more, err := shards(b)
				if err != nil {
					return nil, err
				}
				for _, s := range more {
					names[s] = true
				}
			}
		}
	}
	var out []want
	for n := range names {
		out = append(out, want{path: n, size: -1, hint: list[n]}.pin(e))
	}
	slices.SortFunc(out, func(a, b want) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

func keys(l listing) []string {
	out := make([]string, 0, len(l))
	for n := range l {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// wanted turns the Hub's list into what to fetch, and holds it against the
// catalogue: the Hub may know more than this release, never something else.
func (c *Client) wanted(l listing, e *Entry) ([]want, error) {
	names := c.selection(keys(l))
	if c.opt.Files == nil {
		for _, n := range []string{"config.json", "tokenizer.json"} {
			if !slices.Contains(names, n) {
				return nil, fmt.Errorf("%w: %s: not a model that this program can read", ErrEntry, n)
			}
		}
		if !slices.Contains(names, "model.safetensors") && !slices.Contains(names, indexFile) {
			return nil, fmt.Errorf("%w: model.safetensors or its shards: weights in other forms are not read", ErrEntry)
		}
		if e != nil {
			for _, f := range e.Files {
				if !slices.Contains(names, f.Path) {
					return nil, fmt.Errorf("the Hub's list lacks a file that this release pins: %w", &MismatchError{Path: f.Path, Kind: "file", Pinned: true, Want: "there", Got: "absent"})
				}
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: nothing in the repository matches the patterns", ErrEntry)
	}
	folded := map[string]string{}
	var out []want
	for _, n := range names {
		f := l[n]
		if !isPortable(n) {
			return nil, fmt.Errorf("%w: a file's name (%d bytes) cannot be written on every system", ErrNotHub, len(n))
		}
		if other, twice := folded[strings.ToLower(n)]; twice {
			return nil, fmt.Errorf("%w: files %s and %s differ only in case", ErrNotHub, other, n)
		}
		folded[strings.ToLower(n)] = n
		w := want{path: n, size: f.Size, blob: f.BlobID, git: f.BlobID}
		if f.LFSSHA256 != "" {
			w.blob, w.sha256, w.git = f.LFSSHA256, f.LFSSHA256, ""
		}
		if p := (want{path: n, size: -1}).pin(e); p.pinned {
			if err := p.agrees(f); err != nil {
				return nil, fmt.Errorf("the Hub lists another file than this release pins: %w", err)
			}
			w.sha256, w.pinned = p.sha256, true
		}
		out = append(out, w)
	}
	return out, nil
}

// agrees compares what this release pins with the Hub's list.
func (w want) agrees(f listed) error {
	s := stamp{Size: f.Size, SHA256: w.sha256, Git: w.git}
	if f.LFSSHA256 != "" {
		s.SHA256 = f.LFSSHA256
	} else if w.git != "" {
		s.Git = f.BlobID
	}
	return w.check(s)
}

// dir returns a snapshot's directory.
func (r *repo) dir(commit string) string {
	return filepath.Join(r.root.Name(), "snapshots", commit)
}
