package reading

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/internal/kernel"
	"github.com/alkimiadev/alknet-firewall/internal/lm"
)

// BatchTokens is how many tokens one forward pass takes at most, unless a
// single window is larger. At 4 windows of 128 tokens the matrix kernels run at
// full speed, and the arena stays small.
const BatchTokens = 544

// minWindow is what a window counts for at least: keys are kept in panels of so many.
const minWindow = kernel.PanelColumns

// passes runs the windows of all batches of a reader through the model, in at most
// as many passes at once as the model has threads: alone, a pass has all threads;
// beside others it keeps to its own, which wastes nothing on waiting for each other.
//
// Nobody waits for a pass to fill, and there is no goroutine for it: a batch that
// comes while there is a pass to be had leads one at once, with what there is.
// Others wait; when a pass ends, the next takes what all of those have, a window each
// in turn, so that a short text never waits for more of a long one than the passes
// under way. A batch is in one pass at a time, and its windows are read in order.
type passes struct {
	mu      sync.Mutex
	waiting []*Batch // with windows that no pass has taken, next in turn first; none is in a pass
	free    []*pass
}

// A pass is one forward pass, and its arena. It belongs to its leader.
type pass struct {
	run   *lm.Run
	ids   []int32
	lens  []int
	parts []part
	ctx   passContext
}

// A part is a window in a pass.
type part struct {
	batch  *Batch
	scan   *Scan
	window window
	text   int // the window's first token in scan.start and scan.end
}

// A flush is a batch's place among the passes.
type flush struct {
	ctx   context.Context //nolint:containedctx // of the call that waits for these windows
	scans []*Scan
	// The next window that no pass has taken: scans[scan].queue[window], whose
	// tokens begin at ids[token], and those of its text at start[text].
	scan, window, token, text int

	left      int   // windows that were not read yet
	pass      *pass // that it is in
	abandoned bool  // the call waits for the pass that it is in and for no other
	err       error
}

// read runs the windows of b.
func (p *passes) read(ctx context.Context, b *Batch, scans []*Scan) error {
	p.mu.Lock()
	b.flush = flush{ctx: ctx, scans: append(b.flush.scans[:0], scans...)}
	for _, s := range scans {
		b.left += len(s.queue)
	}
	if b.left == 0 {
		p.mu.Unlock()
		return nil
	}
	b.settle()
	p.waiting = append(p.waiting, b)
	p.dispatch()
	p.mu.Unlock()
	for {
		select {
		case leads := <-b.wake:
			if !leads || p.lead(b) {
				return b.err
			}
		case <-ctx.Done():
			return p.abandon(b)
		}
	}
}

// abandon takes b, whose context has ended, away from the passes.
func (p *passes) abandon(b *Batch) error {
	p.mu.Lock()
	b.abandoned = true
	i := slices.Index(p.waiting, b)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	// A pass reads what the caller will use again, and others may wait for it.
	if i < 0 && <-b.wake {
		p.lead(b)
	}
	return context.Cause(b.ctx)
}

// dispatch fills the passes that are to be had with the windows that wait, and wakes
// their leaders.
func (p *passes) dispatch() {
	for len(p.waiting) > 0 && len(p.free) > 0 {
		t := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		p.fill(t)
		t.parts[0].batch.wake <- true
	}
}

// fill puts windows into a pass, one of each batch in turn.
func (p *passes) fill(t *pass) {
	t.ids, t.lens, t.parts = t.ids[:0], t.lens[:0], t.parts[:0]
	for cost := 0; len(p.waiting) > 0; {
		b := p.waiting[0]
		s := b.scans[b.scan]
		w := s.queue[b.window]
		n := w.n + len(b.r.suffix)
		if cost += max(n, minWindow); cost > BatchTokens && len(t.lens) > 0 {
			break
		}
		t.ids = append(t.ids, s.ids[b.token:b.token+n]...)
		t.lens = append(t.lens, n)
		t.parts = append(t.parts, part{b, s, w, b.text})
		b.pass = t
		b.window, b.token, b.text = b.window+1, b.token+n, b.text+w.n
		p.waiting = append(p.waiting[:0], p.waiting[1:]...)
		if b.settle() {
			p.waiting = append(p.waiting, b)
		}
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(b *Batch) bool { return b.pass != nil })
}

// settle moves on to the next scan that has a window, if this one has none left, and
// reports whether there is one.
func (f *flush) settle() bool {
	for f.scan < len(f.scans) && f.window == len(f.scans[f.scan].queue) {
		f.scan, f.window, f.token, f.text = f.scan+1, 0, 0, 0
	}
	return f.scan < len(f.scans)
}

var errBroken = errors.New("reading: the pass broke off") // by a panic

// lead runs the pass that b leads, and reports whether b is done.
func (p *passes) lead(b *Batch) (done bool) {
	t := b.pass
	t.ctx = passContext{context.Background(), t.parts}
	err := errBroken
	defer func() { done = p.end(t, err) }() // others wait for it, whatever happens
	if err = t.run.Forward(&t.ctx, b.r.prefix, t.ids, t.lens, b.r.taps); err != nil {
		return
	}
	row := 0
	for i, x := range t.parts {
		b.r.spans(t.run, x.scan, x.window, row, x.text)
		row += t.lens[i]
	}
	return
}

// end tells the batches of a pass what became of their windows, and reports whether
// its leader is done. Those that have more get in line again.
func (p *passes) end(t *pass, err error) (done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range t.parts {
		b := x.batch
		if b.left--; err != nil && b.err == nil {
			b.err = err
			if b.ctx.Err() != nil {
				b.err = context.Cause(b.ctx)
			}
		}
	}
	for i, x := range t.parts {
		b := x.batch
		if b.pass == nil { // was here
			continue
		}
		b.pass = nil
		switch over := b.left == 0 || b.err != nil || b.abandoned; {
		case i == 0:
			if done = over; !over {
				p.waiting = append(p.waiting, b)
			}
		case over:
			b.wake <- false
		default:
			p.waiting = append(p.waiting, b)
		}
	}
	clear(t.parts)
	p.free = append(p.free, t)
	p.dispatch()
	return done
}

// passContext is the context of a pass: it ends when nobody waits for it any more.
type passContext struct {
	context.Context
	parts []part
}

func (c *passContext) Err() error {
	for _, t := range c.parts {
		if t.batch.ctx.Err() == nil {
			return nil
		}
	}
	return context.Canceled
}

// spans takes the readings of one window whose states begin at row.
func (r *Reader) spans(run *lm.Run, s *Scan, win window, row, textAt int) {
	p, dim := &r.plan, r.dim
	last := row + win.n + len(r.suffix) - 1
	overlap := p.Window - p.Stride
	for from := 0; ; from += p.Step {
		to := min(from+p.Span, win.n)
		// In a later window of a lane, a span that lies within the overlap was
		// visited with the window before.
		if win.first || to > overlap {
			n := len(s.vectors)
			s.vectors = slices.Grow(s.vectors, r.Width())[:n+r.Width()]
			for i, site := range p.Sites {
				v, h := s.vectors[n+i*dim:][:dim], run.Hidden(r.tapOf[i])
				if site.Pool == codebook.Last {
					copy(v, h[last*dim:])
				} else {
					mean(v, h[(row+from)*dim:(row+to)*dim])
				}
			}
			s.read = append(s.read, Span{Start: s.start[textAt+from], End: s.end[textAt+to-1], Lane: win.lane})
		}
		if to == win.n {
			return
		}
	}
}

// mean writes the mean of the rows (n, len(dst)) of h.
func mean(dst, h []float32) {
	clear(dst)
	n := len(h) / len(dst)
	w := 1 / float32(n)
	for i := range n {
		kernel.Axpy(dst, w, h[i*len(dst):(i+1)*len(dst)])
	}
}
