//go:build linux || darwin

package hub

import (
	"io/fs"
	"os"
	"syscall"
)

// noFollow makes opening a symbolic link fail.
const noFollow = syscall.O_NOFOLLOW

// nonblock makes opening a FIFO return at once.
const nonblock = syscall.O_NONBLOCK

// inode returns what the kernel knows of a file beside size and time of
// modification: changes that keep both still change ctime.
func inode(fi fs.FileInfo) (ino uint64, ctime int64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return st.Ino, changed(st)
}

// ours tells whether a file belongs to this user and has one name.
func ours(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid() && st.Nlink == 1
}

// linked tells whether an open file still has a name.
func linked(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return !ok || st.Nlink > 0
}

// free returns the bytes and the files that dir's file system can still take;
// -1 where it does not say.
func free(dir string) (bytes, files int64) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return -1, -1
	}
	files = -1
	if st.Files > 0 {
		files = int64(st.Ffree)
	}
	return int64(st.Bavail) * int64(st.Bsize), files //nolint:unconvert // not an int64 on Darwin
}

// noSpace tells whether a file system or a quota is full.
func noSpace(err syscall.Errno) bool { return err == syscall.ENOSPC || err == syscall.EDQUOT }

// noLocks tells whether a file system cannot lock or must not be written.
func noLocks(err syscall.Errno) bool {
	switch err {
	case syscall.ENOSYS, syscall.ENOTSUP, syscall.ENOLCK, syscall.EROFS, syscall.EACCES, syscall.EPERM:
		return true
	}
	return false
}
