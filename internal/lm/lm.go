// Package lm runs small language models to look at their hidden states: a
// config.json and a checkpoint in Hugging Face layout become a forward pass over
// token ids that hands out what the layers hold.
//
//	config, err := lm.ParseConfig(configJSON)
//	model, err := lm.Load(config, weights, lm.Options{Depth: 15})
//	run := model.NewRun()
//	err = run.Forward(ctx, nil, ids, []int{len(ids)}, []lm.Tap{{Layer: 15, Stream: lm.Residual}})
//	states := run.Hidden(0) // (len(ids), dim)
//
// The Llama family is supported (Llama, SmolLM2, TinyLlama, Mistral). What is not
// is refused when the configuration is read, never run half right.
//
// # What a state depends on
//
// On the tokens of its own sequence up to its own position, and on nothing else:
// not on what else is in the batch, on whether the first tokens came as a
// [Prefix], on the number of threads, on which taps are read or on how often the
// [Run] was used. With one implementation of package kernel this holds to the last
// bit, and tests keep it so. Between implementations (AVX-512 and AVX2 on the one
// hand, generic Go on the other) states differ by rounding, in [Int8] too: its
// products are exact, but norms and attention are not.
//
// # Memory
//
// Weights: the matrices of the blocks are packed once, in one byte a value for [Int8]; for
// [F32] bfloat16 ones in two bytes and all others in four; and only for the layers
// that Options.Depth asks for. Embedding rows (and the head, for [Model.Logits]) are
// read where they lie in the mapped file, whose other pages are given back after
// packing. SmolLM2-135M takes 107 MB in Int8, 212 MB in F32, and half of that at
// half its depth: [Model.Bytes].
//
// Runs: a Run keeps what its largest batch needed, [Run.Bytes]. For T tokens in
// sequences of at most L, prefix included, with t taps and n threads it is, in
// values of four bytes, about
//
//	T·(hidden + heads·headDim + 2·kvHeads·headDim + t·hidden)
//	+ n·(128·(hidden + 2·intermediate) + L·(2·headDim + 64)) + L·headDim
//
// so linear in the tokens: attention never holds more than 64 rows of scores a
// thread. One sequence of 512 tokens through SmolLM2 takes 6 MiB with one tap and
// one thread. Int8 needs intermediate once instead of twice, and 128 rows of bytes.
//
// # What it will not do
//
// It does not tokenise, generate text, train, or fetch anything. It believes
// neither the configuration nor the checkpoint: sizes are bounded, each tensor's
// shape is checked, missing and surplus ones are named. F32 does not look at the
// values: a NaN in the weights is a NaN in the states. Int8 refuses matrices that
// have one.
package lm

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

// Options say how much of a model to load and how to run it. The zero value loads
// all of it and uses the whole machine.
type Options struct {
	// Depth is the deepest layer that a tap will ask for: deeper ones are checked
	// but neither packed nor run. 0 is all layers.
	Depth int
	// Threads is the number of goroutines that compute, the caller of Forward
	// included. 0 is GOMAXPROCS. With 1 everything runs in the caller.
	Threads int
	// Arithmetic is how matrices are multiplied; F32 unless set.
	Arithmetic Arithmetic
}

// Model is a loaded model: immutable, and safe for concurrent use through any
// number of Runs, which share its workers. The checkpoint that it was loaded from
// must stay open for as long as the model is in use: embeddings are read there.
type Model struct {
	config      Config
	arithmetic  Arithmetic
	depth       int
	embed, head matrixView
	weights     *safetensors.File
	looked      atomic.Int64 // rows of embed that were read since their pages were given back
	norm        []float32    // final, (hidden)
	blocks      []block      // depth of them
	frequencies []float64    // RoPE, (headDim/2)
	pool        *pool
	stop        sync.Once
}

// block is the weights of one layer. K inputs and N outputs are written (K, N).
type block struct {
	attentionNorm []float32 // (hidden)
	qkv           linear    // (hidden, q+k+v): queries of all heads, then keys, then values
	o             linear    // (heads*headDim, hidden)
	mlpNorm       []float32 // (hidden)
	gateUp        linear    // (hidden, 2*intermediate): gate, then up
	down          linear    // (intermediate, hidden)
}

// names are a family's tensor names. Those without .weight are projections, with
// a weight and perhaps a bias.
type names struct {
	embed, norm, head         string
	block                     string // format of the prefix of the names below
	attentionNorm, q, k, v, o string
	mlpNorm, gate, up, down   string
	ignore                    func(name string) bool // tensors that may be there and are not used
}

// matrixView is a matrix that stays in the checkpoint.
type matrixView struct {
	tensor safetensors.Tensor // (rows, dim)
	dim    int
}

// A system that maps a file maps the pages around the one that is touched, too, 64 KiB
// with Linux: rows here and there make all of a large embedding matrix resident. So it is given
// back from time to time, which costs a page fault for each row that is read again,
// below 1 % of what a model with such a matrix spends on a token.
const (
	releaseBytes = 16 << 20 // smaller ones may stay
	releaseRows  = 256      // 16 MiB of pages at most
)

// embedded is told how many rows of the embedding matrix were read.
func (m *Model) embedded(rows int) {
	if len(m.embed.tensor.Data) < releaseBytes || m.looked.Add(int64(rows)) < releaseRows {
		return
	}
	m.looked.Store(0)
	m.weights.Release()
}

// row writes row i to dst, as float32.
func (v matrixView) row(dst []float32, i int) {
	size := v.dim * v.tensor.DType.Bits() / 8
	t := safetensors.Tensor{DType: v.tensor.DType, Data: v.tensor.Data[i*size:][:size]}
	if _, err := t.AppendFloat32(dst[:0:v.dim]); err != nil {
		panic("lm: " + err.Error()) // load has checked the type
	}
}

// Load checks the checkpoint against the configuration and packs its weights,
// with up to Options.Threads goroutines. It gives the checkpoint's mapped pages
// back to the system and keeps the checkpoint itself in use, see [Model].
func Load(config Config, weights *safetensors.File, opt Options) (*Model, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("lm: %w", err)
	}
	fam, ok := families[config.Family]
	if !ok {
		return nil, fmt.Errorf("lm: %w: family %q", ErrUnsupported, config.Family)
	}
	if opt.Depth < 0 || opt.Depth > config.Layers {
		return nil, fmt.Errorf("lm: %w: depth %d of a model of %d layers", ErrTap, opt.Depth, config.Layers)
	}
	if opt.Threads < 0 {
		return nil, fmt.Errorf("lm: %w: %d threads", ErrConfig, opt.Threads)
	}
	depth, threads := opt.Depth, opt.Threads
	if depth == 0 {
		depth = config.Layers
	}
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	if opt.Arithmetic > Int8 {
		return nil, fmt.Errorf("lm: %w: %v", ErrConfig, opt.Arithmetic)
	}
	l := &loader{config: config, names: fam.names, weights: weights, arithmetic: opt.Arithmetic}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("lm: load: %w", err)
	}

	m := &Model{
		config:      config,
		arithmetic:  opt.Arithmetic,
		depth:       depth,
		embed:       matrixView{l.tensor(l.names.embed), config.Hidden},
		weights:     weights,
		norm:        l.vector(l.names.norm),
		blocks:      make([]block, depth),
		frequencies: config.Rope.frequencies(config.HeadDim),
		pool:        newPool(threads),
	}
	m.head = m.embed
	if !config.TiedHead {
		m.head = matrixView{l.tensor(l.names.head), config.Hidden}
	}
	errs := make([]error, depth)
	m.pool.run(&job{finished: make(chan struct{}, 1)}, func(_, i int) {
		m.blocks[i], errs[i] = l.block(i)
		weights.Release() // what has been packed need not stay resident
	}, depth)
	for _, err := range errs {
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lm: load: %w", err), m.Close())
		}
	}
	return m, nil
}

// Config returns the model's configuration.
func (m *Model) Config() Config { return m.config }

// Arithmetic returns how the model multiplies.
func (m *Model) Arithmetic() Arithmetic { return m.arithmetic }

// Depth returns the deepest layer that was loaded.
func (m *Model) Depth() int { return m.depth }

// Threads returns the number of goroutines that compute a Forward.
func (m *Model) Threads() int { return m.pool.size }

// Bytes returns the memory of the packed weights.
func (m *Model) Bytes() int {
	n := 4 * len(m.norm)
	for _, b := range m.blocks {
		n += b.qkv.bytes() + b.o.bytes() + b.gateUp.bytes() + b.down.bytes()
		n += 4 * (len(b.attentionNorm) + len(b.mlpNorm))
	}
	return n
}

// Close ends the model's workers. Runs in progress end well, and later ones work,
// too, on their caller's goroutine alone. The checkpoint is not closed.
func (m *Model) Close() error {
	m.stop.Do(func() { close(m.pool.quit) })
	return nil
}

// loader finds a model's weights in a checkpoint. Its methods beyond check rely
// on what check has established.
type loader struct {
	config     Config
	names      names
	weights    *safetensors.File
	arithmetic Arithmetic
}

// check compares the checkpoint with what the configuration asks for: every
// tensor, its shape and its type.
func (l *loader) check() error {
	var missing []string
	known := map[string]bool{}
	want := func(name string, shape ...int) error {
		known[name] = true
		t, err := l.weights.Tensor(name)
		if errors.Is(err, safetensors.ErrNoTensor) {
			missing = append(missing, name)
			return nil
		}
		if err != nil {
			return err
		}
		if !slices.Equal(t.Shape, shape) {
			return fmt.Errorf("%w: tensor %q has shape %v, want %v", ErrTensor, name, t.Shape, shape)
		}
		switch t.DType {
		case safetensors.F32, safetensors.F16, safetensors.BF16:
			return nil
		}
		return fmt.Errorf("%w: tensor %q has type %s, want F32, F16 or BF16", ErrTensor, name, t.DType)
	}
	c, n := l.config, l.names
	projection := func(name string, bias bool, out, in int) error {
		err := want(name+".weight", out, in)
		if bias && err == nil {
			err = want(name+".bias", out)
		}
		return err
	}
	err := errors.Join(want(n.embed, c.Vocab, c.Hidden), want(n.norm, c.Hidden))
	if c.TiedHead {
		known[n.head] = true // some exporters write it twice
	} else {
		err = errors.Join(err, want(n.head, c.Vocab, c.Hidden))
	}
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	for i := 0; i < c.Layers && err == nil; i++ {
		b := fmt.Sprintf(n.block, i)
		err = errors.Join(
			want(b+n.attentionNorm, c.Hidden),
			projection(b+n.q, c.AttentionBias, q, c.Hidden),
			projection(b+n.k, c.AttentionBias, kv, c.Hidden),
			projection(b+n.v, c.AttentionBias, kv, c.Hidden),
			projection(b+n.o, c.AttentionBias, c.Hidden, q),
			want(b+n.mlpNorm, c.Hidden),
			projection(b+n.gate, c.MLPBias, c.Intermediate, c.Hidden),
			projection(b+n.up, c.MLPBias, c.Intermediate, c.Hidden),
			projection(b+n.down, c.MLPBias, c.Hidden, c.Intermediate),
		)
	}
	if err != nil {
		return err
	}
	var extra []string
	for _, name := range l.weights.Names() {
		if !known[name] && !n.ignore(name) {
			extra = append(extra, name)
		}
	}
	if len(missing)+len(extra) > 0 {
		return fmt.Errorf("%w: %s", ErrTensor, strings.Join(slices.Concat(some("missing", missing), some("not expected", extra)), ", "))
	}
	return nil
}

// some lists the first of many names.
func some(what string, names []string) []string {
	const shown = 8
	if len(names) == 0 {
		return nil
	}
	more := ""
	if len(names) > shown {
		more = fmt.Sprintf(" and %d more", len(names)-shown)
		names = names[:shown]
	}
	return []string{fmt.Sprintf("%s %q%s", what, names, more)}
}

func (l *loader) tensor(name string) safetensors.Tensor {
	t, err := l.weights.Tensor(name)
	if err != nil {
		panic("lm: " + err.Error()) // check has seen it
	}
	return t
}

// vector returns the concatenation of small tensors.
func (l *loader) vector(names ...string) []float32 {
	var v []float32
	for _, name := range names {
		var err error
		if v, err = l.tensor(name).AppendFloat32(v); err != nil {
			panic("lm: " + err.Error()) // check has seen its type
		}
	}
	return v
}

// linear packs projections with the same inputs, one below the other, for the
// arithmetic. gated is for the two halves of a gated MLP.
func (l *loader) linear(bias, gated bool, projections ...string) (linear, error) {
	var parts []safetensors.Tensor
	rows, bf16 := 0, true
	for _, name := range projections {
		t := l.tensor(name + ".weight")
		parts = append(parts, t)
		rows += t.Shape[0]
		bf16 = bf16 && t.DType == safetensors.BF16
	}
	k := parts[0].Shape[1]
	part := func(n int) (safetensors.Tensor, int) {
		for i := 0; ; i++ {
			if n < parts[i].Shape[0] {
				return parts[i], n
			}
			n -= parts[i].Shape[0]
		}
	}
	b := l.bias(bias, projections...)
	switch {
	case l.arithmetic == Int8:
		pack, outputs := kernel.PackInt8, rows
		if gated {
			pack, outputs = kernel.PackInt8Gated, rows/2
		}
		var last string // the tensor in hand
		m, err := pack(func(n int, dst []float32) {
			t, n := part(n)
			last = t.Name
			matrixView{t, k}.row(dst, n)
		}, b, k, outputs)
		if err != nil {
			return linear{}, fmt.Errorf("%w: tensor %q: %w", ErrTensor, last, err)
		}
		return linear{int8: m}, nil
	case bf16:
		return linear{bias: b, f32: kernel.PackBF16(func(n int, dst []uint16) {
			t, n := part(n)
			row := safetensors.Tensor{DType: t.DType, Data: t.Data[2*n*k:][:2*k]}
			bits, err := row.Uint16()
			if err != nil {
				panic("lm: " + err.Error())
			}
			copy(dst, bits)
		}, k, rows)}, nil
	}
	return linear{bias: b, f32: kernel.Pack(func(n int, dst []float32) {
		t, n := part(n)
		matrixView{t, k}.row(dst, n)
	}, k, rows)}, nil
}

// bias returns the biases of projections, nil if the model has none.
func (l *loader) bias(has bool, projections ...string) []float32 {
	if !has {
		return nil
	}
	var v []string
	for _, name := range projections {
		v = append(v, name+".bias")
	}
	return l.vector(v...)
}

// block packs the weights of block i.
func (l *loader) block(i int) (b block, err error) {
	p, n, c := fmt.Sprintf(l.names.block, i), l.names, l.config
	pack := func(bias, gated bool, projections ...string) (m linear) {
		if err == nil {
			m, err = l.linear(bias, gated, projections...)
		}
		return m
	}
	b = block{
		attentionNorm: l.vector(p + n.attentionNorm),
		qkv:           pack(c.AttentionBias, false, p+n.q, p+n.k, p+n.v),
		o:             pack(c.AttentionBias, false, p+n.o),
		mlpNorm:       l.vector(p + n.mlpNorm),
		gateUp:        pack(c.MLPBias, true, p+n.gate, p+n.up),
		down:          pack(c.MLPBias, false, p+n.down),
	}
	return b, err
}

// Logits computes the model's next-token scores: the final norm and the head over
// rows of the last layer's residual stream (rows, dim). It writes dst (rows, vocab)
// and returns dst, or a new slice if dst is too short. It reads the whole head from
// the checkpoint and is meant for tests and diagnosis.
func (m *Model) Logits(dst, hidden []float32) []float32 {
	c := m.config
	if len(hidden)%c.Hidden != 0 {
		panic("lm: Logits of a part of a row")
	}
	rows := len(hidden) / c.Hidden
	if cap(dst) < rows*c.Vocab {
		dst = make([]float32, rows*c.Vocab)
	}
	dst = dst[:rows*c.Vocab]
	normed := make([]float32, len(hidden))
	for i := range rows {
		m.finalNorm(normed[i*c.Hidden:][:c.Hidden], hidden[i*c.Hidden:][:c.Hidden])
	}
	w := make([]float32, c.Hidden)
	for v := range c.Vocab {
		m.head.row(w, v)
		for i := range rows {
			dst[i*c.Vocab+v] = kernel.Dot(normed[i*c.Hidden:][:c.Hidden], w)
		}
	}
	return dst
}

// finalNorm normalises one row as the head sees it.
func (m *Model) finalNorm(dst, x []float32) {
	kernel.RMSNorm(dst, x, m.norm, float32(m.config.NormEps))
}
