package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// bigEndian tells that the host cannot look at the format's numbers in place.
var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// Float32 returns the elements of an F32 tensor: a view of its bytes where they
// are aligned (in files of this package and of the reference they always are)
// and a copy where they are not.
func (t Tensor) Float32() ([]float32, error) { return view[float32](t, F32) }

// Float64 is [Tensor.Float32] for F64 tensors.
func (t Tensor) Float64() ([]float64, error) { return view[float64](t, F64) }

// Uint16 returns the bits of an F16 or BF16 tensor, as a view if they are
// aligned. [BF16ToFloat32] and [F16ToFloat32] say what they mean.
func (t Tensor) Uint16() ([]uint16, error) { return view[uint16](t, BF16, F16) }

// Int32 is [Tensor.Float32] for I32 tensors.
func (t Tensor) Int32() ([]int32, error) { return view[int32](t, I32) }

// Int64 is [Tensor.Float32] for I64 tensors.
func (t Tensor) Int64() ([]int64, error) { return view[int64](t, I64) }

// Int8 returns the elements of an I8 tensor, as a view.
func (t Tensor) Int8() ([]int8, error) { return view[int8](t, I8) }

type number interface {
	int8 | uint16 | int32 | int64 | float32 | float64
}

func view[T number](t Tensor, types ...DType) ([]T, error) {
	ok := false
	for _, d := range types {
		ok = ok || t.DType == d
	}
	if !ok {
		return nil, fmt.Errorf("safetensors: tensor %q: %w: %s, want %s", t.Name, ErrViewType, t.DType, types[0])
	}
	var zero T
	size := int(unsafe.Sizeof(zero))
	n := len(t.Data) / size
	if n == 0 {
		return []T{}, nil
	}
	p := unsafe.Pointer(unsafe.SliceData(t.Data))
	if size == 1 || !bigEndian && uintptr(p)%unsafe.Alignof(zero) == 0 {
		return unsafe.Slice((*T)(p), n), nil
	}
	out := make([]T, n)
	if _, err := binary.Decode(t.Data, binary.LittleEndian, out); err != nil {
		return nil, fmt.Errorf("safetensors: tensor %q: %w", t.Name, err) // cannot happen: n elements fit
	}
	return out, nil
}

// AppendFloat32 appends the elements of an F32, F16 or BF16 tensor to dst,
// converted exactly.
func (t Tensor) AppendFloat32(dst []float32) ([]float32, error) {
	if t.DType == F32 {
		v, err := t.Float32()
		return append(dst, v...), err
	}
	if t.DType != F16 && t.DType != BF16 {
		return dst, fmt.Errorf("safetensors: tensor %q: %w: %s, want F32, F16 or BF16", t.Name, ErrViewType, t.DType)
	}
	v, err := t.Uint16()
	if err != nil {
		return dst, err
	}
	n := len(dst)
	dst = slices.Grow(dst, len(v))[:n+len(v)]
	out := dst[n:]
	if t.DType == BF16 {
		for i, h := range v {
			out[i] = BF16ToFloat32(h)
		}
	} else {
		for i, h := range v {
			out[i] = F16ToFloat32(h)
		}
	}
	return dst, nil
}

// BF16ToFloat32 returns the value of a bfloat16, which is the upper half of the
// result.
func BF16ToFloat32(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// F16ToFloat32 returns the value of an IEEE 754 binary16.
func F16ToFloat32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h & 0x3ff)
	switch exp {
	case 0: // zero or subnormal: frac · 2⁻²⁴, exact in float32
		v := float32(frac) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(v))
	case 0x1f: // infinity or NaN, payload kept
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// BF16FromFloat32 returns the little-endian bytes of v rounded to bfloat16, ties
// to even. A NaN stays a NaN.
func BF16FromFloat32(v []float32) []byte {
	out := make([]byte, 0, 2*len(v))
	for _, x := range v {
		b := math.Float32bits(x)
		if x != x {
			b |= 1 << 22 // quiet, and never rounded up to infinity
		} else {
			b += 0x7fff + b>>16&1
		}
		out = binary.LittleEndian.AppendUint16(out, uint16(b>>16))
	}
	return out
}

// FromFloat32 makes an F32 tensor with a copy of v.
func FromFloat32(name string, shape []int, v []float32) Tensor {
	out := make([]byte, 0, 4*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return Tensor{Name: name, DType: F32, Shape: shape, Data: out}
}

// FromFloat64 makes an F64 tensor with a copy of v.
func FromFloat64(name string, shape []int, v []float64) Tensor {
	out := make([]byte, 0, 8*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(x))
	}
	return Tensor{Name: name, DType: F64, Shape: shape, Data: out}
}

// FromInt64 makes an I64 tensor with a copy of v.
func FromInt64(name string, shape []int, v []int64) Tensor {
	out := make([]byte, 0, 8*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint64(out, uint64(x))
	}
	return Tensor{Name: name, DType: I64, Shape: shape, Data: out}
}

// FromInt8 makes an I8 tensor with a copy of v.
func FromInt8(name string, shape []int, v []int8) Tensor {
	out := make([]byte, len(v))
	for i, x := range v {
		out[i] = byte(x)
	}
	return Tensor{Name: name, DType: I8, Shape: shape, Data: out}
}
