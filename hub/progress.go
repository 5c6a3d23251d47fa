package hub

import (
	"sync"
	"time"
)

const reportEvery = 100 * time.Millisecond

// A tracker adds up what the files of one call do, and reports it.
type tracker struct {
	c    *Client
	mu   sync.Mutex
	now  Progress
	last time.Time
	got  int64 // bytes received

	quiet bool           // report nothing
	tell  func(Progress) // of a Source: told of everything, at once; nil: nobody
}

func (c *Client) track(ref Ref) *tracker { return &tracker{c: c, now: Progress{Ref: ref}} }

// report calls Options.Progress; t.mu is held.
func (t *tracker) report(always bool) {
	if t.tell != nil && !t.quiet {
		t.tell(t.now)
	}
	if t.quiet || t.c.opt.Progress == nil || (!always && time.Since(t.last) < reportEvery) {
		return
	}
	t.last = time.Now()
	t.c.reporting.Lock()
	defer t.c.reporting.Unlock()
	t.c.opt.Progress(t.now)
}

// phase says what happens now.
func (t *tracker) phase(p Phase, file string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := t.now.Phase != p || t.now.File != file
	t.now.Phase, t.now.File = p, file
	if changed {
		t.report(true)
	}
}

// enter changes the phase without a report.
func (t *tracker) enter(p Phase) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Phase, t.now.File = p, ""
}

// found counts bytes that were there already.
func (t *tracker) found(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Done += n
	t.now.Resumed += n
	t.report(false)
}

// received counts bytes from the network.
func (t *tracker) received(file string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Phase, t.now.File = PhaseDownload, file
	t.now.Done += n
	t.got += n
	t.report(false)
}

// lost takes n bytes back that are thrown away; found of them were not received.
func (t *tracker) lost(n, found int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Done -= n
	t.now.Resumed -= found
}

// restart counts from nothing towards a new total.
func (t *tracker) restart(total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Done, t.now.Resumed, t.now.Total = 0, 0, total
}

// bytes returns how many were received.
func (t *tracker) bytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.got
}
