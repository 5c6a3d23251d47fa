package lm

import (
	"slices"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
)

// rows takes one chunk of the tokens out of block r.layer (or out of the embedding
// matrix), and up to the attention of the next block.
func (r *Run) rows(worker, chunk int) {
	m, c, s := r.m, &r.m.config, &r.scratch[worker]
	total := len(r.ids)
	t0, t1 := total*chunk/r.chunks, total*(chunk+1)/r.chunks
	dim, n := c.Hidden, t1-t0
	x := r.x[t0*dim : t1*dim]

	if r.layer == 0 {
		for i, id := range r.ids[t0:t1] {
			m.embed.row(x[i*dim:][:dim], int(id))
		}
	} else {
		b := &m.blocks[r.layer-1]

		// x += o_proj(attention)
		r.gather(s.b, t0, t1)
		if r.layer == r.last && !r.mlp {
			b.o.mul(s, s.a, s.b, n)
			r.tap(Attention, s.a, t0, n)
			return
		}
		r.add(s, x, &b.o, s.b, Attention, t0, n)

		// x += down_proj(silu(gate_proj(norm(x))) * up_proj(norm(x)))
		r.norm(s.a, x, b.mlpNorm)
		b.gateUp.mulSwiGLU(s, s.b, s.a, n)
		r.add(s, x, &b.down, s.b, MLP, t0, n)
	}
	r.tap(Residual, x, t0, n)
	if !r.next {
		return
	}

	// q, k, v = qkv_proj(norm(x)), turned by their positions
	b := &m.blocks[r.layer]
	r.norm(s.a, x, b.attentionNorm)
	b.qkv.mul(s, s.b, s.a, n)
	r.scatter(s.b, t0, t1)
}

// norm writes the normed rows of x to dst.
func (r *Run) norm(dst, x, weight []float32) {
	dim := len(weight)
	for i := 0; i < len(x); i += dim {
		kernel.RMSNorm(dst[i:][:dim], x[i:][:dim], weight, float32(r.m.config.NormEps))
	}
}

// add computes x += y·Wᵀ + b for n rows of y, and hands out what is added to x where
// somebody reads that stream.
func (r *Run) add(s *scratch, x []float32, l *linear, y []float32, stream Stream, t0, n int) {
	if l.int8 != nil && !r.tapped(stream) {
		_, outputs := l.int8.Dims()
		l.int8.MulAdd(x, outputs, s.quantize(l.int8, y, n), 0, outputs)
		return
	}
	l.mul(s, s.a, y, n)
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
