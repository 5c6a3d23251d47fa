package lm

import "github.com/alkimiadev/alknet-firewall/internal/kernel"

// scatter norms queries and keys where the model does, rotates them by their positions
// and distributes the rows (t1-t0, q+k+v) to the heads. Queries are scaled on the way.
// It overwrites rows.
func (r *Run) scatter(rows []float32, t0, t1 int) {
	c, b, total := &r.m.config, &r.m.blocks[r.layer], len(r.ids)
	hd, group, scale := c.HeadDim, c.Heads/c.KVHeads, c.queryScale()
	qDim, kvDim, rotary := c.Heads*hd, c.KVHeads*hd, c.rotaryDim()
	turns := &r.turns[b.rope]
	for t := t0; t < t1; t++ {
		b.qNorm.apply(rows[:qDim], rows[:qDim], r.eps)
		b.kNorm.apply(rows[qDim:][:kvDim], rows[qDim:][:kvDim], r.eps)
		at := int(r.pos[t]) * rotary / 2
		cos, sin := turns.cos[at:][:rotary/2], turns.sin[at:][:rotary/2]
		for h := range c.KVHeads {
			q := r.q[(h*total+t)*group*hd:][:group*hd]
			for i, v := range rows[h*group*hd:][:group*hd] {
				q[i] = v * scale
			}
			for g := range group {
				kernel.Rope(q[g*hd:][:rotary], cos, sin)
			}
			k := r.k[(h*total+t)*hd:][:hd]
			copy(k, rows[qDim+h*hd:])
			kernel.Rope(k[:rotary], cos, sin)
			copy(r.v[(h*total+t)*hd:][:hd], rows[qDim+kvDim+h*hd:])
		}
		rows = rows[qDim+2*kvDim:]
	}
}

// gather is the way back: it collects what attention made of the heads of rows t0
// to t1 in dst (t1-t0, heads*headDim).
func (r *Run) gather(dst []float32, t0, t1 int) {
	c, total := &r.m.config, len(r.ids)
	wide := c.Heads / c.KVHeads * c.HeadDim
	for t := t0; t < t1; t++ {
		for h := range c.KVHeads {
			copy(dst[h*wide:][:wide], r.q[(h*total+t)*wide:])
		}
		dst = dst[c.KVHeads*wide:]
	}
}

// attention replaces the queries of one span by the values that they attend to:
//
//	q ← softmax(q·Kᵀ)·V
//
// over the keys of the prefix and of the sequence itself up to the query, or the
// last window of them. Positions count from the beginning of the prefix.
func (r *Run) attention(worker, task int) {
	c, s, t := &r.m.config, &r.scratch[worker], r.spans[task]
	hd, group, total := c.HeadDim, c.Heads/c.KVHeads, len(r.ids)
	before, window := r.prefix.Len(), r.m.blocks[r.layer].window
	low := 0 // first position that any query of the span sees
	if window > 0 {
		low = max(0, before+t.q0-window+1)
	}

	// K and V of positions low to before+q1, in the layout that the products want.
	n := before + t.q1 - low
	stride := (n + panelColumns - 1) / panelColumns * panelColumns
	s.keys.Reset(hd, stride)
	s.values.Reset(n, hd)
	if low < before {
		k := r.prefix.k[r.layer][(t.kvHead*before+low)*hd:]
		v := r.prefix.v[r.layer][(t.kvHead*before+low)*hd:]
		s.keys.SetColumns(0, k, hd, before-low)
		s.values.SetRows(0, v, hd, before-low)
	}
	own := max(low, before) // first position outside the prefix
	at := (t.kvHead*total + t.first + own - before) * hd
	s.keys.SetColumns(own-low, r.k[at:], hd, n-(own-low))
	s.values.SetRows(own-low, r.v[at:], hd, n-(own-low))

	step := max(1, blockRows/group) // queries
	for q0 := t.q0; q0 < t.q1; q0 += step {
		q1 := min(q0+step, t.q1)
		q := r.q[(t.kvHead*total+t.first+q0)*group*hd:][:(q1-q0)*group*hd]
		rows := (q1 - q0) * group
		seen := before + q1 - low // keys that the last of these queries sees
		padded := (seen + panelColumns - 1) / panelColumns * panelColumns
		s.keys.MulRange(s.scores, stride, q, hd, rows, 0, padded)
		for i := range rows {
			row := s.scores[i*stride:][:seen]
			end := before + q0 + i/group + 1 - low
			begin := 0
			if window > 0 {
				begin = max(0, end-window)
			}
			clear(row[:begin])
			kernel.Softmax(row[begin:end])
			clear(row[end:])
		}
		s.values.MulPrefix(q, hd, s.scores, stride, rows, seen)
	}
}
