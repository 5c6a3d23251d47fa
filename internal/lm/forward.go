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
	Attention               // what attention adds to it: the output of o_proj
	MLP                     // what the MLP adds to it: the output of down_proj
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
	// blockRows is the rows of scores that attention computes at once, in whole
	// tokens: heads of a group times queries. It bounds the scores, and is what
	// the causal mask wastes half of.
	blockRows = 64
	// spanTokens is how many queries of one sequence are a task of attention when
	// there is more than one worker. Each task packs the keys and values it
	// sees; 256 keeps that near 1 % of the time of SmolLM2 at 512 tokens.
	spanTokens = 256
	// panelColumns is how kernel pads columns.
	panelColumns = kernel.PanelColumns
)

// Prefix is the keys and values of a constant beginning of sequences, for every
// layer: immutable, and good for all Runs of the model that made it.
type Prefix struct {
	model *Model
	n     int         // tokens
	k, v  [][]float32 // for each block (kvHeads, n, headDim)
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
	for i := range p.k {
		n += 4 * (len(p.k[i]) + len(p.v[i]))
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

	// Of T tokens. Keys and queries are kept head by head, so that attention finds
	// rows of a head at a constant stride.
	x        []float32   // (T, hidden): residual stream
	q        []float32   // (kvHeads, T, group, headDim): queries; then what attention makes of them
	k, v     []float32   // (kvHeads, T, headDim)
	pos      []int32     // (T): position in its sequence, prefix included
	hidden   [][]float32 // for each tap (T, hidden)
	cos, sin []float32   // (longest sequence, headDim/2)
	scratch  []scratch   // of each worker

	rowsStep, attentionStep func(worker, chunk int)
}

// scratch is a worker's own memory.
type scratch struct {
	a      []float32       // (chunkRows, hidden): normed rows; then what is added to them
	b      []float32       // (chunkRows, widest): what the matrices make of them
	rows   kernel.Int8Rows // (chunkRows, inputs): what the matrices of Int8 read
	keys   kernel.Matrix   // (headDim, keys of a task)
	values kernel.Matrix   // (keys of a task, headDim)
	scores []float32       // (blockRows, keys of a task, rounded up to panels)
}

// span is a task of attention: queries q0 to q1 of the sequence that begins at
// row first, for the heads that share key/value head kvHead.
type span struct{ first, q0, q1, kvHead int }

// NewRun returns a Run for this model.
func (m *Model) NewRun() *Run {
	r := &Run{m: m, scratch: make([]scratch, m.pool.size)}
	r.job.finished = make(chan struct{}, 1)
	r.rowsStep, r.attentionStep = r.rows, r.attention
	return r
}

// Bytes returns the memory that the run holds.
func (r *Run) Bytes() int {
	n := cap(r.x) + cap(r.q) + cap(r.k) + cap(r.v) + cap(r.pos) + cap(r.cos) + cap(r.sin) + 8*cap(r.spans)
	for _, h := range r.hidden {
		n += cap(h)
	}
	n *= 4
	for i := range r.scratch {
		s := &r.scratch[i]
		n += 4*(cap(s.a)+cap(s.b)+cap(s.scores)) + s.keys.Bytes() + s.values.Bytes() + s.rows.Bytes()
	}
	return n
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
			capture.k = append(capture.k, append([]float32(nil), r.k...))
			capture.v = append(capture.v, append([]float32(nil), r.v...))
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
	r.pos, r.spans = r.pos[:0], r.spans[:0]
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

	first := 0
	for _, n := range lens {
		for i := range n {
			r.pos = append(r.pos, int32(p.Len()+i))
		}
		step := n
		if m.pool.size > 1 {
			step = spanTokens
		}
		// The last queries see the most keys: begin with them.
		for q1 := n; q1 > 0; q1 = (q1 - 1) / step * step {
			for h := range c.KVHeads {
				r.spans = append(r.spans, span{first, (q1 - 1) / step * step, q1, h})
			}
		}
		first += n
	}

	// As many chunks as give each worker the same number of rows.
	r.chunks = (total + chunkRows - 1) / chunkRows
	r.chunks = min(total, (r.chunks+m.pool.size-1)/m.pool.size*m.pool.size)

	qDim, kvDim := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	resize(&r.x, total*c.Hidden)
	resize(&r.q, total*qDim)
	resize(&r.k, total*kvDim)
	resize(&r.v, total*kvDim)
	for len(r.hidden) < len(taps) {
		r.hidden = append(r.hidden, nil)
	}
	for i := range taps {
		resize(&r.hidden[i], total*c.Hidden)
	}
	r.cos, r.sin = appendRotations(r.cos, r.sin, m.frequencies, longest)
	rows := min(chunkRows, total)
	columns := (longest + panelColumns - 1) / panelColumns * panelColumns
	for i := range r.scratch {
		s := &r.scratch[i]
		resize(&s.a, rows*c.Hidden)
		if m.arithmetic == Int8 {
			resize(&s.b, rows*max(qDim+2*kvDim, c.Intermediate))
			s.rows.Reset(rows, max(c.Hidden, qDim, c.Intermediate))
		} else {
			resize(&s.b, rows*max(qDim+2*kvDim, 2*c.Intermediate))
		}
		resize(&s.scores, columns*max(blockRows, c.Heads/c.KVHeads))
		s.keys.Reset(c.HeadDim, columns)
		s.values.Reset(longest, c.HeadDim)
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
