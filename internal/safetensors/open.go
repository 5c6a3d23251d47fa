package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
)

// Open maps one .safetensors file. Where the operating system does not map files
// for us, it is read into memory.
func Open(path string) (*File, error) {
	f := &File{index: map[string]int{}, meta: map[string]string{}}
	if err := f.open(path); err != nil {
		return nil, err
	}
	f.sort()
	return f, nil
}

// OpenDir opens the checkpoint of a directory in Hugging Face layout:
// model.safetensors or, if there is none, the shards that
// model.safetensors.index.json names. Shards lie in the same directory; the
// index and the shards must name exactly the same tensors.
func OpenDir(dir string) (*File, error) {
	f, err := Open(filepath.Join(dir, singleFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	path := filepath.Join(dir, indexFile)
	weights, err := readIndex(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("safetensors: directory %q: %w", dir, fmt.Errorf("%w: %w", ErrNoWeights, fs.ErrNotExist))
	}
	if err != nil {
		return nil, fmt.Errorf("safetensors: index %q: %w", path, err)
	}
	return openShards(dir, weights)
}

// openShards maps the shards that weights (tensor to shard) names.
func openShards(dir string, weights map[string]string) (*File, error) {
	f := &File{index: map[string]int{}, meta: map[string]string{}}
	fail := func(err error) (*File, error) {
		f.Close()
		return nil, err
	}
	shards := slices.Compact(slices.Sorted(maps.Values(weights)))
	if len(shards) > MaxShards {
		return nil, fmt.Errorf("safetensors: index of %q: %w: %d, limit %d", dir, ErrTooManyShards, len(shards), MaxShards)
	}
	for _, shard := range shards {
		first := len(f.tensors)
		path := filepath.Join(dir, shard)
		if err := f.open(path); err != nil {
			return fail(err)
		}
		for _, t := range f.tensors[first:] {
			if weights[t.Name] != shard {
				return fail(fmt.Errorf("safetensors: shard %q: %w: tensor %q is not expected there", path, ErrShardMismatch, t.Name))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		if _, ok := f.index[name]; !ok {
			return fail(fmt.Errorf("safetensors: shard %q: %w: tensor %q is not there",
				filepath.Join(dir, weights[name]), ErrShardMismatch, name))
		}
	}
	f.sort()
	return f, nil
}

// open maps the file at path and adds its tensors.
func (f *File) open(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	defer file.Close()
	fail := func(err error) error { return fmt.Errorf("safetensors: open %q: %w", path, err) }
	info, err := file.Stat()
	switch {
	case err != nil:
		return fail(err)
	case !info.Mode().IsRegular():
		return fail(ErrNotFile)
	case info.Size() < lengthSize:
		return fail(fmt.Errorf("%w: %d bytes", ErrTooSmall, info.Size()))
	case info.Size() > math.MaxInt:
		return fail(fmt.Errorf("%w: %d bytes do not fit this machine's addresses", ErrOverflow, info.Size()))
	}
	m, err := mapFile(file, int(info.Size()))
	if err != nil {
		return fail(err)
	}
	if err := f.add(m.data); err != nil {
		return fail(errors.Join(err, m.close()))
	}
	f.shards = append(f.shards, m)
	return nil
}

// readIndex returns the index's weight_map, tensor to shard, with the names of
// the shards checked.
func readIndex(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, ErrNotFile
	}
	b, err := io.ReadAll(io.LimitReader(file, MaxHeader+1))
	if err != nil {
		return nil, err
	}
	return parseIndex(b)
}

func parseIndex(b []byte) (map[string]string, error) {
	if len(b) > MaxHeader {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrIndex, MaxHeader)
	}
	var index struct {
		WeightMap json.RawMessage `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("%w: no weight_map", ErrIndex)
	}
	weights := map[string]string{}
	s := scanner{b: index.WeightMap}
	if err := s.stringMap(weights, ErrIndex); err != nil {
		return nil, fmt.Errorf("weight_map: %w", err)
	}
	if len(weights) == 0 {
		return nil, fmt.Errorf("%w: empty weight_map", ErrIndex)
	}
	for _, shard := range weights {
		if !plainName(shard) {
			return nil, fmt.Errorf("%w: %q", ErrShardName, shard)
		}
	}
	return weights, nil
}

// plainName tells whether name is a file of the directory itself on every
// operating system: an index comes from the network and must not reach out.
func plainName(name string) bool {
	return strings.HasSuffix(name, ".safetensors") &&
		!strings.ContainsAny(name, "/\\:\x00") &&
		filepath.IsLocal(name)
}
