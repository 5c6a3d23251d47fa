package lm

import (
	"slices"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
)

// rows takes one chunk of the tokens out of block r.layer (or out of the embedding
// matrix), and up to the attention of the next block.
func (r *Run) rows(worker, chunk int) {
	m, c, s := r.m, &r.m.config, r.scratchOf(worker)
	total := len(r.ids)
	t0, t1 := total*chunk/r.chunks, total*(chunk+1)/r.chunks
	dim, n := c.Hidden, t1-t0
	x := r.x[t0*dim : t1*dim]

	if r.layer == 0 {
		// x = embedding · scale + position
		for i, id := range r.ids[t0:t1] {
			m.embed.row(x[i*dim:][:dim], int(id))
		}
		if m.embedScale != 1 {
			for i := range x {
				x[i] *= m.embedScale
			}
		}
		if c.LearnedPositions {
			for i, pos := range r.pos[t0:t1] {
				m.positions.row(s.a[i*dim:][:dim], int(pos))
			}
			kernel.Add(x, s.a[:n*dim])
		}
	} else {
		b := &m.blocks[r.layer-1]

		// What the MLP reads: the norm of the sum, or, in parallel, of what attention read.
		normed := s.a
		if c.Parallel {
			normed = s.parallel
			b.mlpNorm.apply(normed, x, r.eps)
		}

		// x += post_norm(o_proj(attention))
		attended := r.q[t0*c.Heads*c.HeadDim : t1*c.Heads*c.HeadDim]
		r.add(s, x, &b.o, b.attentionPostNorm, attended, Attention, t0, n)
		if r.layer == r.last && !r.mlp {
			return
		}
		if !c.Parallel {
			b.mlpNorm.apply(normed, x, r.eps)
		}

		// x += post_norm(down_proj(activation(gate_up_proj(normed))))
		b.gateUp.mulActivate(c.Activation, s, s.b, normed, n)
		r.add(s, x, &b.down, b.mlpPostNorm, s.b, MLP, t0, n)
	}
	r.tap(Residual, x, t0, n)
	if !r.next {
		return
	}

	// q, k, v = qkv_proj(norm(x)), normed and turned by their positions
	b := &m.blocks[r.layer]
	b.attentionNorm.apply(s.a, x, r.eps)
	b.qkv.mul(s, s.b, s.a, n)
	r.scatter(s.b, t0, t1)
}

// apply writes the normed rows of x to dst, which may be x. No norm does nothing.
func (n norm) apply(dst, x []float32, eps float32) {
	dim := len(n.weight)
	if dim == 0 {
		return
	}
	for i := 0; i < len(x); i += dim {
		if n.bias != nil {
			kernel.LayerNorm(dst[i:][:dim], x[i:][:dim], n.weight, n.bias, eps)
		} else {
			kernel.RMSNorm(dst[i:][:dim], x[i:][:dim], n.weight, eps)
		}
	}
}

// add computes x += post(y·Wᵀ + b) for n rows of y, and hands out what is added to x
// where somebody reads that stream.
func (r *Run) add(s *scratch, x []float32, l *linear, post norm, y []float32, stream Stream, t0, n int) {
	if l.int8 != nil && post.weight == nil && !r.tapped(stream) {
		_, outputs := l.int8.Dims()
		l.int8.MulAdd(x, outputs, s.quantize(l.int8, y, n), 0, outputs)
		return
	}
	l.mul(s, s.a, y, n)
	post.apply(s.a[:len(x)], s.a[:len(x)], r.eps)
	r.tap(stream, s.a, t0, n)
	kernel.Add(x, s.a[:len(x)])
}

// tapped tells whether somebody reads a stream of block r.layer.
func (r *Run) tapped(stream Stream) bool {
	return slices.Contains(r.taps, Tap{r.layer, stream})
}

// tap hands out n rows of a stream of block r.layer, from row t0 on.
func (r *Run) tap(stream Stream, x []float32, t0, n int) {
	dim := r.m.config.Hidden
	for i, t := range r.taps {
		if t.Layer == r.layer && t.Stream == stream {
			copy(r.hidden[i][t0*dim:][:n*dim], x)
		}
	}
}
