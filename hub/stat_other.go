//go:build !linux && !darwin

package hub

import (
	"io/fs"
	"syscall"
)

const noFollow, nonblock, largeFile = 0, 0, 0

// inode knows nothing here: size and time of modification must do.
func inode(fs.FileInfo) (ino uint64, ctime int64) { return 0, 0 }

func ours(fs.FileInfo) bool   { return true }
func linked(fs.FileInfo) bool { return true }

// noSpace knows ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL of Windows.
func noSpace(err syscall.Errno) bool { return err == 39 || err == 112 }

// noLocks knows ERROR_ACCESS_DENIED, ERROR_WRITE_PROTECT and ERROR_NOT_SUPPORTED
// of Windows.
func noLocks(err syscall.Errno) bool { return err == 5 || err == 19 || err == 50 }
