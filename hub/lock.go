package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

const lockPoll = 50 * time.Millisecond // the reference client's interval

// A lock is a held lock, or none where the file system has none: then
// correctness rests on unique temporary names and atomic renames alone.
type lock struct {
	f    *flock.Flock
	held bool
	why  error // why it is not held
}

func (l *lock) release() {
	if l.held {
		l.f.Close() // the file stays: on Unix its existence means nothing, and removing it would split the lock
	}
}

// acquire takes the lock file name below the cache, as the reference client
// does: flock(2) on Unix, LockFileEx of one byte at 0 on Windows. It waits for
// others as long as grown says, at each look, that something still advances,
// and no longer than timeout after that.
func (c *Client) acquire(ctx context.Context, root *os.Root, name string, timeout time.Duration, grown func() bool, waiting func()) (*lock, error) {
	name = filepath.FromSlash(name)
	l := &lock{}
	give := func(err error) (*lock, error) { // go on without
		if isLockless(err) {
			l.why = fmt.Errorf("no lock on %s: %w", name, err)
			return l, nil
		}
		return nil, fmt.Errorf("lock %s: %w", name, cacheError(err))
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return give(err)
	}
	if fi, err := root.Lstat(name); err == nil && !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("lock %s: not a regular file", name)
	}
	open := func() *flock.Flock {
		path := filepath.Join(root.Name(), name)
		if c.lockName != nil {
			path = c.lockName(path)
		}
		return flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|noFollow), flock.SetPermissions(0o664))
	}
	l.f = open()
	last := time.Now()
	for first := true; ; first = false {
		ok, err := l.f.TryLock()
		if err != nil {
			return give(err)
		}
		if ok {
			if fi, err := l.f.Stat(); err != nil || !linked(fi) {
				l.f.Close() // somebody removed the file: lock the new one
				continue
			}
			second := open() // some file systems give a lock to all who ask
			if twice, err := second.TryLock(); twice || err != nil {
				second.Close()
				l.f.Close()
				l.why = fmt.Errorf("no lock on %s: locks have no effect there", name)
				return l, nil
			}
			second.Close()
			l.held = true
			return l, nil
		}
		if first && waiting != nil {
			waiting()
		}
		if grown != nil && grown() {
			last = time.Now()
		}
		if time.Since(last) > timeout {
			return nil, fmt.Errorf("lock %s: %w (waited %v)", filepath.Join(root.Name(), name), ErrLocked, timeout)
		}
		if err := sleep(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

func isLockless(err error) bool {
	var n syscall.Errno
	return errors.As(err, &n) && noLocks(n)
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
