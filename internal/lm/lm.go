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
// Decoders of these families run: Llama (SmolLM2, TinyLlama, Mistral), Qwen 2 and 3,
// GPT-2, GPT-NeoX (Pythia) and Gemma 3. They share one forward pass: a family is a
// file that says how to read config.json and what tensors are called. What is not
// supported is refused when the configuration is read, never run half right.
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
// sequences of at most L, prefix included, with t taps it is, in values of four
// bytes, about
//
//	T·(hidden + heads·headDim + 2·kvHeads·headDim + t·hidden) + L·headDim
//	+ 128·(hidden + 2·intermediate) + 64·(2·headDim + 384)
//
// so linear in the tokens: attention never holds more than 64 rows of 256 scores. The
// last line is the caller's scratch; each further thread of the model has as much.
// Keys and values of each sequence are kept in whole panels of 32 tokens, and take
// half as much where they are bfloat16. One sequence of 512 tokens through SmolLM2
// takes 6 MiB with one tap and one thread. Int8 needs intermediate
// once instead of twice, as an MLP without a gate does, and 128 rows of bytes; where
// attention and MLP are parallel there are 128·hidden more a thread.
//
// # What it will not do
//
// It does not tokenise, generate text, train, or fetch anything. It runs no encoder,
// whose states depend on what follows them. It believes neither the configuration nor
// the checkpoint: sizes are bounded, each tensor's shape is checked, missing and
// surplus ones are named. It does not look at the values: in float32, a NaN in the
// weights is a NaN in the states, and [Int8] refuses it.
package lm

import (
	"errors"
	"fmt"
	"math"
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
	positions   matrixView   // where positions are learned
	embedScale  float32      // of the embeddings; 1 for most
	norm        norm         // final, (hidden)
	blocks      []block      // depth of them
	// frequencies of RoPE, (rotaryDim/2): of the layers that see all, and of those with a
	// window, where they differ.
	frequencies [2][]float64
	attention   kernel.Format
	pool        *pool
	scratch     []scratch // of the pool's workers
	stop        sync.Once
}

// block is the weights of one layer. K inputs and N outputs are written (K, N).
type block struct {
	attentionNorm     norm   // (hidden)
	qkv               linear // (hidden, q+k+v): queries of all heads, then keys, then values
	qNorm, kNorm      norm   // (headDim) or none
	window            int    // 0 for none
	rope              int    // index of Model.frequencies
	o                 linear // (heads*headDim, hidden)
	attentionPostNorm norm   // (hidden) or none
	mlpNorm           norm   // (hidden)
	gateUp            linear // (hidden, 2*intermediate): gate, then up; (hidden, intermediate) without a gate
	down              linear // (intermediate, hidden)
	mlpPostNorm       norm   // (hidden) or none
}

// norm is the weights of a norm: LayerNorm if there is a bias, and else RMSNorm. A zero
// norm is none.
type norm struct{ weight, bias []float32 }

func (n norm) bytes() int { return 4 * (len(n.weight) + len(n.bias)) }

// names are a family's tensor names. Those without .weight are norms, or projections,
// with a weight and perhaps a bias. What a family does not have is empty.
type names struct {
	base                         string // before all names but head's; not there in checkpoints of the bare model
	embed, positions, norm, head string
	block                        string // format of what is before the names below

	attentionNorm, q, k, v, o, attentionPostNorm string
	qNorm, kNorm                                 string
	mlpNorm, gate, up, down, mlpPostNorm         string

	qkv        string // instead of q, k and v: their rows one below the other,
	qkvByHead  bool   // or q, k and v of each head
	transposed bool   // projections are stored (in, out)

	ignore func(name string) bool // tensors that may be there and are not used
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
	if fam.names.qkvByHead && config.Heads != config.KVHeads {
		return nil, fmt.Errorf("lm: %w: %d key/value heads of %d in family %q", ErrConfig, config.KVHeads, config.Heads, config.Family)
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
		config:     config,
		arithmetic: opt.Arithmetic,
		depth:      depth,
		embed:      matrixView{l.tensor(l.names.embed), config.Hidden},
		attention:  opt.Arithmetic.attention(),
		weights:    weights,
		scratch:    make([]scratch, threads-1),
		embedScale: 1,
		norm:       l.norm(l.names.norm),
		blocks:     make([]block, depth),
		pool:       newPool(threads),
	}
	m.head = m.embed
	if !config.TiedHead {
		m.head = matrixView{l.tensor(l.names.head), config.Hidden}
	}
	if config.ScaledEmbeddings {
		m.embedScale = float32(math.Sqrt(float64(config.Hidden)))
	}
	if config.LearnedPositions {
		m.positions = matrixView{l.tensor(l.names.positions), config.Hidden}
	}
	m.frequencies[0] = config.Rope.frequencies(config.rotaryDim())
	if config.LocalRope != (Rope{}) {
		m.frequencies[1] = config.LocalRope.frequencies(config.rotaryDim())
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
	n := m.norm.bytes()
	for _, b := range m.blocks {
		n += b.qkv.bytes() + b.o.bytes() + b.gateUp.bytes() + b.down.bytes()
		for _, w := range []norm{b.attentionNorm, b.qNorm, b.kNorm, b.attentionPostNorm, b.mlpNorm, b.mlpPostNorm} {
			n += w.bytes()
		}
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

// expect calls want with the name and the shape of each tensor that the model needs.
func (l *loader) expect(want func(name string, shape ...int)) {
	c, n := l.config, l.names
	norm := func(name string, dim int) {
		want(name+".weight", dim)
		if c.Norm == LayerNorm {
			want(name+".bias", dim)
		}
	}
	projection := func(name string, bias bool, out, in int) {
		if n.transposed {
			want(name+".weight", in, out)
		} else {
			want(name+".weight", out, in)
		}
		if bias {
			want(name+".bias", out)
		}
	}
	want(n.embed, c.Vocab, c.Hidden)
	if c.LearnedPositions {
		want(n.positions, c.Positions, c.Hidden)
	}
	norm(n.norm, c.Hidden)
	if !c.TiedHead {
		want(n.head, c.Vocab, c.Hidden)
	}
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	for i := range c.Layers {
		b := fmt.Sprintf(n.block, i)
		norm(b+n.attentionNorm, c.Hidden)
		if n.qkv != "" {
			projection(b+n.qkv, c.QKVBias, q+2*kv, c.Hidden)
		} else {
			projection(b+n.q, c.QKVBias, q, c.Hidden)
			projection(b+n.k, c.QKVBias, kv, c.Hidden)
			projection(b+n.v, c.QKVBias, kv, c.Hidden)
		}
		if c.QKNorm {
			norm(b+n.qNorm, c.HeadDim)
			norm(b+n.kNorm, c.HeadDim)
		}
		projection(b+n.o, c.OutBias, c.Hidden, q)
		norm(b+n.mlpNorm, c.Hidden)
		if c.Activation.gated() {
			projection(b+n.gate, c.MLPBias, c.Intermediate, c.Hidden)
		}
		projection(b+n.up, c.MLPBias, c.Intermediate, c.Hidden)
		projection(b+n.down, c.MLPBias, c.Hidden, c.Intermediate)
		if c.PostNorms {
			norm(b+n.attentionPostNorm, c.Hidden)
			norm(b+n.mlpPostNorm, c.Hidden)
		}
	}
}

// check compares the checkpoint with what the configuration asks for: every
// tensor, its shape and its type. It also settles whether names have their base.
func (l *loader) check() error {
	known := map[string]bool{l.names.head: true}               // some exporters write it though it is tied
	if _, err := l.weights.Tensor(l.names.embed); err != nil { // else it is of the bare model
		l.names = l.names.based()
	}
	var missing []string
	var errs []error
	l.expect(func(name string, shape ...int) {
		known[name] = true
		t, err := l.weights.Tensor(name)
		switch {
		case errors.Is(err, safetensors.ErrNoTensor):
			missing = append(missing, name)
		case err != nil:
			errs = append(errs, err)
		case !slices.Equal(t.Shape, shape):
			errs = append(errs, fmt.Errorf("%w: tensor %q has shape %v, want %v", ErrTensor, name, t.Shape, shape))
		case t.DType != safetensors.F32 && t.DType != safetensors.F16 && t.DType != safetensors.BF16:
			errs = append(errs, fmt.Errorf("%w: tensor %q has type %s, want F32, F16 or BF16", ErrTensor, name, t.DType))
		}
	})
	if len(errs) > 0 {
		return errs[0]
	}
	var extra []string
	for _, name := range l.weights.Names() {
		if !known[name] && !l.names.ignore(name) {
			extra = append(extra, name)
		}
	}
	if len(missing)+len(extra) > 0 {
		return fmt.Errorf("%w: %s", ErrTensor, strings.Join(slices.Concat(some("missing", missing), some("not expected", extra)), ", "))
	}
	return nil
}

// based returns the names with the base before those that have one.
func (n names) based() names {
	for _, name := range []*string{&n.embed, &n.positions, &n.norm, &n.block} {
		*name = n.base + *name
	}
	return n
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

// norm returns the weights of a norm. Those that are stored less one get it back.
func (l *loader) norm(name string) norm {
	n := norm{weight: l.vector(name + ".weight")}
	switch l.config.Norm {
	case RMSNormPlusOne:
		for i := range n.weight {
			n.weight[i]++
		}
	case LayerNorm:
		n.bias = l.vector(name + ".bias")
	}
	return n
}

// A part is some outputs of a projection: n of them, from first on.
type part struct {
	name     string
	first, n int
}

// qkv returns queries of all heads, then keys, then values, wherever block p has them.
func (l *loader) qkv(p string) []part {
	c, n := l.config, l.names
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	switch {
	case n.qkv == "":
		return []part{{p + n.q, 0, q}, {p + n.k, 0, kv}, {p + n.v, 0, kv}}
	case n.qkvByHead:
		var parts []part
		for i := range 3 {
			for h := range c.Heads {
				parts = append(parts, part{p + n.qkv, (3*h + i) * c.HeadDim, c.HeadDim})
			}
		}
		return parts
	}
	return []part{{p + n.qkv, 0, q + 2*kv}}
}

// linear packs parts of projections with the same inputs, one below the other, for the
// arithmetic. gated is for the two halves of a SwiGLU.
func (l *loader) linear(bias, gated bool, parts ...part) (linear, error) {
	tensors := make([]safetensors.Tensor, len(parts)) // (out, in) each
	rows, bf16 := 0, true
	for i, p := range parts {
		if i > 0 && p.name == parts[i-1].name {
			tensors[i] = tensors[i-1]
		} else if tensors[i] = l.tensor(p.name + ".weight"); l.names.transposed {
			tensors[i] = transpose(tensors[i])
		}
		rows += p.n
		bf16 = bf16 && tensors[i].DType == safetensors.BF16
	}
	k := tensors[0].Shape[1]
	row := func(n int) (in int, row matrixView) { // the part that has output n, and its weights
		i := 0
		for ; n >= parts[i].n; i++ {
			n -= parts[i].n
		}
		t := tensors[i]
		size := k * t.DType.Bits() / 8
		return i, matrixView{safetensors.Tensor{DType: t.DType, Data: t.Data[(parts[i].first+n)*size:][:size]}, k}
	}
	b := l.bias(bias, parts...)
	switch {
	case l.arithmetic == Int8:
		pack, outputs := kernel.PackInt8, rows
		if gated {
			pack, outputs = kernel.PackInt8Gated, rows/2
		}
		var last string // the projection in hand
		m, err := pack(func(n int, dst []float32) {
			i, row := row(n)
			last = parts[i].name
			row.row(dst, 0)
		}, b, k, outputs)
		if err != nil {
			return linear{}, fmt.Errorf("%w: tensor %q: %w", ErrTensor, last+".weight", err)
		}
		return linear{int8: m}, nil
	case bf16:
		return linear{bias: b, f32: kernel.PackBF16(func(n int, dst []uint16) {
			_, row := row(n)
			bits, err := row.tensor.Uint16()
			if err != nil {
				panic("lm: " + err.Error())
			}
			copy(dst, bits)
		}, k, rows)}, nil
	}
	return linear{bias: b, f32: kernel.Pack(func(n int, dst []float32) {
		_, row := row(n)
		row.row(dst, 0)
	}, k, rows)}, nil
}

// transpose returns a copy of a matrix, rows for columns.
func transpose(t safetensors.Tensor) safetensors.Tensor {
	rows, columns, size := t.Shape[0], t.Shape[1], t.DType.Bits()/8
	out := safetensors.Tensor{DType: t.DType, Shape: []int{columns, rows}, Data: make([]byte, len(t.Data))}
	const side = 32 // of the blocks in which both sides stay in the first-level cache
	for i0 := 0; i0 < rows; i0 += side {
		for j0 := 0; j0 < columns; j0 += side {
			for i := i0; i < min(i0+side, rows); i++ {
				for j := j0; j < min(j0+side, columns); j++ {
					copy(out.Data[(j*rows+i)*size:][:size], t.Data[(i*columns+j)*size:])
				}
			}
		}
	}
	return out
}

// bias returns the biases of parts of projections, nil if the model has none.
func (l *loader) bias(has bool, parts ...part) []float32 {
	if !has {
		return nil
	}
	var v []float32
	for _, p := range parts {
		v = append(v, l.vector(p.name + ".bias")[p.first:][:p.n]...)
	}
	return v
}

// block packs the weights of block i.
func (l *loader) block(i int) (b block, err error) {
	p, n, c := fmt.Sprintf(l.names.block, i), l.names, &l.config
	pack := func(bias, gated bool, parts ...part) (m linear) {
		if err == nil {
			m, err = l.linear(bias, gated, parts...)
		}
		return m
	}
	gateUp := []part{{p + n.up, 0, c.Intermediate}}
	if c.Activation.gated() {
		gateUp = append([]part{{p + n.gate, 0, c.Intermediate}}, gateUp...)
	}
	b = block{
		attentionNorm: l.norm(p + n.attentionNorm),
		qkv:           pack(c.QKVBias, false, l.qkv(p)...),
		window:        c.window(i),
		o:             pack(c.OutBias, false, part{p + n.o, 0, c.Hidden}),
		mlpNorm:       l.norm(p + n.mlpNorm),
		gateUp:        pack(c.MLPBias, c.Activation == SwiGLU, gateUp...),
		down:          pack(c.MLPBias, false, part{p + n.down, 0, c.Hidden}),
	}
	if c.local(i) {
		b.rope = 1
	}
	if c.QKNorm {
		b.qNorm, b.kNorm = l.norm(p+n.qNorm), l.norm(p+n.kNorm)
	}
	if c.PostNorms {
		b.attentionPostNorm, b.mlpPostNorm = l.norm(p+n.attentionPostNorm), l.norm(p+n.mlpPostNorm)
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
	m.norm.apply(dst, x, float32(m.config.NormEps))
}
