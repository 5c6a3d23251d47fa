// Package firewall screens untrusted text before it reaches a large language
// model.
//
// It does not match phrases. It runs the text through a small language model
// and reads how that model's hidden states react; a codebook, calibrated on
// clean and hostile texts, says how rarely clean text gets there. Most programs
// need two calls:
//
//	fw, err := firewall.Open(firewall.Options{})
//	v, err := fw.Screen(ctx, firewall.Input{Text: s, Channel: firewall.Document})
//
// Open uses the detector inside the package: no file, no network. [Options]
// name another model, policies and sinks. [Firewall.Stream] screens a text as it
// comes in, [Firewall.ScreenBatch] many at once; all of them agree.
//
// The package is an alarm with a measured false-alarm rate, not a boundary. It
// never connects to anything, never keeps or logs a text, never changes one and
// never decides alone: a [Verdict] says what a [Policy] makes of it, and an
// error is not a verdict. Texts that cannot be screened are "unscreened", never
// "clear".
//
// The JSON of verdicts and events is versioned, see [Schema]. Scores may differ
// between releases and detectors; false-alarm rates keep their meaning.
package firewall

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"time"

	"github.com/alkimiadev/alknet-firewall/internal/lm"
	"github.com/alkimiadev/alknet-firewall/internal/reading"
)

// Options configure a Firewall. The zero value is the embedded detector with
// the default policy on every channel.
type Options struct {
	// Model finds the detector model. Nil means the embedded one.
	Model Source

	// Codebook is the name of a codebook file. Empty means the one that comes
	// with the model: embedded, or codebook.safetensors in its directory.
	Codebook string

	// Arithmetic overrides the arithmetic of the model's matrices, "f32" or "int8".
	// Empty means the one that the codebook was calibrated with. Others are for
	// measuring what the arithmetic changes: the codebook's rates do not hold for them.
	Arithmetic string

	// Policy holds for every channel that Policies does not name.
	Policy   Policy
	Policies map[Channel]Policy

	// MaxBytes bounds a text; a longer one is refused with an error of class
	// input. 0 means 16 MiB. Screening needs about 4 bytes of memory for each
	// byte of English, up to 11 at worst: see docs/architecture/firewall.md.
	MaxBytes int

	// Threads of the model's worker pool. 0 means GOMAXPROCS.
	Threads int

	// Concurrency is how many texts are in work at once; more wait for their
	// turn. 0 means GOMAXPROCS. Each has an arena of its own.
	Concurrency int

	// Alarms are asked beside the built-in ones. Their p-values join the
	// others by the union bound.
	Alarms []Alarm

	// Sink receives an event for every text that reaches watch or alarm, or
	// could not be screened. Nil means none.
	Sink Sink
	// SinkError is told when the sink fails. Nil drops the error.
	SinkError func(error)

	// Trace, if set, is called when a stage ("load", "screen") begins, and the
	// function it returns when the stage ends. It must not block.
	Trace func(ctx context.Context, stage string) func(error)
}

// DefaultMaxBytes is the longest text that is screened unless Options say otherwise.
const DefaultMaxBytes = 16 << 20

// A Firewall screens texts. It is safe for concurrent use.
type Firewall struct {
	opt      Options
	policies map[Channel]Policy // defaults applied
	engine   loader

	// slots holds what texts in work use. A nil entry is a slot whose screener
	// was not built yet.
	slots chan *screener

	mu     sync.Mutex
	users  sync.WaitGroup // texts in work, streams included
	closed bool
}

// Open checks the options and returns a Firewall. It reads no file: the
// detector is loaded on first use, or by [Firewall.Warm].
func Open(opt Options) (*Firewall, error) {
	const op = "open firewall"
	switch {
	case opt.MaxBytes < 0:
		return nil, failuref(ClassConfig, op, "maximum of %d bytes is negative", opt.MaxBytes)
	case opt.Threads < 0 || opt.Threads > 1<<12:
		return nil, failuref(ClassConfig, op, "%d threads, want 0 to 4096", opt.Threads)
	case opt.Concurrency < 0 || opt.Concurrency > 1<<12:
		return nil, failuref(ClassConfig, op, "concurrency %d, want 0 to 4096", opt.Concurrency)
	}
	if opt.Arithmetic != "" {
		if _, err := lm.ParseArithmetic(opt.Arithmetic); err != nil {
			return nil, failure(ClassConfig, op, err)
		}
	}
	if opt.MaxBytes == 0 {
		opt.MaxBytes = DefaultMaxBytes
	}
	if opt.Concurrency == 0 {
		opt.Concurrency = runtime.GOMAXPROCS(0)
	}
	f := &Firewall{opt: opt, policies: map[Channel]Policy{}, slots: make(chan *screener, opt.Concurrency)}
	if err := opt.Policy.withDefaults("").check(); err != nil {
		return nil, failure(ClassConfig, op, err)
	}
	for ch, p := range maps.All(opt.Policies) {
		if err := ch.check(); err != nil {
			return nil, failure(ClassConfig, op, err)
		}
		p = p.withDefaults(ch)
		if err := p.check(); err != nil {
			return nil, failure(ClassConfig, op, err)
		}
		f.policies[ch] = p
	}
	for range opt.Concurrency {
		f.slots <- nil
	}
	f.engine.load = func(ctx context.Context) (e *engine, err error) {
		defer f.trace(ctx, "load")(&err)
		return loadEngine(ctx, &f.opt)
	}
	return f, nil
}

func (f *Firewall) trace(ctx context.Context, stage string) func(*error) {
	if f.opt.Trace == nil {
		return func(*error) {}
	}
	end := f.opt.Trace(ctx, stage)
	return func(err *error) { end(*err) }
}

func (f *Firewall) policy(ch Channel) Policy {
	if p, ok := f.policies[ch]; ok {
		return p
	}
	return f.opt.Policy.withDefaults(ch)
}

// ErrClosed says that the Firewall was closed. It comes wrapped in an error of
// class resources.
var ErrClosed = errors.New("the firewall is closed")

// enter counts a text in; the caller must call f.users.Done.
func (f *Firewall) enter() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return failure(ClassResources, "screen", ErrClosed)
	}
	f.users.Add(1)
	return nil
}

// Warm loads the detector, so that the first text does not wait for it.
func (f *Firewall) Warm(ctx context.Context) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.users.Done()
	_, err := f.engine.get(ctx)
	return err
}

// Detector says what verdicts are made with. It loads the detector.
func (f *Firewall) Detector(ctx context.Context) (Detector, error) {
	if err := f.enter(); err != nil {
		return Detector{}, err
	}
	defer f.users.Done()
	e, err := f.engine.get(ctx)
	if err != nil {
		return Detector{}, err
	}
	return e.detector, nil
}

// Ready reports whether the detector is loaded.
func (f *Firewall) Ready() bool {
	f.engine.mu.Lock()
	defer f.engine.mu.Unlock()
	return f.engine.engine != nil
}

// Close waits for texts in work and open streams, then frees the detector.
// Screening after Close fails with [ErrClosed]. Close may be called twice.
func (f *Firewall) Close() error {
	f.mu.Lock()
	closed := f.closed
	f.closed = true
	f.mu.Unlock()
	if closed {
		return nil
	}
	f.users.Wait()
	f.engine.mu.Lock()
	defer f.engine.mu.Unlock()
	if e := f.engine.engine; e != nil {
		f.engine.engine = nil
		return e.close()
	}
	return nil
}

// An Input is a text to screen.
type Input struct {
	// ID is copied to the verdict and to events. It is the caller's and must
	// not contain what the caller does not want logged.
	ID string
	// Text may be any bytes; it need not be valid UTF-8.
	Text string
	// Channel it came through. Empty means User.
	Channel Channel
}

// Screen screens one text. With a non-nil error the verdict is unscreened, and
// its Action says what the policy does with such a text. Errors are *[Error].
// The empty text is clear.
func (f *Firewall) Screen(ctx context.Context, in Input) (v Verdict, err error) {
	begun := time.Now()
	defer f.trace(ctx, "screen")(&err)
	if err := f.check(&in); err != nil {
		return f.unscreened(ctx, in, begun, err)
	}
	s, release, err := f.acquire(ctx)
	if err != nil {
		return f.unscreened(ctx, in, begun, err)
	}
	defer release()
	s.begin(f.opt.Alarms, in.Channel)
	if err := s.batch.Read(ctx, s.scan, in.Text); err != nil {
		return f.unscreened(ctx, in, begun, failure(ClassResources, "screen", err))
	}
	return f.conclude(ctx, s, in, begun)
}

// check fills in the default channel and refuses what cannot be screened.
func (f *Firewall) check(in *Input) error {
	if in.Channel == "" {
		in.Channel = User
	}
	if err := in.Channel.check(); err != nil {
		return failure(ClassInput, "screen", err)
	}
	if len(in.Text) > f.opt.MaxBytes {
		return failuref(ClassInput, "screen", "text has %d bytes, at most %d are allowed (MaxBytes)", len(in.Text), f.opt.MaxBytes)
	}
	return nil
}

// acquire takes a slot and returns its screener. release gives both back.
func (f *Firewall) acquire(ctx context.Context) (_ *screener, release func(), _ error) {
	if err := f.enter(); err != nil {
		return nil, nil, err
	}
	e, err := f.engine.get(ctx)
	if err != nil {
		f.users.Done()
		return nil, nil, err
	}
	select {
	case s := <-f.slots:
		if s == nil {
			s = newScreener(e, e.reader.NewBatch())
		}
		if s.release == nil {
			s.release = func() {
				f.slots <- s
				f.users.Done()
			}
		}
		return s, s.release, nil
	case <-ctx.Done():
		f.users.Done()
		return nil, nil, failure(ClassCancelled, "wait for a free slot", context.Cause(ctx))
	}
}

// conclude makes the verdict of a text that was read to its end, and raises
// its event.
func (f *Firewall) conclude(ctx context.Context, s *screener, in Input, begun time.Time) (Verdict, error) {
	policy := f.policy(in.Channel)
	v, err := s.verdict(policy, in.Channel, true)
	if err != nil {
		return f.unscreened(ctx, in, begun, err)
	}
	v.ID = in.ID
	v.Elapsed = time.Since(begun)
	if v.Level >= LevelWatch {
		f.raise(ctx, in, policy, v, "", false)
	}
	return v, nil
}

// unscreened makes the verdict of a text that could not be screened.
func (f *Firewall) unscreened(ctx context.Context, in Input, begun time.Time, err error) (Verdict, error) {
	var e *Error
	if !errors.As(err, &e) {
		e = failure(ClassResources, "screen", err)
	}
	policy := f.policy(in.Channel)
	v := Verdict{ID: in.ID, Level: LevelUnscreened, Action: policy.onError(e.Class), Elapsed: time.Since(begun)}
	v.Coverage.Bytes = len(in.Text)
	f.raise(ctx, in, policy, v, e.Class, false)
	return v, err
}

func (f *Firewall) raise(ctx context.Context, in Input, p Policy, v Verdict, class Class, early bool) {
	if f.opt.Sink == nil {
		return
	}
	e := Event{
		Schema: Schema, ID: eventID(), Time: time.Now().UTC(), Input: in.ID, Channel: in.Channel, Policy: p.Name,
		Level: v.Level, Action: v.Action, LogOdds: v.LogOdds, PValue: v.PValue, Spans: v.Spans, Detector: v.Detector,
		Error: class, Early: early,
	}
	if e.Spans == nil {
		e.Spans = []Span{}
	}
	if v.Why != nil {
		e.Signal = v.Why.Signal
	}
	// The caller's context may have ended; the event must not be lost for that.
	if err := f.opt.Sink.Event(context.WithoutCancel(ctx), e); err != nil && f.opt.SinkError != nil {
		f.opt.SinkError(fmt.Errorf("alarm event %s: %w", e.ID, err))
	}
}

// A Result is the outcome of one text of a batch.
type Result struct {
	Verdict Verdict
	Err     error
}

// ScreenBatch screens many texts and returns their results in order. Short
// texts share passes over the model, which is faster than screening them one by
// one; the verdicts are the same. One text's failure is no other's.
func (f *Firewall) ScreenBatch(ctx context.Context, ins []Input) []Result {
	results := make([]Result, len(ins))
	var wg sync.WaitGroup
	next := make(chan [2]int)
	for range min(f.opt.Concurrency, (len(ins)+batchTexts-1)/batchTexts) {
		wg.Go(func() {
			for r := range next {
				f.screenGroup(ctx, ins[r[0]:r[1]], results[r[0]:r[1]])
			}
		})
	}
	for at := 0; at < len(ins); at += batchTexts {
		next <- [2]int{at, min(at+batchTexts, len(ins))}
	}
	close(next)
	wg.Wait()
	return results
}

// batchTexts is how many texts of a batch share forward passes.
const batchTexts = 16

// screenGroup screens a few texts with one slot: short ones together, long ones
// one after another.
func (f *Firewall) screenGroup(ctx context.Context, ins []Input, results []Result) {
	begun := time.Now()
	first, release, err := f.acquire(ctx)
	if err != nil {
		for i, in := range ins {
			if in.Channel == "" {
				in.Channel = User
			}
			results[i].Verdict, results[i].Err = f.unscreened(ctx, in, begun, err)
		}
		return
	}
	defer release()
	var scans []*reading.Scan
	var open []int // indices of the texts behind scans
	for i, in := range ins {
		if err := f.check(&in); err != nil {
			results[i].Verdict, results[i].Err = f.unscreened(ctx, in, begun, err)
			continue
		}
		s := first.sibling(len(scans))
		s.begin(f.opt.Alarms, in.Channel)
		if err := s.batch.Add(ctx, s.scan, in.Text); err != nil {
			results[i].Verdict, results[i].Err = f.unscreened(ctx, in, begun, failure(ClassResources, "screen", err))
			continue
		}
		scans = append(scans, s.scan)
		open = append(open, i)
	}
	err = first.batch.Flush(ctx, scans...)
	for k, i := range open {
		in := ins[i]
		if in.Channel == "" {
			in.Channel = User
		}
		if err != nil {
			results[i].Verdict, results[i].Err = f.unscreened(ctx, in, begun, failure(ClassResources, "screen", err))
			continue
		}
		results[i].Verdict, results[i].Err = f.conclude(ctx, first.sibling(k), in, begun)
	}
}
