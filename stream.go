package firewall

import (
	"context"
	"errors"
	"time"

	"github.com/alkimiadev/alknet-firewall/internal/text"
)

// A Stream screens a text while it comes in. It is an io.WriteCloser for one
// goroutine, and holds one of the Firewall's slots until End or Close.
//
// Write screens what is complete and can raise an alarm before the text ends:
// [Stream.Alarmed]. The verdict of [Stream.End] is the one that Screen gives for
// the whole text, however it was cut into writes. An early alarm is not taken
// back if the rest of the text lowers the final score.
type Stream struct {
	f       *Firewall
	ctx     context.Context //nolint:containedctx // a stream is one call stretched over many writes
	in      Input
	begun   time.Time
	s       *screener
	release func()
	buf     []byte // not yet cut into segments
	bytes   int
	checked int // spans that the last early look saw
	early   *Verdict
	err     error
	done    bool
}

// Stream begins a text. in.Text must be empty: the text comes through Write.
// The context holds for the whole stream. The stream must be ended with End or
// Close. On an error there is no stream; the sink is told of an unscreened text,
// and its action is what the policy says for the error's class.
func (f *Firewall) Stream(ctx context.Context, in Input) (*Stream, error) {
	begun := time.Now()
	err := f.check(&in)
	if err == nil && in.Text != "" {
		err = failuref(ClassInput, "begin stream", "the input has text already; write it to the stream")
	}
	if err != nil {
		_, err = f.unscreened(ctx, in, begun, err)
		return nil, err
	}
	s, release, err := f.acquire(ctx)
	if err != nil {
		_, err = f.unscreened(ctx, in, begun, err)
		return nil, err
	}
	s.begin(f.opt.Alarms, in.Channel)
	return &Stream{f: f, ctx: ctx, in: in, begun: begun, s: s, release: release}, nil
}

var errStreamEnded = errors.New("the stream has ended")

// Write takes the next bytes of the text and screens what it can. Its error is
// sticky: the text is unscreened from then on.
func (st *Stream) Write(p []byte) (int, error) {
	if st.done {
		return 0, failure(ClassInput, "write to stream", errStreamEnded)
	}
	if st.err != nil {
		return 0, st.err
	}
	if st.bytes+len(p) > st.f.opt.MaxBytes {
		st.err = failuref(ClassInput, "screen", "text has more than the %d bytes allowed (MaxBytes)", st.f.opt.MaxBytes)
		return 0, st.err
	}
	st.bytes += len(p)
	st.buf = append(st.buf, p...)
	if st.err = st.cut(false); st.err != nil {
		return 0, st.err
	}
	st.look()
	return len(p), nil
}

// cut moves complete segments from the buffer to the scan and runs full batches.
func (st *Stream) cut(final bool) error {
	rest := st.buf
	for len(rest) > 0 {
		n := text.Cut(rest, final)
		if n == 0 {
			break
		}
		if err := st.s.scan.Segment(string(rest[:n])); err != nil {
			return failure(ClassResources, "screen", err)
		}
		rest = rest[n:]
		if st.s.scan.Full() {
			if err := st.s.batch.Flush(st.ctx, st.s.scan); err != nil {
				return failure(ClassResources, "screen", err)
			}
		}
	}
	st.buf = st.buf[:copy(st.buf, rest)]
	if err := st.s.batch.Flush(st.ctx, st.s.scan); err != nil {
		return failure(ClassResources, "screen", err)
	}
	return nil
}

// look judges what was read so far, for an early alarm. It looks again only
// when an eighth more was read, so that all looks together cost linear time.
func (st *Stream) look() {
	n := len(st.s.raw.evidence)
	if st.early != nil || n == 0 || n < st.checked+st.checked/8+1 {
		return
	}
	st.checked = n
	policy := st.f.policy(st.in.Channel)
	v, err := st.s.verdict(policy, st.in.Channel, false)
	if err != nil || v.Level < LevelAlarm {
		return // an error will come back at the end
	}
	v.ID, v.Elapsed = st.in.ID, time.Since(st.begun)
	v.Coverage.Complete = false
	st.early = &v
	st.f.raise(st.ctx, st.in, policy, v, "", true)
}

// Alarmed returns the early alarm, if there was one: the verdict on what had
// been written by then. Its coverage is not complete.
func (st *Stream) Alarmed() (Verdict, bool) {
	if st.early == nil {
		return Verdict{}, false
	}
	return *st.early, true
}

// End screens the rest and returns the verdict on the whole text, as
// [Firewall.Screen] does. Calling it again is an error.
func (st *Stream) End() (Verdict, error) {
	if st.done {
		return Verdict{}, failure(ClassInput, "end stream", errStreamEnded)
	}
	st.done = true
	defer st.release()
	if st.err == nil {
		if st.err = st.cut(true); st.err == nil {
			st.s.scan.End()
			if err := st.s.batch.Flush(st.ctx, st.s.scan); err != nil {
				st.err = failure(ClassResources, "screen", err)
			}
		}
	}
	if st.err != nil {
		v, err := st.f.unscreened(st.ctx, st.in, st.begun, st.err)
		v.Coverage.Bytes = st.bytes
		return v, err
	}
	return st.f.conclude(st.ctx, st.s, st.in, st.begun)
}

// Close gives up a stream that was not ended: its text is unscreened. After End
// it does nothing.
func (st *Stream) Close() error {
	if !st.done {
		st.done = true
		st.release()
	}
	return nil
}
