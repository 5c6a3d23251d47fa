//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package safetensors

import (
	"io"
	"os"
)

// mapping is one file's bytes.
type mapping struct{ data []byte }

// mapFile reads the file: the fallback where mapping is not implemented.
func mapFile(f *os.File, size int) (mapping, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(f, data)
	return mapping{data}, err
}

func (m mapping) close() error { return nil }
func (m mapping) release()     {}
