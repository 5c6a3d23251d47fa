package hub

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ExportFile is the name of the list that an export carries: model, commit,
// files and their hashes. It comes first in a .tar file.
const ExportFile = "alknet-firewall-model.json"

const maxExport = 64 << 20 // bytes of ExportFile

// An export is the content of ExportFile.
type export struct {
	Version int            `json:"format_version"` // 1
	Repo    string         `json:"repo"`
	Commit  string         `json:"commit"`
	Files   []exportedFile `json:"files"`          // in the order in which they follow
	Tree    listing        `json:"tree,omitempty"` // all files of the commit, as in trees/<commit>.json
}

type exportedFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Blob   string `json:"blob"` // its name in blobs/
}

// Export copies a complete model out of the cache, verified on the way: to a
// directory, which must not exist or be empty, or to one file if path ends in
// ".tar". The directory can be loaded as it is; both can be imported on a
// machine without a network. Two exports of a model have the same bytes.
func (c *Client) Export(ctx context.Context, name, path string) (Snapshot, error) {
	s, err := c.Find(ctx, name)
	if err != nil {
		return Snapshot{}, err
	}
	r, err := c.openRepo(s.Repo, false)
	if err != nil {
		return Snapshot{}, err
	}
	defer r.close()
	t := c.track(s.Ref)
	t.restart(s.Bytes)
	x := export{Version: 1, Repo: s.Repo, Commit: s.Commit, Tree: r.readTree(s.Commit)}
	for _, f := range s.Files {
		p, err := r.locate(s.Commit, f.Path)
		if err != nil {
			return Snapshot{}, err
		}
		blob := p.blob
		if blob == "" { // a snapshot without links
			switch l := x.Tree[f.Path]; {
			case l.LFSSHA256 != "":
				blob = l.LFSSHA256
			case l.BlobID != "":
				blob = l.BlobID
			default:
				blob = f.SHA256
			}
		}
		x.Files = append(x.Files, exportedFile{Path: f.Path, Size: f.Size, SHA256: f.SHA256, Blob: blob})
	}
	list, err := json.MarshalIndent(x, "", " ")
	if err != nil {
		return Snapshot{}, err
	}
	if strings.HasSuffix(path, ".tar") {
		err = r.exportTar(ctx, x, list, path, t)
	} else {
		err = r.exportDir(ctx, x, list, path, t)
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("export %s to %s: %w", name, path, cacheError(err))
	}
	t.phase(PhaseDone, "")
	return s, nil
}

// copyOut copies one file and checks what it copied.
func (r *repo) copyOut(ctx context.Context, w io.Writer, commit string, f exportedFile, t *tracker) error {
	t.phase(PhaseVerify, f.Path)
	p, err := r.locate(commit, f.Path)
	if err != nil {
		return err
	}
	in, _, err := r.open(p.name)
	if err != nil {
		return err
	}
	defer in.Close()
	want := want{path: f.Path, size: f.Size, sha256: f.SHA256}
	d := newDigest(want, f.Size)
	if _, err := io.Copy(io.MultiWriter(w, d, counter{t}), io.LimitReader(contextReader{ctx, in}, f.Size+1)); err != nil {
		return err
	}
	return want.check(d.sum())
}

// A counter counts what is written as found.
type counter struct{ t *tracker }

func (c counter) Write(b []byte) (int, error) {
	c.t.found(int64(len(b)))
	return len(b), nil
}

func (r *repo) exportDir(ctx context.Context, x export, list []byte, path string, t *tracker) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if old, err := os.ReadDir(path); err != nil || len(old) > 0 {
		return errors.Join(err, errors.New("the directory is not empty"))
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	write := func(name string, fill func(io.Writer) error) error {
		name = filepath.FromSlash(name)
		if err := root.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			return err
		}
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|largeFile, 0o666)
		if err != nil {
			return err
		}
		err = fill(f)
		if err == nil {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	}
	for _, f := range x.Files {
		if err := write(f.Path, func(w io.Writer) error { return r.copyOut(ctx, w, x.Commit, f, t) }); err != nil {
			return err
		}
	}
	return write(ExportFile, func(w io.Writer) error { // last: without it nobody imports the directory
		_, err := w.Write(list)
		return err
	})
}

func (r *repo) exportTar(ctx context.Context, x export, list []byte, path string, t *tracker) (err error) {
	temp := path + ".partial"
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			os.Remove(temp)
		}
	}()
	w := tar.NewWriter(out)
	head := func(name string, size int64) error {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: tar.FormatPAX})
	}
	if err := head(ExportFile, int64(len(list))); err != nil {
		return err
	}
	if _, err := w.Write(list); err != nil {
		return err
	}
	for _, f := range x.Files {
		if err := head(f.Path, f.Size); err != nil {
			return err
		}
		if err := r.copyOut(ctx, w, x.Commit, f, t); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// decodeExport reads an ExportFile and checks all that it says about itself.
func (c *Client) decodeExport(b []byte) (export, Ref, []want, error) {
	var x export
	fail := func(format string, args ...any) (export, Ref, []want, error) {
		return export{}, Ref{}, nil, fmt.Errorf("%s: %w", ExportFile, fmt.Errorf(format, args...))
	}
	if err := json.Unmarshal(b, &x); err != nil {
		return fail("%w", err)
	}
	if x.Version != 1 {
		return fail("version %d, this program reads 1", x.Version)
	}
	if !isRepo(x.Repo) || !isCommit(x.Commit) || len(x.Files) == 0 || len(x.Files) > maxEntries {
		return fail("names no model, commit or files")
	}
	ref := Ref{Name: x.Repo + "@" + x.Commit, Repo: x.Repo, Revision: x.Commit, Commit: x.Commit}
	e := c.catalogue.of(ref)
	if e != nil {
		ref.Name = e.Name
	}
	var wants []want
	seen := map[string]bool{}
	for _, f := range x.Files {
		w := want{path: f.Path, size: f.Size, sha256: f.SHA256, blob: f.Blob}
		switch {
		case !isPortable(f.Path):
			return fail("a file's name cannot be written on every system")
		case seen[strings.ToLower(f.Path)]:
			return fail("%s: listed twice", f.Path)
		case f.Size < 0 || f.Size > maxSize || !isHex(f.SHA256, 64) || !isBlob(f.Blob) || (len(f.Blob) == 64 && f.Blob != f.SHA256):
			return fail("%s: sizes or hashes are none", f.Path)
		}
		seen[strings.ToLower(f.Path)] = true
		if len(f.Blob) == 40 {
			w.git = f.Blob
		}
		if p := (want{path: f.Path, size: -1}).pin(e); p.pinned {
			if err := p.check(stamp{Size: f.Size, SHA256: f.SHA256, Git: p.git}); err != nil {
				return fail("%w", err)
			}
			w.pinned = true
		}
		wants = append(wants, w)
	}
	for name, f := range x.Tree {
		if err := f.check(name); err != nil {
			return fail("%w", err)
		}
	}
	return x, ref, wants, nil
}

// Import puts an exported directory or .tar file into the cache, verified on the
// way. Models of the catalogue are held against what this release pins; of
// others only the export's own list vouches for the content.
func (c *Client) Import(ctx context.Context, path string) (Snapshot, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return Snapshot{}, fmt.Errorf("import: %w", err)
	}
	var s Snapshot
	if fi.IsDir() {
		s, err = c.importDir(ctx, path)
	} else {
		s, err = c.importTar(ctx, path)
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("import %s: %w", path, err)
	}
	return s, nil
}

func (c *Client) importDir(ctx context.Context, path string) (Snapshot, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return Snapshot{}, err
	}
	defer root.Close()
	from := &repo{c: c, root: root}
	list, err := from.read(ExportFile, maxExport)
	if err != nil {
		return Snapshot{}, fmt.Errorf("%w (is it a directory that export made?)", err)
	}
	i := 0
	return c.take(ctx, list, func(wants []want) (string, io.ReadCloser, error) {
		if i == len(wants) {
			return "", nil, io.EOF
		}
		name := wants[i].path
		i++
		f, _, err := from.open(name)
		return name, f, err
	})
}

func (c *Client) importTar(ctx context.Context, path string) (Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return Snapshot{}, err
	}
	defer f.Close()
	t := tar.NewReader(f)
	h, err := t.Next()
	if err != nil || h.Name != ExportFile || h.Typeflag != tar.TypeReg || h.Size > maxExport {
		return Snapshot{}, fmt.Errorf("does not begin with %s: no export (%w)", ExportFile, errors.Join(err, ErrCorrupt))
	}
	list, err := io.ReadAll(t)
	if err != nil {
		return Snapshot{}, err
	}
	return c.take(ctx, list, func([]want) (string, io.ReadCloser, error) {
		h, err := t.Next()
		if err != nil {
			return "", nil, err
		}
		if h.Typeflag != tar.TypeReg {
			return "", nil, fmt.Errorf("%w: an entry is no regular file", ErrCorrupt)
		}
		return h.Name, io.NopCloser(t), nil
	})
}

// take imports what next returns, file by file until io.EOF.
func (c *Client) take(ctx context.Context, list []byte, next func([]want) (string, io.ReadCloser, error)) (Snapshot, error) {
	x, ref, wants, err := c.decodeExport(list)
	if err != nil {
		return Snapshot{}, err
	}
	p := c.plan(ctx, ref, wants)
	if err := c.room(p.Missing, len(wants)); err != nil {
		return Snapshot{}, err
	}
	r, err := c.openRepo(ref.Repo, true)
	if err != nil {
		return Snapshot{}, err
	}
	defer r.close()
	if x.Tree != nil {
		if err := r.writeTree(ctx, ref.Commit, x.Tree); err != nil {
			return Snapshot{}, err
		}
	}
	t := c.track(ref)
	t.restart(p.Bytes)
	left := slices.Clone(wants)
	for {
		name, src, err := next(wants)
		if errors.Is(err, io.EOF) && src == nil {
			break
		}
		if err != nil {
			return Snapshot{}, err
		}
		i := slices.IndexFunc(left, func(w want) bool { return w.path == name })
		if i < 0 {
			src.Close()
			return Snapshot{}, fmt.Errorf("%w: an entry (%d bytes of name) is not in the list, or comes twice", ErrCorrupt, len(name))
		}
		w := left[i]
		left = slices.Delete(left, i, i+1)
		err = r.obtain(ctx, ref, w, t, func(p *partial) error { return p.take(ctx, src, t) })
		src.Close()
		if err != nil {
			return Snapshot{}, err
		}
	}
	if len(left) > 0 {
		return Snapshot{}, fmt.Errorf("%w: %s is missing", ErrCorrupt, left[0].path)
	}
	s, err := r.complete(ctx, ref)
	if err == nil {
		t.phase(PhaseDone, "")
	}
	return s, err
}

// take fills the partial from the beginning.
func (p *partial) take(ctx context.Context, src io.Reader, t *tracker) error {
	t.lost(p.n, p.old)
	if err := p.restart(); err != nil {
		return err
	}
	if _, err := io.Copy(io.MultiWriter(p, counter{t}), io.LimitReader(contextReader{ctx, src}, p.w.size+1)); err != nil {
		return err
	}
	err := p.finish()
	if errors.Is(err, ErrCorrupt) {
		p.restart() // nobody shall continue this
	}
	return err
}
