package reading

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/internal/lm"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
	"github.com/alkimiadev/alknet-firewall/internal/tokenizer"
)

// Bounds on the files of a model. The largest tokenizer.json in wide use
// (Llama 3, Qwen) has 17 MB; configurations have a few KB.
const (
	maxConfigBytes    = 1 << 20  // 1 MiB
	maxTokenizerBytes = 64 << 20 // 64 MiB
)

// Files are the three files of a model in Hugging Face layout.
type Files struct {
	Config    []byte // config.json
	Tokenizer []byte // tokenizer.json
	Weights   *safetensors.File
}

// OpenFiles opens a model directory. The weights are mapped, not read; close
// them after the last use of whatever was loaded from them.
func OpenFiles(dir string) (*Files, error) {
	f := &Files{}
	var err error
	if f.Config, err = ReadBounded(filepath.Join(dir, "config.json"), maxConfigBytes); err != nil {
		return nil, err
	}
	if f.Tokenizer, err = ReadBounded(filepath.Join(dir, "tokenizer.json"), maxTokenizerBytes); err != nil {
		return nil, err
	}
	if f.Weights, err = safetensors.OpenDir(dir); err != nil {
		return nil, err
	}
	return f, nil
}

// ModelDigest returns the sha256, hex, of the configuration and of every tensor
// with its name, type and shape, in the order of names: the same however the
// checkpoint is cut into shards. It reads the whole of the weights.
func (f *Files) ModelDigest() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "config %d\n", len(f.Config))
	h.Write(f.Config)
	for _, name := range f.Weights.Names() {
		t, err := f.Weights.Tensor(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "\ntensor %q %v %v %d\n", name, t.DType, t.Shape, len(t.Data))
		h.Write(t.Data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// TokenizerDigest returns the sha256 of tokenizer.json, hex.
func (f *Files) TokenizerDigest() string { return Digest(f.Tokenizer) }

// Hidden returns the model's hidden size and number of layers.
func (f *Files) Hidden() (dim, layers int, err error) {
	c, err := lm.ParseConfig(f.Config)
	return c.Hidden, c.Layers, err
}

// Load loads what the plan needs of the model: nothing above its deepest tap, in
// the arithmetic that the plan's DType names. Close the returned model when the
// reader is no longer used.
func (f *Files) Load(ctx context.Context, plan codebook.Spec, threads int) (*Reader, error) {
	config, err := lm.ParseConfig(f.Config)
	if err != nil {
		return nil, err
	}
	tok, err := tokenizer.Parse(f.Tokenizer)
	if err != nil {
		return nil, err
	}
	arithmetic, err := lm.ParseArithmetic(plan.DType)
	if err != nil {
		return nil, err
	}
	depth := 0
	for _, s := range plan.Sites {
		depth = max(depth, s.Layer)
	}
	model, err := lm.Load(config, f.Weights, lm.Options{Depth: depth, Threads: threads, Arithmetic: arithmetic})
	if err != nil {
		return nil, err
	}
	r, err := New(ctx, model, tok, plan)
	if err != nil {
		return nil, errors.Join(err, model.Close())
	}
	return r, nil
}

// Close frees the reader's model. The weights stay open.
func (r *Reader) Close() error { return r.model.Close() }

// Digest returns the sha256 of b, hex.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ReadBounded reads a file of at most limit bytes.
func ReadBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return b, nil
}
