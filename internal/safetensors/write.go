package safetensors

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Write writes a file with these tensors and metadata. The bytes depend on
// nothing else, the order of tensors included: as in the reference, wide types
// come first and names decide among equals, and the header is padded with spaces
// to a multiple of 8 bytes, so that every tensor is aligned. Write holds the
// header in memory but not the tensors.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	if err := checkData(tensors); err != nil {
		return fmt.Errorf("safetensors: write: %w", err)
	}
	return write(w, tensors, metadata, writeData)
}

func writeData(w io.Writer, t Tensor) error {
	_, err := w.Write(t.Data)
	return err
}

// checkData compares the tensors' data with their shapes.
func checkData(tensors []Tensor) error {
	for _, t := range tensors {
		size, err := byteSize(t.DType, t.Shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if size != uint64(len(t.Data)) {
			return fmt.Errorf("tensor %q: %w: %s of shape %v has %d bytes, data has %d",
				t.Name, ErrTensorSize, t.DType, t.Shape, size, len(t.Data))
		}
	}
	return nil
}

// write is Write with data written by a function.
func write(w io.Writer, tensors []Tensor, metadata map[string]string, data func(io.Writer, Tensor) error) error {
	sorted := slices.Clone(tensors)
	slices.SortFunc(sorted, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.Bits(), a.DType.Bits()), strings.Compare(a.Name, b.Name))
	})
	header, err := header(sorted, metadata)
	if err != nil {
		return fmt.Errorf("safetensors: write: %w", err)
	}
	if _, err = w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))); err == nil {
		_, err = w.Write(header)
	}
	for i := 0; i < len(sorted) && err == nil; i++ {
		t := sorted[i]
		size, _ := byteSize(t.DType, t.Shape) // header has seen it
		n := &counter{w: w}
		if err = data(n, t); err == nil && n.bytes != size {
			err = fmt.Errorf("%w: %s of shape %v has %d bytes, %d were written", ErrTensorSize, t.DType, t.Shape, size, n.bytes)
		}
		if err != nil {
			err = fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	if err != nil {
		return fmt.Errorf("safetensors: write: %w", err)
	}
	return nil
}

// counter counts what goes through it.
type counter struct {
	w     io.Writer
	bytes uint64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.bytes += uint64(n)
	return n, err
}

// header returns the padded JSON of the tensors in their order.
func header(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	sep := ""
	if len(metadata) > 0 {
		b.WriteString(`"` + metadataKey + `":{`)
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			if i > 0 {
				b.WriteByte(',')
			}
			if !utf8.ValidString(k) || !utf8.ValidString(metadata[k]) {
				return nil, fmt.Errorf("%w: key %q is not valid UTF-8", ErrMetadata, k)
			}
			b.Write(quote(k))
			b.WriteByte(':')
			b.Write(quote(metadata[k]))
		}
		b.WriteByte('}')
		sep = ","
	}
	seen := map[string]bool{}
	var at uint64
	for _, t := range tensors {
		switch {
		case t.Name == metadataKey || !utf8.ValidString(t.Name):
			return nil, fmt.Errorf("%w: %q", ErrName, t.Name)
		case seen[t.Name]:
			return nil, fmt.Errorf("tensor %q: %w", t.Name, ErrDuplicateKey)
		}
		seen[t.Name] = true
		size, err := byteSize(t.DType, t.Shape)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		b.WriteString(sep)
		sep = ","
		b.Write(quote(t.Name))
		b.WriteString(`:{"dtype":"` + string(t.DType) + `","shape":[`)
		for i, d := range t.Shape {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strconv.Itoa(d))
		}
		fmt.Fprintf(&b, `],"data_offsets":[%d,%d]}`, at, at+size)
		at += size
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len() > MaxHeader {
		return nil, fmt.Errorf("%w: %d bytes", ErrHeaderTooLarge, b.Len())
	}
	return b.Bytes(), nil
}

// quote returns s as a JSON string.
func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("safetensors: " + err.Error()) // a string always encodes
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// WriteFile writes a file that appears at path whole or not at all: it is
// written beside it, synced and renamed. A file that was there is replaced, and
// whoever has it mapped keeps the old one.
func WriteFile(path string, tensors []Tensor, metadata map[string]string) error {
	if err := checkData(tensors); err != nil {
		return fmt.Errorf("safetensors: write %q: %w", path, err)
	}
	return WriteFileFunc(path, tensors, metadata, writeData)
}

// WriteFileFunc is WriteFile for tensors that need not be in memory together: the
// Data of tensors is not looked at; data is called once for each, in the order of
// the file, and writes exactly its bytes.
func WriteFileFunc(path string, tensors []Tensor, metadata map[string]string, data func(w io.Writer, t Tensor) error) (err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	tmp, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	buf := bufio.NewWriterSize(tmp, 1<<20) // 1 MiB: many tensors are small
	err = write(buf, tensors, metadata, data)
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("safetensors: write %q: %w", path, err)
	}
	// The rename itself is durable once the directory is; where directories
	// cannot be synced, there is nothing more to do.
	if d, derr := os.Open(dir); derr == nil {
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}
