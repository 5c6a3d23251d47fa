package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// file assembles a file from a header and a buffer.
func file(header string, buffer int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	return append(b, make([]byte, buffer)...)
}

// vectors has one small file for each way to be right or wrong.
var vectors = []struct {
	name string
	data []byte
	want error
}{
	{"empty header object", file(`{}`, 0), nil},
	{"one tensor", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), nil},
	{"padded header", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}     `, 1), nil},
	{"scalar", file(`{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}`, 8), nil},
	{"empty tensor", file(`{"a":{"dtype":"F64","shape":[0,5],"data_offsets":[0,0]}}`, 0), nil},
	{"empty tensor between", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},"c":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3), nil},
	{"header order free", file(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 2), nil},
	{"fields in any order", file(`{"a":{"data_offsets":[0,2],"shape":[1],"dtype":"BF16"}}`, 2), nil},
	{"metadata", file(`{"__metadata__":{"k":"v","é\n":""}}`, 0), nil},
	{"F4 whole byte", file(`{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}`, 1), nil},

	{"nothing", nil, ErrTooSmall},
	{"seven bytes", make([]byte, 7), ErrTooSmall},
	{"header over the limit", binary.LittleEndian.AppendUint64(nil, MaxHeader+1), ErrHeaderTooLarge},
	{"header length all ones", bytes.Repeat([]byte{255}, 16), ErrHeaderTooLarge},
	{"header beyond the file", file(`{}`, 0)[:9], ErrHeaderLength},
	{"header of no bytes", file(``, 0), ErrHeaderStart},
	{"header begins with a space", file(` {}`, 0), ErrHeaderStart},
	{"header is an array", file(`[]`, 0), ErrHeaderStart},
	{"invalid UTF-8", file("{\"\xff\":1}", 0), ErrHeaderUTF8},
	{"unclosed", file(`{`, 0), ErrHeaderSyntax},
	{"text behind", file(`{}x`, 0), ErrHeaderSyntax},
	{"trailing comma", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},}`, 0), ErrHeaderSyntax},
	{"value no object", file(`{"a":1}`, 0), ErrHeaderSyntax},
	{"unclosed string", file(`{"a`, 0), ErrHeaderSyntax},
	{"string ends in a backslash", file(`{"a\`, 0), ErrHeaderSyntax},
	{"bad escape", file(`{"\q":{}}`, 0), ErrHeaderSyntax},
	{"control character", file("{\"a\nb\":{}}", 0), ErrHeaderSyntax},
	{"unknown field", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}}`, 0), ErrHeaderSyntax},
	{"negative", file(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}`, 0), ErrHeaderSyntax},
	{"fraction", file(`{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}`, 1), ErrHeaderSyntax},
	{"leading zero", file(`{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}`, 1), ErrHeaderSyntax},
	{"one offset", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}}`, 0), ErrHeaderSyntax},
	{"three offsets", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}`, 0), ErrHeaderSyntax},
	{"deep nesting", file(`{"a":`+strings.Repeat(`{"a":`, 1e6), 0), ErrHeaderSyntax},
	{"deep arrays", file(`{"a":{"shape":`+strings.Repeat(`[`, 1e6), 0), ErrHeaderSyntax},
	{"duplicate tensor", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), ErrDuplicateKey},
	{"duplicate by escape", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), ErrDuplicateKey},
	{"duplicate field", file(`{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), ErrDuplicateKey},
	{"duplicate metadata", file(`{"__metadata__":{},"__metadata__":{}}`, 0), ErrDuplicateKey},
	{"duplicate metadata key", file(`{"__metadata__":{"a":"","a":""}}`, 0), ErrDuplicateKey},
	{"metadata no object", file(`{"__metadata__":"x"}`, 0), ErrMetadata},
	{"metadata of a number", file(`{"__metadata__":{"a":1}}`, 0), ErrMetadata},
	{"metadata of an object", file(`{"__metadata__":{"a":{}}}`, 0), ErrMetadata},
	{"no dtype", file(`{"a":{"shape":[0],"data_offsets":[0,0]}}`, 0), ErrMissingField},
	{"no fields", file(`{"a":{}}`, 0), ErrMissingField},
	{"unknown dtype", file(`{"a":{"dtype":"F31","shape":[0],"data_offsets":[0,0]}}`, 0), ErrDType},
	{"too many dimensions", file(`{"a":{"dtype":"U8","shape":[`+strings.Repeat("1,", MaxRank)+`1],"data_offsets":[0,1]}}`, 1), ErrRank},
	{"dimension beyond 64 bits", file(`{"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,0]}}`, 0), ErrOverflow},
	{"dimension beyond int", file(`{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,0]}}`, 0), ErrOverflow},
	{"product overflows", file(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), ErrOverflow},
	{"product overflows before zero", file(`{"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}`, 0), ErrOverflow},
	{"bits overflow", file(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, 0), ErrOverflow},
	{"half a byte", file(`{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}`, 1), ErrSubByte},
	{"reversed offsets", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 1), ErrOffsetOrder},
	{"overlap", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), ErrOverlap},
	{"same bytes twice", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2), ErrOverlap},
	{"hole at the start", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), ErrHole},
	{"hole between", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3), ErrHole},
	{"shape smaller than offsets", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}`, 8), ErrTensorSize},
	{"shape larger than offsets", file(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), ErrTensorSize},
	{"buffer too short", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 7), ErrTruncated},
	{"buffer too long", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 9), ErrTrailing},
	{"bytes without tensors", file(`{}`, 1), ErrTrailing},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			f, err := Parse(v.data)
			if !errors.Is(err, v.want) {
				t.Fatalf("Parse = %v, want %v", err, v.want)
			}
			if v.want != nil {
				return
			}
			// The same bytes through the file system.
			path := filepath.Join(t.TempDir(), "m.safetensors")
			if err := os.WriteFile(path, v.data, 0o600); err != nil {
				t.Fatal(err)
			}
			g, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(f.tensors, g.tensors) || !reflect.DeepEqual(f.Metadata(), g.Metadata()) || g.Size() != int64(len(v.data)) {
				t.Errorf("Open = %v, Parse = %v", g.tensors, f.tensors)
			}
			if err := g.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
}

// TestHeaderTimeIsLinear compares the times for n and for 16n tensors, the best of
// several each, so that a busy machine does not decide.
func TestHeaderTimeIsLinear(t *testing.T) {
	parse := func(n int) time.Duration {
		var b strings.Builder
		b.WriteByte('{')
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"t%d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i, n-1-i, n-i)
		}
		b.WriteByte('}')
		data := file(b.String(), n)
		best := time.Duration(math.MaxInt64)
		for range 8 {
			start := time.Now()
			f, err := Parse(data)
			best = min(best, time.Since(start))
			if err != nil || len(f.Names()) != n {
				t.Fatalf("Parse = %v", err)
			}
		}
		return best
	}
	// Observed: 20 to 40, for sorting and for caches. A quadratic parser needs 256.
	small, large := parse(500), parse(8000)
	if large > 120*small {
		t.Errorf("Parse of 500 tensors took %v, of 8000 %v", small, large)
	}
	t.Logf("500 tensors: %v, 8000: %v", small, large)
}

func sample() ([]Tensor, map[string]string) {
	return []Tensor{
		FromInt8("i8", []int{3}, []int8{-128, 0, 127}),
		FromFloat32("f32", []int{2, 2}, []float32{1, -2.5, float32(math.Inf(1)), 1e-40}),
		{Name: "bf16", DType: BF16, Shape: []int{3}, Data: BF16FromFloat32([]float32{1, -3, 0.5})},
		{Name: "f16", DType: F16, Shape: []int{2}, Data: []byte{0x00, 0x3c, 0x01, 0x00}},
		FromFloat64("f64", []int{1}, []float64{math.Pi}),
		FromInt64("i64", []int{}, []int64{-1 << 62}),
		{Name: "empty \"<ü>", DType: F32, Shape: []int{0}, Data: []byte{}},
	}, map[string]string{"format": "pt", "a<b": "\x01\"\\"}
}

func TestRoundTrip(t *testing.T) {
	tensors, meta := sample()
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := WriteFile(path, tensors, meta); err != nil {
		t.Fatal(err)
	}
	f, err := OpenDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !reflect.DeepEqual(f.Metadata(), meta) {
		t.Errorf("Metadata() = %q, want %q", f.Metadata(), meta)
	}
	for _, want := range tensors {
		got, err := f.Tensor(want.Name)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Tensor(%q) = %v, %v, want %v", want.Name, got, err, want)
		}
	}
	get := func(name string) Tensor {
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	if v, err := get("i8").Int8(); err != nil || !reflect.DeepEqual(v, []int8{-128, 0, 127}) {
		t.Errorf("Int8 = %v, %v", v, err)
	}
	if v, err := get("f32").Float32(); err != nil || v[1] != -2.5 || v[3] != 1e-40 {
		t.Errorf("Float32 = %v, %v", v, err)
	}
	if v, err := get("f64").Float64(); err != nil || v[0] != math.Pi {
		t.Errorf("Float64 = %v, %v", v, err)
	}
	if v, err := get("i64").Int64(); err != nil || v[0] != -1<<62 {
		t.Errorf("Int64 = %v, %v", v, err)
	}
	if v, err := get("bf16").AppendFloat32([]float32{7}); err != nil || !reflect.DeepEqual(v, []float32{7, 1, -3, 0.5}) {
		t.Errorf("AppendFloat32(bf16) = %v, %v", v, err)
	}
	if v, err := get("f16").AppendFloat32(nil); err != nil || !reflect.DeepEqual(v, []float32{1, 0x1p-24}) {
		t.Errorf("AppendFloat32(f16) = %v, %v", v, err)
	}
	if v, err := get("f32").AppendFloat32(nil); err != nil || v[1] != -2.5 {
		t.Errorf("AppendFloat32(f32) = %v, %v", v, err)
	}
	if _, err := get("f32").Uint16(); !errors.Is(err, ErrViewType) {
		t.Errorf("Uint16 of F32 = %v, want %v", err, ErrViewType)
	}
	if _, err := get("i8").AppendFloat32(nil); !errors.Is(err, ErrViewType) {
		t.Errorf("AppendFloat32 of I8 = %v, want %v", err, ErrViewType)
	}
	if _, err := f.Tensor("none"); !errors.Is(err, ErrNoTensor) {
		t.Errorf("Tensor(none) = %v, want %v", err, ErrNoTensor)
	}
	f.Release() // pages come back
	if v, err := get("f64").Float64(); err != nil || v[0] != math.Pi {
		t.Errorf("Float64 after Release = %v, %v", v, err)
	}

	// Order of arguments does not change the bytes.
	var a, b bytes.Buffer
	if err := Write(&a, tensors, meta); err != nil {
		t.Fatal(err)
	}
	for i, j := 0, len(tensors)-1; i < j; i, j = i+1, j-1 {
		tensors[i], tensors[j] = tensors[j], tensors[i]
	}
	if err := Write(&b, tensors, meta); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("Write depends on the order of its tensors")
	}
}

// TestViewsAlias shows that aligned tensors are not copied and that misaligned
// ones are read all the same.
func TestViewsAlias(t *testing.T) {
	tensors, meta := sample()
	var buf bytes.Buffer
	if err := Write(&buf, tensors, meta); err != nil {
		t.Fatal(err)
	}
	for shift := range 8 {
		data := append(make([]byte, shift, buf.Len()+shift), buf.Bytes()...)[shift:]
		f, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		x, _ := f.Tensor("f32")
		v, err := x.Float32()
		if err != nil || !reflect.DeepEqual(v[:3], []float32{1, -2.5, float32(math.Inf(1))}) {
			t.Errorf("shift %d: Float32 = %v, %v", shift, v, err)
		}
		old := v[0]
		x.Data[3] ^= 0x80 // the sign of element 0
		if alias := v[0] == -old; alias != (shift%4 == 0) {
			t.Errorf("shift %d: view aliases the data: %t", shift, alias)
		}
	}
}

func TestFloat16(t *testing.T) {
	for h := range 1 << 16 {
		got := float64(F16ToFloat32(uint16(h)))
		exp, frac := h>>10&31, float64(h&1023)
		want := math.Ldexp(1+frac/1024, exp-15)
		switch exp {
		case 0:
			want = frac * 0x1p-24
		case 31:
			want = math.Inf(1)
			if frac != 0 {
				want = math.NaN()
			}
		}
		if h>>15 == 1 {
			want = -want
		}
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != math.Signbit(want) && !math.IsNaN(want) {
			t.Fatalf("F16ToFloat32(%#x) = %g, want %g", h, got, want)
		}
	}
}

func TestBF16Rounding(t *testing.T) {
	for _, c := range []struct {
		in   uint32
		want uint16
	}{
		{0x3f800000, 0x3f80},
		{0x3f808000, 0x3f80}, // tie to even, down
		{0x3f818000, 0x3f82}, // tie to even, up
		{0x3f808001, 0x3f81}, // above the tie
		{0x7f7fffff, 0x7f80}, // overflows to infinity, as round to nearest says
		{0xff800000, 0xff80}, // -Inf
		{0x7f800001, 0x7fc0}, // a signalling NaN does not become infinity
		{0xffffffff, 0xffff}, // nor does the largest one wrap
		{0x00000001, 0},
		{0x80000000, 0x8000},
	} {
		got := binary.LittleEndian.Uint16(BF16FromFloat32([]float32{math.Float32frombits(c.in)}))
		if got != c.want {
			t.Errorf("BF16FromFloat32(%#08x) = %#04x, want %#04x", c.in, got, c.want)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	one := FromInt8("a", []int{1}, []int8{1})
	for _, c := range []struct {
		name    string
		tensors []Tensor
		meta    map[string]string
		want    error
	}{
		{"duplicate", []Tensor{one, one}, nil, ErrDuplicateKey},
		{"reserved name", []Tensor{FromInt8(metadataKey, []int{1}, []int8{1})}, nil, ErrName},
		{"name not UTF-8", []Tensor{FromInt8("\xff", []int{1}, []int8{1})}, nil, ErrName},
		{"metadata not UTF-8", nil, map[string]string{"a": "\xff"}, ErrMetadata},
		{"dtype", []Tensor{{Name: "a", DType: "X"}}, nil, ErrDType},
		{"size", []Tensor{{Name: "a", DType: F32, Shape: []int{2}, Data: make([]byte, 4)}}, nil, ErrTensorSize},
		{"negative", []Tensor{{Name: "a", DType: F32, Shape: []int{-1}}}, nil, ErrOverflow},
		{"rank", []Tensor{{Name: "a", DType: F32, Shape: make([]int, MaxRank+1)}}, nil, ErrRank},
	} {
		dir := t.TempDir()
		if err := WriteFile(filepath.Join(dir, "x.safetensors"), c.tensors, c.meta); !errors.Is(err, c.want) {
			t.Errorf("%s: WriteFile = %v, want %v", c.name, err, c.want)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: WriteFile left %v behind", c.name, left)
		}
	}
	if err := WriteFile(filepath.Join(t.TempDir(), "no", "x.safetensors"), nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile into nowhere = %v, want %v", err, fs.ErrNotExist)
	}
}

// TestWriteFileFunc: data that comes piece by piece gives the same file, and too
// little or too much of it none.
func TestWriteFileFunc(t *testing.T) {
	tensors, meta := sample()
	var want bytes.Buffer
	if err := Write(&want, tensors, meta); err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{}
	for i := range tensors {
		data[tensors[i].Name] = tensors[i].Data
		tensors[i].Data = nil
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.safetensors")
	err := WriteFileFunc(path, tensors, meta, func(w io.Writer, t Tensor) error {
		for _, b := range data[t.Name] {
			if _, err := w.Write([]byte{b}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("WriteFileFunc wrote %d bytes (%v), not the %d of Write", len(got), err, want.Len())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, surplus := range []int{-1, 1} {
		err := WriteFileFunc(path, tensors, meta, func(w io.Writer, t Tensor) error {
			_, err := w.Write(make([]byte, max(0, len(data[t.Name])+surplus)))
			return err
		})
		if !errors.Is(err, ErrTensorSize) {
			t.Errorf("with %+d bytes a tensor: %v, want %v", surplus, err, ErrTensorSize)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("with %+d bytes a tensor: left %v behind", surplus, left)
		}
	}
}

func writeShard(t *testing.T, dir, name string, meta map[string]string, tensors ...string) {
	t.Helper()
	var ts []Tensor
	for _, n := range tensors {
		ts = append(ts, FromFloat32(n, []int{1}, []float32{float32(len(n))}))
	}
	if err := WriteFile(filepath.Join(dir, name), ts, meta); err != nil {
		t.Fatal(err)
	}
}

func TestShards(t *testing.T) {
	for _, c := range []struct {
		name, index string
		want        error
	}{
		{"good", `{"metadata":{"total_size":12},"weight_map":{"a":"1.safetensors","bb":"2.safetensors","ccc":"1.safetensors"}}`, nil},
		{"missing tensor", `{"weight_map":{"a":"1.safetensors","bb":"2.safetensors","ccc":"1.safetensors","d":"1.safetensors"}}`, ErrShardMismatch},
		{"extra tensor", `{"weight_map":{"a":"1.safetensors","bb":"2.safetensors"}}`, ErrShardMismatch},
		{"wrong shard", `{"weight_map":{"a":"2.safetensors","bb":"2.safetensors","ccc":"1.safetensors"}}`, ErrShardMismatch},
		{"tensor in two shards", `{"weight_map":{"a":"1.safetensors","ccc":"1.safetensors","bb":"2.safetensors","x":"3.safetensors"}}`, ErrDuplicateKey},
		{"missing shard", `{"weight_map":{"a":"9.safetensors"}}`, fs.ErrNotExist},
		{"path up", `{"weight_map":{"a":"../1.safetensors"}}`, ErrShardName},
		{"path down", `{"weight_map":{"a":"x/1.safetensors"}}`, ErrShardName},
		{"path absolute", `{"weight_map":{"a":"/etc/1.safetensors"}}`, ErrShardName},
		{"path of Windows", `{"weight_map":{"a":"..\\1.safetensors"}}`, ErrShardName},
		{"drive of Windows", `{"weight_map":{"a":"C:1.safetensors"}}`, ErrShardName},
		{"other file", `{"weight_map":{"a":"config.json"}}`, ErrShardName},
		{"no weight_map", `{}`, ErrIndex},
		{"empty weight_map", `{"weight_map":{}}`, ErrIndex},
		{"null weight_map", `{"weight_map":null}`, ErrIndex},
		{"not strings", `{"weight_map":{"a":1}}`, ErrIndex},
		{"duplicate", `{"weight_map":{"a":"1.safetensors","a":"1.safetensors"}}`, ErrDuplicateKey},
		{"not JSON", `{`, ErrIndex},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeShard(t, dir, "1.safetensors", map[string]string{"k": "1"}, "a", "ccc")
			writeShard(t, dir, "2.safetensors", map[string]string{"k": "2", "l": "2"}, "bb")
			writeShard(t, dir, "3.safetensors", nil, "a", "x")
			if err := os.WriteFile(filepath.Join(dir, indexFile), []byte(c.index), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := OpenDir(dir)
			if !errors.Is(err, c.want) {
				t.Fatalf("OpenDir = %v, want %v", err, c.want)
			}
			if err != nil {
				return
			}
			defer f.Close()
			if got, want := f.Names(), []string{"a", "bb", "ccc"}; !reflect.DeepEqual(got, want) {
				t.Errorf("Names() = %v, want %v", got, want)
			}
			if got, want := f.Metadata(), (map[string]string{"k": "1", "l": "2"}); !reflect.DeepEqual(got, want) {
				t.Errorf("Metadata() = %v, want %v", got, want)
			}
			x, err := f.Tensor("bb")
			if v, verr := x.Float32(); err != nil || verr != nil || v[0] != 2 {
				t.Errorf("Tensor(bb) = %v, %v, %v", v, err, verr)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenDir(dir); !errors.Is(err, ErrNoWeights) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenDir of an empty directory = %v, want %v", err, ErrNoWeights)
	}
	if _, err := Open(dir); !errors.Is(err, ErrNotFile) {
		t.Errorf("Open of a directory = %v, want %v", err, ErrNotFile)
	}
	empty := filepath.Join(dir, "e.safetensors")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(empty); !errors.Is(err, ErrTooSmall) {
		t.Errorf("Open of an empty file = %v, want %v", err, ErrTooSmall)
	}
}

func TestUseAfterClosePanics(t *testing.T) {
	f, err := Parse(file(`{}`, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Names after Close did not panic")
		}
	}()
	f.Names()
}

// FuzzParse checks what a caller relies on: no panic, tensors within the data,
// and a file that can be written again to the same effect.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		if len(v.data) < 1<<12 {
			f.Add(v.data)
		}
	}
	tensors, meta := sample()
	var buf bytes.Buffer
	if err := Write(&buf, tensors, meta); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Parse(data)
		if err != nil {
			return
		}
		total := 0
		for _, x := range a.tensors {
			total += len(x.Data)
			if x.Len()*x.DType.Bits() != len(x.Data)*8 {
				t.Fatalf("tensor %q: %s %v has %d bytes", x.Name, x.DType, x.Shape, len(x.Data))
			}
			_, _ = x.Float32()
			_, _ = x.Uint16()
			_, _ = x.AppendFloat32(nil)
		}
		if n := int(binary.LittleEndian.Uint64(data)); total != len(data)-lengthSize-n {
			t.Fatalf("tensors cover %d bytes of %d", total, len(data)-lengthSize-n)
		}
		var buf bytes.Buffer
		if err := Write(&buf, a.tensors, a.meta); err != nil {
			t.Fatalf("Write of a parsed file = %v", err)
		}
		b, err := Parse(buf.Bytes())
		if err != nil {
			t.Fatalf("Parse of a written file = %v", err)
		}
		if !reflect.DeepEqual(a.tensors, b.tensors) || !reflect.DeepEqual(a.meta, b.meta) {
			t.Fatalf("round trip: %v, want %v", b.tensors, a.tensors)
		}
	})
}

// FuzzIndex checks that no index leads out of its directory.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"weight_map":{"a":"1.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../1.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"C:\\1.safetensors"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		weights, err := parseIndex(data)
		if err != nil {
			return
		}
		for _, shard := range weights {
			if filepath.Join("dir", shard) != "dir"+string(filepath.Separator)+shard {
				t.Fatalf("shard %q leaves its directory", shard)
			}
		}
	})
}
