package firewall

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrLoading says that the detector was still loading when [Options.LoadWait]
// was over: the text is unscreened, a later one may be screened. It comes
// wrapped in an error of class resources.
var ErrLoading = errors.New("the detector is still loading")

// A LoadStage says how far a Firewall is with its detector.
type LoadStage string

// The stages. Any of them but closed may follow on failed: a load is tried again.
const (
	LoadIdle     LoadStage = "idle"     // nothing needed the detector yet
	LoadFetching LoadStage = "fetching" // the Source looks for the model, or downloads it
	LoadReading  LoadStage = "reading"  // the files are there and are read and checked
	LoadReady    LoadStage = "ready"    // texts are screened
	LoadFailed   LoadStage = "failed"   // the last load failed; texts are unscreened
	LoadClosed   LoadStage = "closed"   // the Firewall was closed
)

// A LoadState describes the detector's way into memory, for readiness probes
// and dashboards.
type LoadState struct {
	Stage LoadStage
	Since time.Time // when the stage began; zero while idle
	// Done and Total are bytes of the model that the Source has and wants, while
	// it fetches, if it tells them (see [Source]); 0 if unknown.
	Done, Total int64
	// Err is why the last load failed, and Retry the time from which a text
	// begins another one, while failed.
	Err   error
	Retry time.Time
}

// loader loads an engine once, on first use. Callers that come while a load is
// under way wait for it. The load belongs to no caller: it goes on when the one
// that began it, and all others, have given up, so that short requests get a long
// download done. Only close stops it.
//
// A load that failed is forgotten: the next caller begins another one, from the
// second failure on after a pause, so that a stream of texts does not become a
// stream of downloads.
type loader struct {
	load func(ctx context.Context, stage func(LoadStage)) (*engine, error)

	mu       sync.Mutex
	engine   *engine
	now      *attempt           // the load under way; nil if none is
	stop     context.CancelFunc // of the load under way
	failures int                // since the last success
	state    LoadState
}

// An attempt is one load. Its results are set before done is closed.
type attempt struct {
	done   chan struct{}
	engine *engine
	err    error
}

// Pauses between a failed load and the next one that a text may begin.
const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// pause returns how long no text begins a load after so many failures in a row.
func pause(failures int) time.Duration {
	if failures < 2 {
		return 0
	}
	return min(maxPause, firstPause<<min(failures-2, 10))
}

// get returns the engine, and loads it if need be. It waits as long as ctx and
// wait allow: see [Options.LoadWait]. With force it begins a load even in the
// pause after a failure.
func (l *loader) get(ctx context.Context, wait time.Duration, force bool) (*engine, error) {
	l.mu.Lock()
	if l.engine != nil {
		defer l.mu.Unlock()
		return l.engine, nil
	}
	a, err := l.begin(ctx, force)
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var late <-chan time.Time
	if wait != 0 {
		timer := time.NewTimer(max(0, wait))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-a.done:
		return a.engine, a.err
	case <-ctx.Done():
		return nil, failure(ClassCancelled, "wait for the detector to load", context.Cause(ctx))
	case <-late:
		return nil, failure(ClassResources, "screen", ErrLoading)
	}
}

// begin returns the load under way, after starting one if none is. The lock is held.
func (l *loader) begin(ctx context.Context, force bool) (*attempt, error) {
	switch {
	case ctx.Err() != nil:
		return nil, failure(ClassCancelled, "load detector", context.Cause(ctx))
	case l.state.Stage == LoadClosed:
		return nil, failure(ClassResources, "load detector", ErrClosed)
	case l.now != nil:
		return l.now, nil
	case !force && time.Now().Before(l.state.Retry):
		return nil, l.state.Err
	}
	a := &attempt{done: make(chan struct{})}
	// The values of the caller's context go along, for the trace hook; its end does not.
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.now = a
	l.enter(LoadFetching)
	go l.run(ctx, a)
	return a, nil
}

func (l *loader) run(ctx context.Context, a *attempt) {
	e, err := l.load(ctx, func(s LoadStage) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.state.Stage != LoadClosed {
			l.enter(s)
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop()
	l.now = nil
	closed := l.state.Stage == LoadClosed
	switch {
	case err == nil:
		l.engine, l.failures = e, 0 // close waits for us and frees it
		if !closed {
			l.enter(LoadReady)
		}
	case closed:
		err = failure(ClassResources, "load detector", ErrClosed)
	default:
		l.failures++
		l.enter(LoadFailed)
		l.state.Err, l.state.Retry = err, l.state.Since.Add(pause(l.failures))
	}
	a.engine, a.err = e, err
	close(a.done)
}

// enter begins a stage. The lock is held.
func (l *loader) enter(s LoadStage) { l.state = LoadState{Stage: s, Since: time.Now()} }

// close stops a load under way, waits for its end and keeps others from beginning.
// Whoever waits for it gets [ErrClosed].
func (l *loader) close() {
	l.mu.Lock()
	l.enter(LoadClosed)
	a := l.now
	if a != nil {
		l.stop()
	}
	l.mu.Unlock()
	if a != nil {
		<-a.done
	}
}
