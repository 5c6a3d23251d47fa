package hub

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// ownFolder holds what only this client writes into a repository's folder,
	// and names its references. Other clients pass over it.
	ownFolder = "alknet-firewall"

	stampFile  = "." + ownFolder + "/verified.json"
	stateLock  = "." + ownFolder + "/lock"
	stateTemp  = "." + ownFolder + "/tmp"
	partialExt = "." + ownFolder + ".incomplete" // the reference client's prune knows *.incomplete, and opens no such name

	maxRef     = 256      // bytes of a reference: 40 and perhaps a newline; more is no reference
	maxState   = 64 << 20 // bytes of trees/*.json and verified.json: far above any listing, 10⁵ files have 20 MB
	maxIndex   = 64 << 20 // bytes of model.safetensors.index.json
	maxEntries = 100_000  // files of a repository
	maxSize    = 8 << 40  // bytes of a file: more than any disk, and maxEntries of them still add up in an int64
	stateWait  = 10 * time.Second
)

// A repo is a repository's folder in the cache. All access goes through
// os.Root: no name and no link leads out of it.
type repo struct {
	c    *Client
	id   string
	root *os.Root
}

// folder returns the name of a repository's folder in the cache.
func folder(id string) string { return "models--" + strings.ReplaceAll(id, "/", "--") }

// openRepo opens a repository's folder. If it is not there, the error is
// fs.ErrNotExist, unless create is set.
func (c *Client) openRepo(id string, create bool) (*repo, error) {
	dir := filepath.Join(c.cache, folder(id))
	if create {
		if err := os.MkdirAll(c.cache, 0o777); err != nil {
			return nil, fmt.Errorf("create the Hub cache: %w", cacheError(err))
		}
		c.tag()
		for _, d := range []string{"blobs", "refs", "snapshots", "trees", "." + ownFolder} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o777); err != nil {
				return nil, fmt.Errorf("create %s in the Hub cache: %w", folder(id), cacheError(err))
			}
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s in the Hub cache: %w", folder(id), err)
	}
	return &repo{c: c, id: id, root: root}, nil
}

func (r *repo) close() { r.root.Close() }

// tag marks the cache for backup programs, as the reference client does.
func (c *Client) tag() {
	const text = "Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a cache of models from the Hugging Face Hub.\n"
	f, err := os.OpenFile(filepath.Join(c.cache, "CACHEDIR.TAG"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err == nil {
		f.WriteString(text)
		f.Close()
	}
}

// cacheError turns what the operating system says about writing into errors
// that a caller can tell apart.
func cacheError(err error) error {
	var n syscall.Errno
	switch {
	case errors.As(err, &n) && noSpace(n):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case errors.Is(err, fs.ErrPermission), errors.As(err, &n) && isReadOnly(n):
		return fmt.Errorf("%w (set HF_HUB_CACHE to a directory that can): %w", ErrReadOnly, err)
	}
	return err
}

func isReadOnly(n syscall.Errno) bool {
	if runtime.GOOS == "windows" {
		return n == 19 // ERROR_WRITE_PROTECT
	}
	return n == syscall.EROFS
}

// errChanged says that another program replaced a file while it was opened or read.
var errChanged = errors.New("changed while it was read")

// open opens a regular file for reading: no link, no FIFO, no device.
func (r *repo) open(name string) (*os.File, fs.FileInfo, error) {
	name = filepath.FromSlash(name)
	before, err := r.root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := r.root.OpenFile(name, os.O_RDONLY|nonblock|largeFile, 0)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !os.SameFile(before, fi) {
		err = fmt.Errorf("%s: %w", name, errChanged)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// read reads a regular file of at most limit bytes.
func (r *repo) read(name string, limit int64) ([]byte, error) {
	f, fi, err := r.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, limit %d", name, fi.Size(), limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return b, err
}

// publish makes name appear whole or not at all: make creates a file of that
// temporary name, which is then renamed. Only one process at a time uses the
// fixed temporary name, so that a killed one leaves at most one behind, which
// the next one replaces; where there are no locks the name is unique.
func (r *repo) publish(ctx context.Context, name string, make func(temp string) error) error {
	l, err := r.c.acquire(ctx, r.root, stateLock, stateWait, nil, nil)
	if err != nil {
		return err
	}
	defer l.release()
	temp := stateTemp
	if !l.held {
		temp += "." + unique()
	}
	temp = filepath.FromSlash(temp)
	r.root.RemoveAll(temp)
	if err := r.mkdirs(path.Dir(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, cacheError(err))
	}
	if err := make(temp); err != nil {
		r.root.RemoveAll(temp)
		return fmt.Errorf("write %s: %w", name, cacheError(err))
	}
	if err := r.rename(temp, name); err != nil {
		r.root.RemoveAll(temp)
		return fmt.Errorf("write %s: %w", name, cacheError(err))
	}
	return nil
}

// mkdirs makes a directory and its parents; something else in its place goes.
func (r *repo) mkdirs(dir string) error {
	err := r.root.MkdirAll(filepath.FromSlash(dir), 0o777)
	if err == nil || dir == "." {
		return err
	}
	for d := dir; d != "."; d = path.Dir(d) {
		if fi, e := r.root.Lstat(filepath.FromSlash(d)); e == nil && !fi.IsDir() {
			if e := r.root.RemoveAll(filepath.FromSlash(d)); e != nil {
				return e
			}
			return r.root.MkdirAll(filepath.FromSlash(dir), 0o777)
		}
	}
	return err
}

// rename moves a file into place, whatever is there, and makes the directory
// durable.
func (r *repo) rename(from, to string) error {
	from, to = filepath.FromSlash(from), filepath.FromSlash(to)
	err := r.root.Rename(from, to)
	for i := 0; err != nil && runtime.GOOS == "windows" && i < 10; i++ { // somebody has it open, or a virus scanner has
		time.Sleep(100 * time.Millisecond)
		err = r.root.Rename(from, to)
	}
	if err != nil {
		if fi, e := r.root.Lstat(to); e == nil && fi.IsDir() {
			if e := r.root.RemoveAll(to); e != nil {
				return e
			}
			err = r.root.Rename(from, to)
		}
	}
	if err != nil {
		return err
	}
	r.syncDir(filepath.Dir(to))
	return nil
}

// syncDir makes a directory's entries durable, where that exists.
func (r *repo) syncDir(dir string) {
	if d, err := r.root.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}

// writeFile publishes content, unless it is there already.
func (r *repo) writeFile(ctx context.Context, name string, content []byte) error {
	if old, err := r.read(name, int64(len(content))); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return r.publish(ctx, name, func(temp string) error { return r.writeNew(temp, content) })
}

// writeNew makes a file that is durable.
func (r *repo) writeNew(name string, content []byte) error {
	f, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func unique() string {
	var b [4]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// readRef returns the commit that a branch or tag had when it was last asked
// for; empty if there is none, or if the file holds anything but a commit. A
// newline at its end, which the reference client stumbles over, is fine.
func (r *repo) readRef(revision string) string {
	b, err := r.read("refs/"+revision, maxRef)
	if err != nil {
		return ""
	}
	return parseRef(b)
}

func parseRef(b []byte) string {
	if s := strings.TrimSpace(string(b)); isCommit(s) {
		return s
	}
	return ""
}

// refs returns all references, by commit.
func (r *repo) refs() map[string][]string {
	out := map[string][]string{}
	n := 0
	fs.WalkDir(r.root.FS(), "refs", func(p string, d fs.DirEntry, err error) error {
		if n++; err != nil || n > maxEntries {
			return fs.SkipAll
		}
		if name := strings.TrimPrefix(p, "refs/"); d.Type().IsRegular() {
			if commit := r.readRef(name); commit != "" {
				out[commit] = append(out[commit], name)
			}
		}
		return nil
	})
	return out
}

// A listed file is one of a commit's list, in the form of trees/<commit>.json.
// Keys are in alphabetical order, as the reference client writes them.
type listed struct {
	BlobID    string `json:"blob_id"` // git's hash; for a file in LFS that of its pointer, which is no blob's name
	LFSSHA256 string `json:"lfs_sha256,omitempty"`
	LFSSize   int64  `json:"lfs_size,omitempty"`
	Size      int64  `json:"size"`
	XetHash   string `json:"xet_hash,omitempty"`
}

// check tells whether the entry can be: a name that is no name, or hashes that
// are none, spoil the whole list.
func (l listed) check(name string) error {
	switch {
	case isHostile(name):
		return fmt.Errorf("a file name leaves its folder or cannot be shown (%d bytes)", len(name))
	case !isHex(l.BlobID, 40):
		return fmt.Errorf("%s: no git hash", name)
	case l.LFSSHA256 != "" && !isHex(l.LFSSHA256, 64):
		return fmt.Errorf("%s: no sha256", name)
	case l.Size < 0 || l.LFSSize < 0:
		return fmt.Errorf("%s: negative size", name)
	case l.Size > maxSize:
		return fmt.Errorf("%s: %d bytes, limit %d", name, l.Size, int64(maxSize))
	case l.LFSSHA256 != "" && l.LFSSize != l.Size:
		return fmt.Errorf("%s: two sizes, %d and %d", name, l.Size, l.LFSSize)
	}
	return nil
}

// A listing is all files of a commit.
type listing map[string]listed

type treeFile struct {
	Files   listing `json:"files"`
	Version int     `json:"format_version"`
}

// encode returns the reference client's form: keys sorted, indented by one.
func (l listing) encode() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(treeFile{Files: l, Version: 1}); err != nil {
		panic("hub: " + err.Error()) // strings and numbers
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// decodeListing reads trees/<commit>.json. Unknown versions and anything
// malformed count as absent: the error says why.
func decodeListing(b []byte) (listing, error) {
	var t treeFile
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("list of files: %w", err)
	}
	if t.Version != 1 || t.Files == nil || len(t.Files) > maxEntries {
		return nil, fmt.Errorf("list of files: version %d with %d files, want version 1 and at most %d", t.Version, len(t.Files), maxEntries)
	}
	for name, f := range t.Files {
		if err := f.check(name); err != nil {
			return nil, fmt.Errorf("list of files: %w", err)
		}
	}
	return t.Files, nil
}

// readTree returns the list of a commit's files that is in the cache, or nil. It
// is as trustworthy as the cache: it says which files there should be, and is
// compared with content only where nothing better is known.
func (r *repo) readTree(commit string) listing {
	b, err := r.read("trees/"+commit+".json", maxState)
	if err != nil {
		return nil
	}
	l, err := decodeListing(b)
	if err != nil {
		return nil
	}
	return l
}

// A place is where a file of a snapshot is.
type place struct {
	name string // of the regular file, below the repository's folder
	blob string // its name in blobs/; empty if the snapshot itself holds the file
	info fs.FileInfo
}

// errElsewhere: a snapshot's link leads somewhere else than to a blob.
var errElsewhere = errors.New("the link does not lead into blobs/")

// locate finds a file of a snapshot: a link to ../../blobs/<name> (one more ../
// for each folder), or a regular file, which other clients make where there
// are no links. Nothing else counts.
func (r *repo) locate(commit, file string) (place, error) {
	name := path.Join("snapshots", commit, file)
	fi, err := r.root.Lstat(filepath.FromSlash(name))
	if err != nil {
		return place{}, err
	}
	p := place{name: name, info: fi}
	if fi.Mode()&fs.ModeSymlink != 0 {
		to, err := r.root.Readlink(filepath.FromSlash(name))
		if err != nil {
			return place{}, err
		}
		blob, ok := strings.CutPrefix(filepath.ToSlash(to), strings.Repeat("../", strings.Count(name, "/"))+"blobs/")
		if !ok || !isBlob(blob) {
			return place{}, fmt.Errorf("%s: %w", name, errElsewhere)
		}
		p.blob, p.name = blob, "blobs/"+blob
		if p.info, err = r.root.Lstat(filepath.FromSlash(p.name)); err != nil {
			return place{}, err
		}
	}
	if !p.info.Mode().IsRegular() {
		return place{}, fmt.Errorf("%s: not a regular file", p.name)
	}
	return p, nil
}

// link puts a blob into a snapshot: a relative symbolic link, or where there
// are none the file itself, moved (fresh) or copied.
func (r *repo) link(ctx context.Context, commit, file, blob string, fresh bool) error {
	name := path.Join("snapshots", commit, file)
	if p, err := r.locate(commit, file); err == nil && p.blob == blob {
		return nil
	}
	if !r.c.noLinks.Load() {
		target := strings.Repeat("../", strings.Count(name, "/")) + "blobs/" + blob
		err := r.publish(ctx, name, func(temp string) error {
			return r.root.Symlink(filepath.FromSlash(target), temp)
		})
		if err == nil || errors.Is(err, ErrNoSpace) || ctx.Err() != nil {
			return err
		}
		if !r.c.env.is("HF_HUB_DISABLE_SYMLINKS_WARNING") {
			r.c.warn(fmt.Errorf("no symbolic links in the Hub cache: revisions will not share files: %w", err))
		}
		r.c.noLinks.Store(true)
	}
	if fresh {
		if err := r.mkdirs(path.Dir(name)); err != nil {
			return fmt.Errorf("write %s: %w", name, cacheError(err))
		}
		if err := r.rename("blobs/"+blob, name); err != nil {
			return fmt.Errorf("write %s: %w", name, cacheError(err))
		}
		return nil
	}
	return r.copyTo(ctx, "blobs/"+blob, name)
}

// copyTo copies a file inside the repository's folder.
func (r *repo) copyTo(ctx context.Context, from, to string) error {
	return r.publish(ctx, to, func(temp string) error {
		in, _, err := r.open(from)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := r.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|largeFile, 0o666)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		if err == nil {
			err = out.Sync()
		}
		return errors.Join(err, out.Close())
	})
}

// A stamp remembers that a file had this hash when the file system said this of
// it, so that a start need not read hundreds of megabytes. It protects from
// accidents, not from somebody who can write the cache: Verify reads everything.
type stamp struct {
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime_ns"`
	CTime  int64  `json:"ctime_ns"`
	Inode  uint64 `json:"inode"`
	SHA256 string `json:"sha256,omitempty"`
	Git    string `json:"git,omitempty"`
}

type stampsFile struct {
	Files   map[string]stamp `json:"files"` // by the regular file's name below the repository's folder
	Version int              `json:"format_version"`
}

func stampOf(fi fs.FileInfo) stamp {
	ino, ctime := inode(fi)
	return stamp{Size: fi.Size(), MTime: fi.ModTime().UnixNano(), CTime: ctime, Inode: ino}
}

// at returns the stamp without its hashes.
func (s stamp) at() stamp {
	s.SHA256, s.Git = "", ""
	return s
}

// readStamps returns the record; anything malformed counts as none.
func (r *repo) readStamps() map[string]stamp {
	var f stampsFile
	b, err := r.read(stampFile, maxState)
	if err != nil || json.Unmarshal(b, &f) != nil || f.Version != 1 || f.Files == nil {
		return map[string]stamp{}
	}
	return f.Files
}

// addStamps records what was just hashed, and forgets files that are gone. A
// cache that cannot be written is fine: the next start hashes again.
func (r *repo) addStamps(ctx context.Context, fresh map[string]stamp) {
	if len(fresh) == 0 {
		return
	}
	r.publish(ctx, stampFile, func(temp string) error { // under the lock, so that nobody's stamps are lost
		all := r.readStamps()
		for name := range all {
			if !filepath.IsLocal(filepath.FromSlash(name)) {
				delete(all, name)
			} else if _, err := r.root.Lstat(filepath.FromSlash(name)); err != nil {
				delete(all, name)
			}
		}
		maps.Copy(all, fresh)
		b, err := json.MarshalIndent(stampsFile{Files: all, Version: 1}, "", " ")
		if err != nil {
			return err
		}
		return r.writeNew(temp, b)
	})
}

// snapshots returns the commits that have a snapshot.
func (r *repo) snapshots() []string {
	d, err := r.root.Open("snapshots")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxEntries)
	names = slices.DeleteFunc(names, func(n string) bool { return !isCommit(n) })
	slices.Sort(names)
	return names
}
