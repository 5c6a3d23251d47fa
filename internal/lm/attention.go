package lm

import "github.com/alkimiadev/alknet-firewall/internal/kernel"

// span is a task of attention: queries q0 to q1 of sequence seq, for the heads that
// share key/value head kvHead.
type span struct{ seq, q0, q1, kvHead int }

// sequence is where the tokens of one sequence stand.
type sequence struct {
	first, n int // rows of the batch
	kv       kernel.KV
}

// layout cuts the batch in sequences and attention in spans, and the memory of keys
// and values among the sequences.
//
// Keys stand in panels by their position, prefix included. So a sequence behind a
// prefix begins with a copy of the prefix's last keys, those that share its first
// panel; it finds the panels before in the prefix itself.
func (r *Run) layout(lens []int) {
	m, c := r.m, &r.m.config
	shared := r.prefix.Len() - r.base()
	step := max(1, kernel.AttentionRows*c.KVHeads/c.Heads) // queries of a span
	size := 0
	for _, n := range lens {
		size += kernel.KVSize(m.attention, c.KVHeads, c.HeadDim, shared+n)
	}
	resize(&r.memory, size)

	r.pos, r.seqOf, r.spans, r.seqs = r.pos[:0], r.seqOf[:0], r.spans[:0], r.seqs[:0]
	first, memory := 0, r.memory
	for i, n := range lens {
		for t := range n {
			r.pos = append(r.pos, int32(r.prefix.Len()+t))
			r.seqOf = append(r.seqOf, int32(i))
		}
		// Spans of almost equal length; the last see the most keys: begin with them.
		parts := (n + step - 1) / step
		for p := parts - 1; p >= 0; p-- {
			for h := range c.KVHeads {
				r.spans = append(r.spans, span{i, n * p / parts, n * (p + 1) / parts, h})
			}
		}
		s := sequence{first: first, n: n}
		size := kernel.KVSize(m.attention, c.KVHeads, c.HeadDim, shared+n)
		s.kv.Reset(memory[:size:size], m.attention, c.KVHeads, c.HeadDim, shared+n)
		r.seqs = append(r.seqs, s)
		memory = memory[size:]
		first += n
	}
}

// base returns the position of the first key that sequences keep themselves.
func (r *Run) base() int { return r.prefix.Len() / panelColumns * panelColumns }

// scatter takes the rows (t1-t0, q+k+v) of a block's first matrix apart. It norms
// queries and keys where the model does, and rotates them by their positions; queries
// stay together, keys and values go to their sequences. It overwrites rows.
func (r *Run) scatter(rows []float32, t0, t1 int) {
	c, b := &r.m.config, &r.m.blocks[r.layer]
	hd, qDim, kvDim, rotary := c.HeadDim, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, c.rotaryDim()
	turns := &r.turns[b.rope]
	base, before := r.base(), r.prefix.Len()
	for t := t0; t < t1; t++ {
		pos, kv := int(r.pos[t]), &r.seqs[r.seqOf[t]].kv
		if pos == before { // the first of a sequence
			for p := base; p < before; p++ {
				kv.Copy(p-base, &r.prefix.kv[r.layer], p)
			}
		}
		at := pos * rotary / 2
		cos, sin := turns.cos[at:][:rotary/2], turns.sin[at:][:rotary/2]
		q := r.q[t*qDim:][:qDim]
		copy(q, rows)
		k, v := rows[qDim:][:kvDim], rows[qDim+kvDim:][:kvDim]
		b.qNorm.apply(q, q, r.eps)
		b.kNorm.apply(k, k, r.eps)
		for h := range c.Heads {
			kernel.Rope(q[h*hd:][:rotary], cos, sin)
		}
		for h := range c.KVHeads {
			kernel.Rope(k[h*hd:][:rotary], cos, sin)
			kv.Set(h, pos-base, k[h*hd:][:hd], v[h*hd:][:hd])
		}
		rows = rows[qDim+2*kvDim:]
	}
}

// attend replaces the queries of one span by the values that they attend to:
//
//	q ← softmax(q·Kᵀ·scale)·V
//
// over the keys of the prefix and of the sequence itself up to the query, or the
// last window of them.
func (r *Run) attend(worker, task int) {
	c, t := &r.m.config, r.spans[task]
	s := &r.seqs[t.seq]
	group, wide := c.Heads/c.KVHeads, c.Heads*c.HeadDim
	var prefix *kernel.KV
	if r.prefix != nil {
		prefix = &r.prefix.kv[r.layer]
	}
	q := r.q[(s.first+t.q0)*wide+t.kvHead*group*c.HeadDim:]
	r.scratchOf(worker).attention.Attend(q, wide, kernel.Span{
		First: r.prefix.Len() + t.q0, Queries: t.q1 - t.q0, Group: group, Window: r.m.blocks[r.layer].window, Head: t.kvHead,
	}, c.queryScale(), prefix, &s.kv, r.base())
}
