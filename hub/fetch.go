package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// progressBytes is how much must arrive before failures are forgiven: a server
// that sends a byte a connection is not making progress.
const progressBytes = 1 << 20

// A partial is a file on its way into the cache, and the hash of what it holds.
type partial struct {
	r    *repo
	w    want
	name string // below the repository's folder
	f    *os.File
	n    int64 // bytes written and hashed
	old  int64 // the part of n that an earlier process wrote
	sum  *digest
}

// openPartial opens the partial file of a blob, which a killed process may have
// left, and hashes what it holds. One that is not a plain file of this user, or
// too long, is begun anew. Only the holder of the blob's lock may do this;
// without a lock the name is unique and nothing is resumed.
func (r *repo) openPartial(ctx context.Context, w want, locked bool, report func(int64)) (*partial, error) {
	p := &partial{r: r, w: w, name: filepath.FromSlash("blobs/" + w.blob + partialExt)}
	if !locked {
		p.name = filepath.FromSlash("blobs/" + w.blob + "." + unique() + partialExt)
	}
	if fi, err := r.root.Lstat(p.name); err == nil {
		if fi.Mode().IsRegular() && ours(fi) && fi.Size() <= w.size {
			p.f, err = r.root.OpenFile(p.name, os.O_RDWR|nonblock|largeFile, 0)
			if err == nil {
				if now, e := p.f.Stat(); e != nil || !os.SameFile(fi, now) {
					p.f.Close()
					p.f = nil
				}
			}
		}
		if p.f == nil {
			if err := r.root.RemoveAll(p.name); err != nil {
				return nil, fmt.Errorf("remove %s: %w", p.name, cacheError(err))
			}
		}
	}
	if p.f == nil {
		var err error
		if p.f, err = r.root.OpenFile(p.name, os.O_RDWR|os.O_CREATE|os.O_EXCL|largeFile, 0o666); err != nil {
			return nil, fmt.Errorf("create %s: %w", p.name, cacheError(err))
		}
	}
	p.sum = newDigest(w, w.size)
	buf := make([]byte, chunk)
	for {
		n, err := contextReader{ctx, p.f}.Read(buf)
		p.sum.Write(buf[:n])
		p.n += int64(n)
		p.old = p.n
		if report != nil {
			report(int64(n))
		}
		if errors.Is(err, io.EOF) {
			return p, nil
		}
		if err != nil {
			p.f.Close()
			return nil, fmt.Errorf("read %s: %w", p.name, err)
		}
	}
}

// restart throws the content away.
func (p *partial) restart() error {
	p.n, p.old, p.sum = 0, 0, newDigest(p.w, p.w.size)
	_, err := p.f.Seek(0, io.SeekStart)
	if err == nil {
		err = p.f.Truncate(0)
	}
	if err != nil {
		return fmt.Errorf("restart %s: %w", p.name, cacheError(err))
	}
	return nil
}

func (p *partial) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.sum.Write(b[:n])
	p.n += int64(n)
	if err != nil {
		err = fmt.Errorf("write %s at %d of %d bytes: %w", p.name, p.n, p.w.size, cacheError(err))
	}
	return n, err
}

// finish makes a complete and right partial the blob: durable first, then
// visible.
func (p *partial) finish() error {
	if err := p.w.check(p.sum.sum()); err != nil {
		return err
	}
	err := p.f.Sync()
	if e := p.f.Close(); err == nil {
		err = e
	}
	p.f = nil
	if err == nil {
		err = p.r.rename(p.name, "blobs/"+p.w.blob)
	}
	if err != nil {
		return fmt.Errorf("finish blobs/%s: %w", p.w.blob, cacheError(err))
	}
	return nil
}

// close leaves the file as it is, to be continued; one that is empty, or that
// nobody could continue, goes.
func (p *partial) close(resumable bool) {
	if p.f != nil {
		p.f.Close()
		if !resumable || p.n == 0 {
			p.r.root.Remove(p.name)
		}
	}
}

// obtain makes one file of a snapshot be there: found, linked, copied, or filled
// in, but always checked before it is visible under its name.
func (r *repo) obtain(ctx context.Context, ref Ref, w want, t *tracker, fill func(*partial) error) error {
	blob := "blobs/" + w.blob
	size := int64(-1)
	grown := func() bool { // does whoever holds the lock advance?
		var now int64
		names, _ := fs.Glob(r.root.FS(), blob+"*.incomplete")
		for _, n := range names {
			if fi, err := r.root.Lstat(filepath.FromSlash(n)); err == nil {
				now += fi.Size()
			}
		}
		defer func() { size = now }()
		return now != size
	}
	cache, err := os.OpenRoot(r.c.cache)
	if err != nil {
		return fmt.Errorf("open the Hub cache: %w", cacheError(err))
	}
	defer cache.Close()
	l, err := r.c.acquire(ctx, cache, ".locks/"+folder(r.id)+"/"+w.blob+".lock", r.c.lockTimeout, grown,
		func() { t.phase(PhaseWait, w.path) })
	if err != nil {
		return err
	}
	defer l.release()
	if l.why != nil {
		r.c.warn(l.why)
	}

	idle := func() { // nobody needs a partial file of what is there
		if l.held {
			r.root.RemoveAll(filepath.FromSlash(blob + partialExt))
		}
	}

	// Somebody may have been faster, or another revision has the same file.
	a := r.audit(false)
	a.looking = func(string) { t.phase(PhaseVerify, w.path) }
	defer func() { r.addStamps(ctx, a.fresh) }()
	if _, err := a.file(ctx, ref.Commit, w); err == nil {
		t.found(w.size)
		idle()
		return nil
	} else if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if fi, err := r.root.Lstat(filepath.FromSlash(blob)); err == nil {
		if fi.Mode().IsRegular() {
			if _, err = a.check(ctx, blob, fi, w); err == nil {
				t.found(w.size)
				idle()
				return r.link(ctx, ref.Commit, w.path, w.blob, false)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		r.c.warn(fmt.Errorf("%s: the file in the cache is damaged and is fetched again", w.path))
		// Without a lock somebody may have mended it meanwhile; what is fetched takes its place.
		if l.held {
			if err := r.root.RemoveAll(filepath.FromSlash(blob)); err != nil {
				return fmt.Errorf("remove the damaged %s: %w", blob, cacheError(err))
			}
		}
	}
	if r.c.noLinks.Load() { // revisions do not share blobs, but may have the same file
		for _, other := range r.snapshots() {
			if p, err := r.locate(other, w.path); err == nil && other != ref.Commit && p.blob == "" {
				if _, err := a.check(ctx, p.name, p.info, w); err == nil {
					t.found(w.size)
					return r.copyTo(ctx, p.name, "snapshots/"+ref.Commit+"/"+w.path)
				}
			}
		}
	}

	t.phase(PhaseDownload, w.path)
	p, err := r.openPartial(ctx, w, l.held, func(n int64) { t.found(n) })
	if err != nil {
		return err
	}
	defer func() { p.close(l.held) }()
	if err := fill(p); err != nil {
		return err
	}
	got := p.sum.sum()
	if err := r.link(ctx, ref.Commit, w.path, w.blob, true); err != nil {
		return err
	}
	if at, err := r.locate(ref.Commit, w.path); err == nil {
		s := stampOf(at.info)
		s.SHA256, s.Git = got.SHA256, got.Git
		a.fresh[at.name] = s
	}
	return nil
}

// receive asks the Hub for a file until the partial is complete and right.
// Content that turns out wrong is fetched again from its first byte, once.
func (r *repo) receive(ctx context.Context, ref Ref, p *partial, t *tracker) error {
	wrong := 0
	pat := r.c.patience()
	mark := p.n
	drop := func() error {
		t.lost(p.n, p.old)
		mark = 0
		return p.restart()
	}
	for {
		var err error
		if p.n < p.w.size || p.w.size == 0 {
			err = r.attempt(ctx, ref, p, t, drop)
		}
		if err == nil {
			if err = p.finish(); err == nil {
				return nil
			}
			if !errors.Is(err, ErrCorrupt) {
				return err
			}
		}
		if errors.Is(err, ErrCorrupt) {
			var final *fatal
			if errors.As(err, &final) {
				return err
			}
			if p.old == 0 { // else the leftover of an earlier process may be to blame
				wrong++
			}
			if e := drop(); e != nil {
				return e
			}
			if wrong > 1 {
				return fmt.Errorf("received twice: %w", err)
			}
			continue
		}
		if p.n-mark >= progressBytes {
			pat.progress()
			mark = p.n
		}
		if err := pat.wait(ctx, err, func() { t.phase(PhaseWait, p.w.path) }); err != nil {
			return err
		}
	}
}

// fatal marks a mismatch that another try cannot mend.
type fatal struct{ error }

func (f *fatal) Unwrap() error { return f.error }

// attempt sends one request for the rest of the partial and appends what comes.
// Each attempt begins at the Hub, so that it gets a fresh signed address.
func (r *repo) attempt(ctx context.Context, ref Ref, p *partial, t *tracker, drop func() error) error {
	a, err := r.c.get(ctx, r.c.fileURL(ref, p.w.path), p.n)
	if err != nil {
		return err
	}
	defer a.close()
	host := a.Request.URL.Host
	if err := a.describes(ref, p.w); err != nil {
		return err
	}
	switch a.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusRequestedRangeNotSatisfiable:
		err := drop()
		if err == nil {
			err = r.c.refusal(a, ref)
		}
		return err
	default:
		return r.c.refusal(a, ref)
	}
	// What is no answer to the question must not cost what is there already.
	if e := a.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return fmt.Errorf("%w: %s sends a compressed answer that nobody asked for", ErrNotHub, host)
	}
	if isHTML(a.Response) && !strings.Contains(p.w.path, ".htm") {
		return retryable(fmt.Errorf("%w: %s sends a web page (text/html) instead of the file", ErrNotHub, host))
	}
	whole := a.StatusCode == http.StatusOK // the range, if there was one, is ignored
	rest := p.w.size
	if !whole {
		rest -= p.n
	}
	if n := a.ContentLength; n >= 0 && n != rest {
		return retryable(fmt.Errorf("%w: %s sends %d bytes, want %d", ErrNotHub, host, n, rest))
	}
	if whole && p.n > 0 {
		if err := drop(); err != nil {
			return err
		}
	}
	if !whole && !isRest(a.Header.Get("Content-Range"), p.n, p.w.size) {
		if err := drop(); err != nil {
			return err
		}
		return retryable(fmt.Errorf("%w: %s sends another part of the file than was asked for", ErrNotHub, host))
	}
	buf := make([]byte, chunk)
	for {
		n, err := a.Body.Read(buf[:min(int64(len(buf)), rest+1)]) // one more than there should be, to see it
		if int64(n) > rest {
			return &MismatchError{Path: p.w.path, Kind: "size", Pinned: p.w.pinned, Want: strconv.FormatInt(p.w.size, 10), Got: "more"}
		}
		if n > 0 {
			if _, err := p.Write(buf[:n]); err != nil {
				return err
			}
			t.received(p.w.path, int64(n))
			rest -= int64(n)
		}
		switch {
		case err == io.EOF && rest == 0:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == io.EOF:
			return retryable(fmt.Errorf("%w: %s ended the file %d bytes too early", ErrUnavailable, host, rest))
		case err != nil:
			return retryable(fmt.Errorf("%w: %s: %w", ErrUnavailable, host, r.c.redact(err)))
		}
	}
}

// describes holds what the Hub itself says of the file against what was listed.
// What it does not say is not needed: commit, size and hash are known.
func (a *answer) describes(ref Ref, w want) error {
	if a.commit != "" && a.commit != ref.Commit {
		return otherCommit(ref, a.commit)
	}
	if a.StatusCode >= 300 {
		return nil
	}
	if a.etag != "" {
		etag, ok := parseETag(a.etag)
		if !ok {
			return fmt.Errorf("%w: the X-Linked-Etag of %s is no hash", ErrNotHub, w.path)
		}
		if etag != w.blob {
			return &fatal{&MismatchError{Path: w.path, Kind: "X-Linked-Etag", Want: w.blob, Got: etag}}
		}
	}
	if a.size != "" && a.size != strconv.FormatInt(w.size, 10) {
		if _, err := strconv.ParseInt(a.size, 10, 64); err != nil {
			return fmt.Errorf("%w: the size of %s is no number", ErrNotHub, w.path)
		}
		return &fatal{&MismatchError{Path: w.path, Kind: "size", Pinned: w.pinned, Want: strconv.FormatInt(w.size, 10), Got: a.size}}
	}
	return nil
}

// parseETag returns the hash in an ETag, weak or strong.
func parseETag(s string) (string, bool) {
	s = strings.Trim(strings.TrimPrefix(s, "W/"), `"`)
	return s, isBlob(s)
}

// isRest tells whether a Content-Range is exactly from-(size-1)/size.
func isRest(s string, from, size int64) bool {
	return from < size && s == fmt.Sprintf("bytes %d-%d/%d", from, size-1, size)
}
