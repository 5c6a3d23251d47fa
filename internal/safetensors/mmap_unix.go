//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package safetensors

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapping is one file's bytes.
type mapping struct{ data []byte }

// mapFile maps a file read-only. The mapping outlives the descriptor.
func mapFile(f *os.File, size int) (mapping, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return mapping{}, os.NewSyscallError("mmap", err)
	}
	return mapping{data}, nil
}

func (m mapping) close() error { return os.NewSyscallError("munmap", unix.Munmap(m.data)) }

// release is advice: nothing depends on its success.
func (m mapping) release() { _ = unix.Madvise(m.data, unix.MADV_DONTNEED) }
