package lm

import "github.com/alkimiadev/alknet-firewall/internal/kernel"

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
		b.o.Mul(s.a, r.q[t0*c.Heads*c.HeadDim:], n)
		addBias(s.a, b.oBias, n)
		r.tap(Attention, s.a, t0, n)
		if r.layer == r.last && !r.mlp {
			return
		}
		kernel.Add(x, s.a[:n*dim])

		// x += down_proj(silu(gate_proj(norm(x))) * up_proj(norm(x)))
		wide := 2 * c.Intermediate
		r.norm(s.a, x, b.mlpNorm)
		b.gateUp.Mul(s.b, s.a, n)
		addBias(s.b, b.gateUpBias, n)
		for i := range n {
			gate, up := s.b[i*wide:][:c.Intermediate], s.b[i*wide+c.Intermediate:][:c.Intermediate]
			kernel.SwiGLU(gate, gate, up)
		}
		b.down.MulRange(s.a, dim, s.b, wide, n, 0, dim)
		addBias(s.a, b.downBias, n)
		r.tap(MLP, s.a, t0, n)
		kernel.Add(x, s.a[:n*dim])
	}
	r.tap(Residual, x, t0, n)
	if !r.next {
		return
	}

	// q, k, v = qkv_proj(norm(x)), turned by their positions
	b := &m.blocks[r.layer]
	r.norm(s.a, x, b.attentionNorm)
	b.qkv.Mul(s.b, s.a, n)
	addBias(s.b, b.qkvBias, n)
	r.scatter(s.b, t0, t1)
}

// norm writes the normed rows of x to dst.
func (r *Run) norm(dst, x, weight []float32) {
	dim := len(weight)
	for i := 0; i < len(x); i += dim {
		kernel.RMSNorm(dst[i:][:dim], x[i:][:dim], weight, float32(r.m.config.NormEps))
	}
}

// addBias adds bias to each of n rows; nil is none.
func addBias(x, bias []float32, n int) {
	for i := range n {
		if len(bias) > 0 {
			kernel.Add(x[i*len(bias):][:len(bias)], bias)
		}
	}
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
