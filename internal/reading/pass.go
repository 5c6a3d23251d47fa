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
// single window is larger. At 8 windows of 128 tokens the matrix kernels run at
// full speed, and the arena stays small.
const BatchTokens = 1088

// minWindow is what a window counts for at least: keys are kept in panels of so many.
const minWindow = kernel.PanelColumns

// passes runs the windows of all batches of a reader through the model, one pass
// after another, each with all of the model's threads.
//
// Nobody waits for a pass to fill, and there is no goroutine for it: a batch that
// finds no pass under way leads one at once, with what there is. Batches that come
// meanwhile wait; when the pass ends, its leader goes on if it has windows left, or
// else appoints the one that has waited longest. The next pass takes what all of them
// have, a window each in turn, so that a short text never waits for more of a long
// one than the pass under way.
type passes struct {
	mu      sync.Mutex
	waiting []*Batch // with windows that no pass has taken, next in turn first
	led     bool     // there is a leader

	// The leader's, of its pass.
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

	left      int  // windows that were not read yet
	running   bool // some are in the pass under way
	abandoned bool // the call will not wait for more than the pass under way
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
	leads := !p.led
	p.led = true
	p.mu.Unlock()
	for {
		if !leads {
			select {
			case leads = <-b.wake:
				if !leads {
					return b.err
				}
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return p.abandon(b, leads)
		}
		if leads && p.pass(b) {
			return b.err
		}
	}
}

// abandon takes b, whose context has ended, away from the passes.
func (p *passes) abandon(b *Batch, leads bool) error {
	p.mu.Lock()
	b.abandoned = true
	p.remove(b)
	running := b.running
	select {
	case leads = <-b.wake: // in the meantime
		running = false
	default:
	}
	if leads {
		p.appoint()
	}
	p.mu.Unlock()
	if running {
		<-b.wake // the pass reads what the caller will use again
	}
	return context.Cause(b.ctx)
}

var errBroken = errors.New("reading: the pass broke off") // by a panic

// pass leads one pass for b. It reports whether b is done; if so, b leads no more.
func (p *passes) pass(b *Batch) (done bool) {
	p.mu.Lock()
	p.take()
	p.mu.Unlock()
	p.ctx = passContext{context.Background(), p.parts}
	err := errBroken
	defer func() { done = p.end(b, err) }() // others wait for it, whatever happens
	if err = p.run.Forward(&p.ctx, b.r.prefix, p.ids, p.lens, b.r.taps); err != nil {
		return
	}
	row := 0
	for i, t := range p.parts {
		b.r.spans(p.run, t.scan, t.window, row, t.text)
		row += p.lens[i]
	}
	return
}

// take fills a pass, one window of each batch in turn.
func (p *passes) take() {
	p.ids, p.lens, p.parts = p.ids[:0], p.lens[:0], p.parts[:0]
	for cost := 0; len(p.waiting) > 0; {
		b := p.waiting[0]
		s := b.scans[b.scan]
		w := s.queue[b.window]
		n := w.n + len(b.r.suffix)
		if cost += max(n, minWindow); cost > BatchTokens && len(p.lens) > 0 {
			return
		}
		p.ids = append(p.ids, s.ids[b.token:b.token+n]...)
		p.lens = append(p.lens, n)
		p.parts = append(p.parts, part{b, s, w, b.text})
		b.running = true
		b.window, b.token, b.text = b.window+1, b.token+n, b.text+w.n
		p.waiting = append(p.waiting[:0], p.waiting[1:]...)
		if b.settle() {
			p.waiting = append(p.waiting, b)
		}
	}
}

// settle moves on to the next scan that has a window, if this one has none left, and
// reports whether there is one.
func (f *flush) settle() bool {
	for f.scan < len(f.scans) && f.window == len(f.scans[f.scan].queue) {
		f.scan, f.window, f.token, f.text = f.scan+1, 0, 0, 0
	}
	return f.scan < len(f.scans)
}

// end tells the batches of a pass what became of their windows. If its leader b is
// done, another is appointed.
func (p *passes) end(b *Batch, err error) (done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.parts {
		if t.batch.left--; err != nil && t.batch.err == nil {
			t.batch.err = err
			if t.batch.ctx.Err() != nil {
				t.batch.err = context.Cause(t.batch.ctx)
			}
			p.remove(t.batch)
		}
	}
	for _, t := range p.parts {
		if !t.batch.running {
			continue
		}
		t.batch.running = false
		if t.batch != b && (t.batch.left == 0 || t.batch.err != nil || t.batch.abandoned) {
			t.batch.wake <- false
		}
	}
	clear(p.parts)
	if done = b.left == 0 || b.err != nil; done {
		p.appoint()
	}
	return done
}

// appoint makes a leader of the batch whose turn it is.
func (p *passes) appoint() {
	if len(p.waiting) == 0 {
		p.led = false
		return
	}
	p.waiting[0].wake <- true
}

func (p *passes) remove(b *Batch) {
	if i := slices.Index(p.waiting, b); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
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
