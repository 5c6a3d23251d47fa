package lm

import "sync/atomic"

// A pool is the fixed workers of one model. A step of a forward pass is cut in
// small chunks; whoever is free, the caller first of all, takes the next one.
// Nobody spins: a worker sleeps on a channel until a step is offered, and a
// caller never waits for a worker that has not begun, so that a core which is
// busy elsewhere costs its share of the work and no more. Steps are offered while
// there are fewer callers than workers: beyond that each caller does its own, and
// waits for nobody.
type pool struct {
	size   int          // workers, the caller included
	active atomic.Int32 // callers in a step
	offers chan offer
	quit   chan struct{}
}

// A job is one step after another of one caller. Its fields belong to the caller
// while no chunk is in hand.
type job struct {
	state    atomic.Uint64 // epoch<<32 | chunks that nobody has taken yet
	do       func(worker, chunk int)
	chunks   int64
	done     atomic.Int64
	finished chan struct{} // receives when a worker ends the last chunk
}

// An offer may outlive its step: the epoch tells.
type offer struct {
	job   *job
	epoch uint32
}

func newPool(size int) *pool {
	p := &pool{size: size, offers: make(chan offer, size), quit: make(chan struct{})}
	for w := 1; w < size; w++ {
		go func() {
			for {
				select {
				case <-p.quit:
					return
				case o := <-p.offers:
					if o.job.work(w, o.epoch) {
						o.job.finished <- struct{}{}
					}
				}
			}
		}()
	}
	return p
}

// run calls do(worker, chunk) for each chunk below chunks and returns when all
// calls have. Calls with the same worker do not overlap within a job; worker is
// below p.size. Chunk 0 begins first.
func (p *pool) run(j *job, do func(worker, chunk int), chunks int) {
	helpers := min(p.size-int(p.active.Add(1)), chunks-1)
	defer p.active.Add(-1)
	if helpers <= 0 {
		for c := range chunks {
			do(0, c)
		}
		return
	}
	j.do, j.chunks = do, int64(chunks)
	j.done.Store(0)
	epoch := uint32(j.state.Load()>>32) + 1
	j.state.Store(uint64(epoch)<<32 | uint64(chunks))
	for range helpers {
		select {
		case p.offers <- offer{j, epoch}:
		default: // everybody has more than enough to do
		}
	}
	if !j.work(0, epoch) {
		<-j.finished
	}
}

// work takes chunks of the step until there are none left, and tells whether it
// ended the last one.
func (j *job) work(worker int, epoch uint32) bool {
	last := false
	for {
		s := j.state.Load()
		if uint32(s>>32) != epoch || uint32(s) == 0 {
			return last
		}
		if !j.state.CompareAndSwap(s, s-1) {
			continue
		}
		chunks := j.chunks // not after done: the caller may be in its next step then
		j.do(worker, int(chunks)-int(uint32(s)))
		last = j.done.Add(1) == chunks
	}
}
