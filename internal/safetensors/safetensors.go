// Package safetensors reads and writes the safetensors format: an 8-byte
// little-endian length, a JSON header of that length, and one buffer that the
// tensors of the header cover exactly, without overlap and without holes.
//
//	f, err := safetensors.OpenDir(dir) // or Open, or Parse for bytes in memory
//	t, err := f.Tensor("model.embed_tokens.weight")
//	w, err := t.Float32()              // a view of the mapped file, not a copy
//
// [Write] and [WriteFile] are the way back; equal tensors and metadata give
// equal bytes.
//
// The package believes nothing that a file says about itself. Sizes are bounded
// before they are used, products are checked for overflow, and each way in
// which a file can be wrong has an error of its own, to be found with
// [errors.Is]. It is stricter than the reference implementation
// (https://github.com/huggingface/safetensors, safetensors/src/tensor.rs) in
// two points: a key may not occur twice, and a tensor has the three fields
// dtype, shape and data_offsets and no others. It does not execute, decompress
// or fetch anything, and it does not defend against a file that another process
// truncates while it is mapped: reading such pages kills the process, so
// checkpoints belong in files that are replaced, never rewritten.
//
// File layout:
//
//	┌──────────────┬─────────────────────────────┬─────────────────────────┐
//	│ N, 8 bytes   │ header, N bytes             │ buffer                  │
//	│ uint64, LE   │ JSON, may end in spaces     │ tensors, little-endian  │
//	└──────────────┴─────────────────────────────┴─────────────────────────┘
//	{"__metadata__": {string: string, …},
//	 NAME: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …}
//
// Offsets count from the start of the buffer.
package safetensors

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Limits of what is read.
const (
	// MaxHeader bounds the JSON header, in bytes: the reference's
	// MAX_HEADER_SIZE. It bounds the index of a sharded checkpoint, too.
	MaxHeader = 100_000_000
	// MaxRank bounds a tensor's dimensions: numpy's NPY_MAXDIMS. Without it a
	// header of 100 MB could ask for 400 MB of ones.
	MaxRank = 64
	// MaxShards bounds the files of one checkpoint. The largest public ones
	// have a few hundred; each costs a mapping, of which Linux grants 65,530.
	MaxShards = 4096

	lengthSize  = 8 // bytes of N
	metadataKey = "__metadata__"
)

// The ways in which a file, or a request to this package, can be wrong. Errors
// wrap one of these and add the tensor and the numbers that disagree.
var (
	ErrTooSmall       = errors.New("file is smaller than the 8 bytes of the header length")
	ErrHeaderTooLarge = errors.New("header is larger than 100 MB")
	ErrHeaderLength   = errors.New("header does not fit into the file")
	ErrHeaderStart    = errors.New("header does not start with '{'")
	ErrHeaderSyntax   = errors.New("header is not the JSON of a safetensors file")
	ErrHeaderUTF8     = errors.New("header is not valid UTF-8")
	ErrDuplicateKey   = errors.New("key occurs twice")
	ErrMetadata       = errors.New("__metadata__ is not an object of strings")
	ErrMissingField   = errors.New("tensor lacks dtype, shape or data_offsets")
	ErrDType          = errors.New("unknown dtype")
	ErrRank           = errors.New("too many dimensions")
	ErrOverflow       = errors.New("size overflows")
	ErrSubByte        = errors.New("tensor does not fill whole bytes")
	ErrOffsetOrder    = errors.New("tensor ends before it begins")
	ErrOverlap        = errors.New("tensors overlap")
	ErrHole           = errors.New("hole between tensors")
	ErrTensorSize     = errors.New("shape and offsets disagree")
	ErrTruncated      = errors.New("file ends before its last tensor")
	ErrTrailing       = errors.New("file continues behind its last tensor")

	ErrNoTensor  = errors.New("no such tensor")
	ErrViewType  = errors.New("tensor has another dtype")
	ErrNotFile   = errors.New("not a regular file")
	ErrNoWeights = errors.New("neither model.safetensors nor model.safetensors.index.json")

	ErrIndex         = errors.New("index is not the JSON of a sharded checkpoint")
	ErrShardName     = errors.New("shard is not a plain file name ending in .safetensors")
	ErrTooManyShards = errors.New("too many shards")
	ErrShardMismatch = errors.New("index and shard disagree")

	ErrName = errors.New("not a tensor name") // Write only
)

// DType names the type of a tensor's elements, as in the header.
type DType string

// The types of the format. BF16 is the upper half of an IEEE 754 binary32.
const (
	Bool       DType = "BOOL"
	F4         DType = "F4"
	F6E2M3     DType = "F6_E2M3"
	F6E3M2     DType = "F6_E3M2"
	U8         DType = "U8"
	I8         DType = "I8"
	F8E5M2     DType = "F8_E5M2"
	F8E4M3     DType = "F8_E4M3"
	F8E8M0     DType = "F8_E8M0"
	F8E4M3FNUZ DType = "F8_E4M3FNUZ"
	F8E5M2FNUZ DType = "F8_E5M2FNUZ"
	I16        DType = "I16"
	U16        DType = "U16"
	F16        DType = "F16"
	BF16       DType = "BF16"
	I32        DType = "I32"
	U32        DType = "U32"
	F32        DType = "F32"
	C64        DType = "C64"
	F64        DType = "F64"
	I64        DType = "I64"
	U64        DType = "U64"
)

// dtypeBits holds the width of one element in bits. Its keys are the constants
// above, so that a parsed DType never points into a mapped file.
var dtypeBits = map[DType]int{
	F4: 4, F6E2M3: 6, F6E3M2: 6,
	Bool: 8, U8: 8, I8: 8, F8E5M2: 8, F8E4M3: 8, F8E8M0: 8, F8E4M3FNUZ: 8, F8E5M2FNUZ: 8,
	I16: 16, U16: 16, F16: 16, BF16: 16,
	I32: 32, U32: 32, F32: 32,
	C64: 64, F64: 64, I64: 64, U64: 64,
}

// Bits returns the width of one element in bits, 0 for an unknown type.
func (d DType) Bits() int { return dtypeBits[d] }

// Tensor is one tensor of a [File], or one to be written. The row is the last
// dimension (C order).
type Tensor struct {
	Name  string
	DType DType
	Shape []int  // empty for a scalar
	Data  []byte // little-endian; for a mapped file a read-only view, valid until File.Close
}

// Len returns the number of elements. It is right for tensors that this package
// made; Write checks those that others made.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// File is a checkpoint: one file, or the shards of one. Its methods are safe for
// concurrent use, except Close. Using a File or a view of its tensors after
// Close is a caller's bug: the method panics, the view faults.
type File struct {
	tensors []Tensor       // sorted by name
	index   map[string]int // name to position in tensors
	meta    map[string]string
	shards  []mapping
	size    int64
	closed  bool
}

// Parse reads a checkpoint that lies in memory. The tensors are views of data,
// which must not change while they are in use.
func Parse(data []byte) (*File, error) {
	f := &File{index: map[string]int{}, meta: map[string]string{}}
	if err := f.add(data); err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	f.sort()
	return f, nil
}

// Tensor returns the tensor of that name, or an error that wraps [ErrNoTensor].
func (f *File) Tensor(name string) (Tensor, error) {
	f.check()
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, fmt.Errorf("safetensors: tensor %q: %w", name, ErrNoTensor)
	}
	return f.tensors[i], nil
}

// Names returns the names of all tensors, sorted.
func (f *File) Names() []string {
	f.check()
	names := make([]string, len(f.tensors))
	for i, t := range f.tensors {
		names[i] = t.Name
	}
	return names
}

// Metadata returns the header's free-form strings; not nil, and not to be
// changed. Of a sharded checkpoint it is the union, the first shard in the order
// of file names winning.
func (f *File) Metadata() map[string]string { f.check(); return f.meta }

// Size returns the bytes of all shards, headers included.
func (f *File) Size() int64 { f.check(); return f.size }

// Release tells the operating system that the mapped pages will not be needed
// soon, so that they stop counting as resident. The tensors stay valid: pages
// come back from the file when touched. It does nothing where files are not
// mapped.
func (f *File) Release() {
	f.check()
	for _, m := range f.shards {
		m.release()
	}
}

// Close unmaps the file. It must not run while tensors are in use. A second
// Close does nothing.
func (f *File) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	f.tensors, f.index = nil, nil
	var err error
	for _, m := range f.shards {
		err = errors.Join(err, m.close())
	}
	f.shards = nil
	if err != nil {
		return fmt.Errorf("safetensors: close: %w", err)
	}
	return nil
}

func (f *File) check() {
	if f.closed {
		panic("safetensors: use of a closed File")
	}
}

// add appends the tensors of one shard. The order of the checks is the
// reference's (SafeTensors::read_metadata, Metadata::validate).
func (f *File) add(data []byte) error {
	if len(data) < lengthSize {
		return fmt.Errorf("%w: %d bytes", ErrTooSmall, len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > MaxHeader {
		return fmt.Errorf("%w: %d bytes", ErrHeaderTooLarge, n)
	}
	if n > uint64(len(data)-lengthSize) {
		return fmt.Errorf("%w: header of %d bytes, file of %d", ErrHeaderLength, n, len(data))
	}
	entries, meta, err := parseHeader(data[lengthSize : lengthSize+int(n)])
	if err != nil {
		return err
	}
	buffer := data[lengthSize+int(n):]

	// Tensors in the order of their bytes, empty ones first among equals: each
	// must begin where the one before ended.
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), strings.Compare(a.Name, b.Name))
	})
	var at uint64
	for i := range entries {
		e := &entries[i]
		switch {
		case e.end < e.begin:
			return fmt.Errorf("tensor %q: %w: bytes %d to %d", e.Name, ErrOffsetOrder, e.begin, e.end)
		case e.begin < at:
			return fmt.Errorf("tensor %q: %w: begins at byte %d, the one before ends at %d", e.Name, ErrOverlap, e.begin, at)
		case e.begin > at:
			return fmt.Errorf("tensor %q: %w: begins at byte %d, the one before ends at %d", e.Name, ErrHole, e.begin, at)
		}
		want, err := byteSize(e.DType, e.Shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if want != e.end-e.begin {
			return fmt.Errorf("tensor %q: %w: %s of shape %v has %d bytes, offsets span %d",
				e.Name, ErrTensorSize, e.DType, e.Shape, want, e.end-e.begin)
		}
		if e.end > uint64(len(buffer)) {
			return fmt.Errorf("tensor %q: %w: ends at byte %d of a buffer of %d", e.Name, ErrTruncated, e.end, len(buffer))
		}
		if _, ok := f.index[e.Name]; ok {
			return fmt.Errorf("tensor %q: %w: in two shards", e.Name, ErrDuplicateKey)
		}
		at = e.end
		e.Data = buffer[e.begin:e.end:e.end]
		f.index[e.Name] = len(f.tensors)
		f.tensors = append(f.tensors, e.Tensor)
	}
	if at != uint64(len(buffer)) {
		return fmt.Errorf("%w: %d bytes of tensors in a buffer of %d", ErrTrailing, at, len(buffer))
	}
	for k, v := range meta {
		if _, ok := f.meta[k]; !ok {
			f.meta[k] = v
		}
	}
	f.size += int64(len(data))
	return nil
}

func (f *File) sort() {
	slices.SortFunc(f.tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	for i, t := range f.tensors {
		f.index[t.Name] = i
	}
}

// byteSize returns the bytes of a tensor. As in the reference, the product is
// taken in order and must not overflow on its way, even if a later dimension is
// zero.
func byteSize(d DType, shape []int) (uint64, error) {
	width := d.Bits()
	if width == 0 {
		return 0, fmt.Errorf("%w %q", ErrDType, string(d))
	}
	if len(shape) > MaxRank {
		return 0, fmt.Errorf("%w: %d, limit %d", ErrRank, len(shape), MaxRank)
	}
	n := uint64(1)
	for _, s := range append(slices.Clip(shape), width) {
		if s < 0 {
			return 0, fmt.Errorf("%w: %s of shape %v", ErrOverflow, d, shape)
		}
		hi, lo := bits.Mul64(n, uint64(s))
		if hi != 0 {
			return 0, fmt.Errorf("%w: %s of shape %v", ErrOverflow, d, shape)
		}
		n = lo
	}
	if n%8 != 0 {
		return 0, fmt.Errorf("%w: %s of shape %v", ErrSubByte, d, shape)
	}
	return n / 8, nil
}
