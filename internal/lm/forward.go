package lm

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
)

// Stream is one of the three places in a layer where states can be read.
type Stream uint8

// The streams of layer i.
const (
	Residual  Stream = iota // the sum that goes on to the next layer, after block i
	Attention               // what attention adds to it: the output of o_proj, normed if the model norms it
	MLP                     // what the MLP adds to it: the output of down_proj, normed if the model norms it
)

// String returns the stream's name in lower case.
func (s Stream) String() string {
	switch s {
	case Residual:
		return "residual"
	case Attention:
		return "attention"
	case MLP:
		return "mlp"
	}
	return fmt.Sprintf("stream(%d)", uint8(s))
}

// Tap is a place where hidden states are read.
type Tap struct {
	Layer  int // 0 is the embeddings (Residual only), i is block i, counted from 1
	Stream Stream
}

// Sizes of the pieces in which a forward pass works.
const (
	// chunkRows is the most tokens that a worker takes through a block's matrices
	// at once. It bounds the scratch of the MLP; 128 rows are enough for the
	// matrices to run at full speed though they are read once a chunk.
	chunkRows = 128
	// panelColumns is how kernel pads columns.
	panelColumns = kernel.PanelColumns
)

// Prefix is the keys and values of a constant beginning of sequences, for every
// layer: immutable, and good for all Runs of the model that made it.
type Prefix struct {
	model *Model
	n     int         // tokens
	kv    []kernel.KV // for each block
}

// Len returns the tokens of the prefix.
func (p *Prefix) Len() int {
	if p == nil {
		return 0
	}
	return p.n
}

// Bytes returns the memory that the prefix holds.
func (p *Prefix) Bytes() int {
	n := 0
	for i := range p.kv {
		n += p.kv[i].Bytes()
	}
	return n
}

// Prefix runs the model over ids, which later sequences will begin with, and
// keeps their keys and values.
func (m *Model) Prefix(ctx context.Context, ids []int32) (*Prefix, error) {
	p := &Prefix{model: m, n: len(ids)}
	if err := m.NewRun().forward(ctx, nil, ids, []int{len(ids)}, nil, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Run is the working memory of one forward pass after another: for one goroutine
// at a time, and without allocation once it has seen its largest batch and the
// longest of its sequences.
type Run struct {
	m    *Model
	eps  float32 // of the norms
	busy atomic.Bool
	job  job

	// Of the pass in hand.
	ids    []int32
	taps   []Tap
	prefix *Prefix
	layer  int    // blocks done
	last   int    // blocks to run
	mlp    bool   // whether somebody reads beyond the attention of block last
	next   bool   // whether rows goes on into the next block
	chunks int    // of rows
	spans  []span // tasks of attention

	// Of T tokens.
	x       []float32   // (T, hidden): residual stream
	q       []float32   // (T, heads*headDim): queries; then what attention makes of them
	seqs    []sequence  // and their keys and values, in
	memory  []float32   // (T, 2*kvHeads*headDim), each sequence rounded up to panels
	seqOf   []int32     // (T): index of its sequence
	pos     []int32     // (T): position in its sequence, prefix included
	hidden  [][]float32 // for each tap (T, hidden)
	turns   [2]turns    // of Model.frequencies
	scratch scratch     // of the caller; the pool's workers have theirs in the model

	rowsStep, attentionStep func(worker, chunk int)
}

// scratch is a worker's own memory.
type scratch struct {
	a         []float32       // (chunkRows, hidden): normed rows; then what is added to them
	b         []float32       // (chunkRows, widest): what the matrices make of them
	rows      kernel.Int8Rows // (chunkRows, inputs): what the matrices of Int8 read
	attention kernel.Attention

	parallel []float32 // (chunkRows, hidden): normed rows, where the MLP's differ from a
}

// NewRun returns a Run for this model.
func (m *Model) NewRun() *Run {
	r := &Run{m: m, eps: float32(m.config.NormEps)}
	r.job.finished = make(chan struct{}, 1)
	r.rowsStep, r.attentionStep = r.rows, r.attend
	return r
}

// Bytes returns the memory that the run holds.
func (r *Run) Bytes() int {
	n := cap(r.x) + cap(r.q) + cap(r.memory) + cap(r.seqOf) + cap(r.pos)
	for i := range r.turns {
		n += cap(r.turns[i].cos) + cap(r.turns[i].sin)
	}
	for _, h := range r.hidden {
		n += cap(h)
	}
	n *= 4
	return n + 32*cap(r.spans) + 120*cap(r.seqs) + r.scratch.bytes()
}

func (s *scratch) bytes() int {
	return 4*(cap(s.a)+cap(s.b)+cap(s.parallel)) + s.rows.Bytes() + s.attention.Bytes()
}

// scratchOf returns the memory of a worker, large enough for a chunk of this pass. It is
// the worker's own, whichever run it works for.
func (r *Run) scratchOf(worker int) *scratch {
	s := &r.scratch
	if worker > 0 {
		s = &r.m.scratch[worker-1]
	}
	c := &r.m.config
	rows, widest := min(chunkRows, len(r.ids)), c.wide()
	if r.m.arithmetic == Int8 {
		s.rows.Reset(rows, max(c.Hidden, c.Heads*c.HeadDim, c.Intermediate))
		if c.Activation == SwiGLU { // its gates and what they gate never come out
			widest = c.Intermediate
		}
	}
	resize(&s.a, rows*c.Hidden)
	if c.Parallel {
		resize(&s.parallel, rows*c.Hidden)
	}
	resize(&s.b, rows*max((c.Heads+2*c.KVHeads)*c.HeadDim, widest))
	return s
}

// Forward runs the model over sequences that are packed one behind the other:
// ids holds all tokens, lens the length of each sequence, and no sequence sees
// another. With a prefix, each sequence continues it. Forward goes as deep as the
// deepest tap; the states are then in [Run.Hidden].
//
// An id outside the vocabulary, a sequence that is too long, a tap outside the
// loaded layers, or the end of ctx, which is looked at between layers, is an error.
// Lengths that do not add up, a prefix of another model and a Run in use by
// somebody else are the caller's bugs and panic.
func (r *Run) Forward(ctx context.Context, p *Prefix, ids []int32, lens []int, taps []Tap) error {
	return r.forward(ctx, p, ids, lens, taps, nil)
}

// Hidden returns the states at taps[i] of the last Forward: (len(ids), dim), in the
// order of the ids. They are valid until the next Forward, and only if the last one
// succeeded.
func (r *Run) Hidden(i int) []float32 { return r.hidden[i] }

// forward is Forward; it fills capture, if that is not nil, with keys and values.
func (r *Run) forward(ctx context.Context, p *Prefix, ids []int32, lens []int, taps []Tap, capture *Prefix) error {
	if !r.busy.CompareAndSwap(false, true) {
		panic("lm: Run is in use by another goroutine")
	}
	defer r.busy.Store(false)
	if err := r.prepare(p, ids, lens, taps, capture); err != nil {
		return fmt.Errorf("lm: %w", err)
	}
	// A token's way through the matrices of a block, and on through those of the
	// next one until keys and values are there, needs no other token: it is one
	// step. Attention, where tokens meet, is the other.
	for r.layer = 0; ; r.layer++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("lm: layer %d: %w", r.layer, err)
		}
		r.next = r.layer < r.last
		r.m.pool.run(&r.job, r.rowsStep, r.chunks)
		if r.layer == 0 {
			r.m.embedded(len(ids))
		}
		if !r.next {
			return nil
		}
		if capture != nil {
			capture.kv = append(capture.kv, r.seqs[0].kv.Clone())
			if r.layer == r.last-1 {
				return nil
			}
		}
		r.m.pool.run(&r.job, r.attentionStep, len(r.spans))
	}
}

// prepare checks the arguments and sees that there is memory for them.
func (r *Run) prepare(p *Prefix, ids []int32, lens []int, taps []Tap, capture *Prefix) error {
	m, c := r.m, r.m.config
	if p != nil && p.model != m {
		panic("lm: Prefix of another model")
	}
	r.ids, r.prefix, r.taps = ids, p, append(r.taps[:0], taps...)

	r.last, r.mlp = 0, false
	for _, t := range taps {
		if t.Layer < 0 || t.Layer > m.depth || t.Stream > MLP || t.Layer == 0 && t.Stream != Residual {
			return fmt.Errorf("%w: layer %d, %v, of %d loaded", ErrTap, t.Layer, t.Stream, m.depth)
		}
		if t.Layer > r.last {
			r.last, r.mlp = t.Layer, false
		}
		r.mlp = r.mlp || t.Layer == r.last && t.Stream != Attention
	}
	if capture != nil {
		r.last = m.depth
	}

	total, longest := 0, 0
	for _, n := range lens {
		if n < 0 || n > len(ids)-total {
			panic("lm: lengths do not add up")
		}
		if n > c.Positions-p.Len() {
			return fmt.Errorf("%w: %d tokens behind a prefix of %d, limit %d", ErrTooLong, n, p.Len(), c.Positions)
		}
		longest = max(longest, n+p.Len())
		total += n
	}
	if total != len(ids) {
		panic("lm: lengths do not add up")
	}
	for i, id := range ids {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("%w: id %d at %d, vocabulary %d", ErrToken, id, i, c.Vocab)
		}
	}

	// As many chunks as give each worker the same number of rows.
	r.chunks = (total + chunkRows - 1) / chunkRows
	r.chunks = min(total, (r.chunks+m.pool.size-1)/m.pool.size*m.pool.size)

	r.layout(lens)
	resize(&r.x, total*c.Hidden)
	resize(&r.q, total*c.Heads*c.HeadDim)
	for len(r.hidden) < len(taps) {
		r.hidden = append(r.hidden, nil)
	}
	for i := range taps {
		resize(&r.hidden[i], total*c.Hidden)
	}
	for i := range r.turns {
		r.turns[i].extend(m.frequencies[i], longest)
	}
	return nil
}

// resize makes *s n long. What it held is lost if it grows.
func resize(s *[]float32, n int) {
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	*s = (*s)[:n]
}
