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

		// x += post_norm(o_proj(attention))
		r.gather(s.b, t0, t1)
		b.o.Mul(s.a, s.b, n)
		addBias(s.a, b.oBias, n)
		b.attentionPostNorm.apply(s.a[:n*dim], s.a[:n*dim], r.eps)
		r.tap(Attention, s.a, t0, n)
		if r.layer == r.last && !r.mlp {
			return
		}
		normed := s.a
		if c.Parallel { // the MLP does not see what attention adds
			normed = s.parallel
			b.mlpNorm.apply(normed, x, r.eps)
			kernel.Add(x, s.a[:n*dim])
		} else {
			kernel.Add(x, s.a[:n*dim])
			b.mlpNorm.apply(normed, x, r.eps)
		}

		// x += post_norm(down_proj(activation(gate_up_proj(normed))))
		b.gateUp.Mul(s.b, normed, n)
		addBias(s.b, b.gateUpBias, n)
		activate(c.Activation, s.b, c.Intermediate, n)
		b.down.MulRange(s.a, dim, s.b, c.wide(), n, 0, dim)
		addBias(s.a, b.downBias, n)
		b.mlpPostNorm.apply(s.a[:n*dim], s.a[:n*dim], r.eps)
		r.tap(MLP, s.a, t0, n)
		kernel.Add(x, s.a[:n*dim])
	}
	r.tap(Residual, x, t0, n)
	if !r.next {
		return
	}

	// q, k, v = qkv_proj(norm(x)), normed and turned by their positions
	b := &m.blocks[r.layer]
	b.attentionNorm.apply(s.a, x, r.eps)
	b.qkv.Mul(s.b, s.a, n)
	addBias(s.b, b.qkvBias, n)
	r.scatter(s.b, t0, t1)
}

// apply writes the normed rows of x to dst, which may be x. No norm does nothing.
func (w norm) apply(dst, x []float32, eps float32) {
	dim := len(w.weight)
	if dim == 0 {
		return
	}
	for i := 0; i < len(x); i += dim {
		if w.bias != nil {
			kernel.LayerNorm(dst[i:][:dim], x[i:][:dim], w.weight, w.bias, eps)
		} else {
			kernel.RMSNorm(dst[i:][:dim], x[i:][:dim], w.weight, eps)
		}
	}
}

// activate replaces the first width values of each of n rows by what the MLP makes of
// the row: (n, 2*width) with a gate, gate first, and (n, width) without.
func activate(a Activation, x []float32, width, n int) {
	switch a {
	case SwiGLU:
		for i := range n {
			gate, up := x[2*i*width:][:width], x[(2*i+1)*width:][:width]
			kernel.SwiGLU(gate, gate, up)
		}
	case GEGLU:
		for i := range n {
			gate, up := x[2*i*width:][:width], x[(2*i+1)*width:][:width]
			kernel.GELUTanh(gate)
			kernel.Multiply(gate, up)
		}
	case GELU:
		kernel.GELU(x[:n*width])
	case GELUTanh:
		kernel.GELUTanh(x[:n*width])
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
