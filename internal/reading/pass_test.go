package reading

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// queued returns a scan with the windows of s queued, and where its readings go.
func queued(t *testing.T, r *Reader, b *Batch, s string) (*Scan, *[]Span) {
	t.Helper()
	scan, spans := r.NewScan(), new([]Span)
	scan.Begin(func(sp Span) {
		sp.Vector = slices.Clone(sp.Vector)
		*spans = append(*spans, sp)
	})
	for len(s) > 0 {
		n := b.cut(s)
		if err := scan.Segment(s[:n]); err != nil {
			t.Fatal(err)
		}
		s = s[n:]
	}
	scan.End()
	return scan, spans
}

func sameSpans(a, b []Span) bool {
	return slices.EqualFunc(a, b, func(x, y Span) bool {
		return x.Start == y.Start && x.End == y.End && x.Lane == y.Lane && slices.Equal(x.Vector, y.Vector)
	})
}

// waiting blocks until n batches wait for a pass.
func waiting(t *testing.T, r *Reader, n int) {
	t.Helper()
	for range 5000 {
		r.passes.mu.Lock()
		k := len(r.passes.waiting)
		r.passes.mu.Unlock()
		if k == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%d batches do not wait", n)
}

// occupy takes all passes away, as if they were under way; the function that it
// returns gives them back.
func occupy(r *Reader) (free func()) {
	p := &r.passes
	held := p.free
	p.free = nil
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.free = held
		p.dispatch()
	}
}

// TestTurns: where no pass is to be had, a long text and short ones share the next
// one, a window of each in turn, whoever came first; and their readings are those
// that they have alone.
func TestTurns(t *testing.T) {
	r := load(t, sizes)
	texts := []string{strings.Repeat("The committee agreed on the budget. ", 200), "One.", "Two, and no more.", "Three."}
	var want [][]Span
	for _, s := range texts {
		spans, _ := read(t, r, s)
		want = append(want, spans)
	}
	p := &r.passes
	only := p.free[0]
	occupy(r)
	var wg sync.WaitGroup
	var got []*[]Span
	var batches []*Batch
	for i, s := range texts {
		b := r.NewBatch()
		scan, spans := queued(t, r, b, s)
		got, batches = append(got, spans), append(batches, b)
		wg.Go(func() {
			if err := b.Flush(context.Background(), scan); err != nil {
				t.Errorf("text %d: %v", i, err)
			}
		})
		waiting(t, r, i+1)
	}
	p.mu.Lock()
	p.fill(only)
	var order []int
	for _, part := range only.parts {
		order = append(order, slices.Index(batches, part.batch))
	}
	batches[order[0]].wake <- true
	p.mu.Unlock()
	if len(order) < 10 || !slices.Equal(order[:6], []int{0, 1, 2, 3, 0, 0}) {
		t.Errorf("the first pass takes windows of texts %v, want one of each in turn", order)
	}
	wg.Wait()
	for i := range texts {
		if !sameSpans(*got[i], want[i]) {
			t.Errorf("text %d reads otherwise in company", i)
		}
	}
	if len(p.free) != 1 || len(p.waiting) > 0 {
		t.Error("the pass does not rest")
	}
}

// TestAbandon: a batch whose context ends while it waits goes away at once, and
// takes nobody with it.
func TestAbandon(t *testing.T) {
	r := load(t, sizes)
	free := occupy(r)
	cause := errors.New("had enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	var stay, leave sync.WaitGroup
	for i := range 4 {
		b := r.NewBatch()
		scan, spans := queued(t, r, b, "A short text.")
		if i%2 == 0 {
			leave.Go(func() {
				if err := b.Flush(ctx, scan); !errors.Is(err, cause) {
					t.Errorf("abandoned: %v, want the context's cause", err)
				}
			})
		} else {
			stay.Go(func() {
				if err := b.Flush(context.Background(), scan); err != nil || len(*spans) == 0 {
					t.Errorf("in company of an abandoned batch: %v, %d readings", err, len(*spans))
				}
			})
		}
		waiting(t, r, i+1)
	}
	cancel(cause)
	leave.Wait() // though no pass ends
	free()
	stay.Wait()
}

// TestPassContext: a pass goes on until nobody waits for it.
func TestPassContext(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	of := func(ctx context.Context) part { return part{batch: &Batch{flush: flush{ctx: ctx}}} }
	for _, c := range []struct {
		parts []part
		want  error
	}{
		{[]part{of(ended), of(context.Background())}, nil},
		{[]part{of(ended), of(ended)}, context.Canceled},
	} {
		if err := (&passContext{context.Background(), c.parts}).Err(); !errors.Is(err, c.want) {
			t.Errorf("a pass of %d, some abandoned: %v, want %v", len(c.parts), err, c.want)
		}
	}
}

// TestPassesUnderLoad: many readers of many texts, some of which give up. What is
// read is right to the last bit, and nobody hangs.
func TestPassesUnderLoad(t *testing.T) {
	r := loadThreads(t, sizes, 2)
	var texts []string
	var want [][]Span
	for i := range 6 {
		texts = append(texts, strings.Repeat("Text number "+fmt.Sprint(i)+" says this. ", 1+i*i*2))
		spans, _ := read(t, r, texts[i])
		want = append(want, spans)
	}
	goroutines := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			b, scan := r.NewBatch(), r.NewScan()
			for range 12 {
				i := rng.IntN(len(texts))
				ctx, cancel := context.WithCancel(context.Background())
				if rng.IntN(3) == 0 {
					time.AfterFunc(time.Duration(rng.IntN(3000))*time.Microsecond, cancel)
				}
				var got []Span
				scan.Begin(func(sp Span) {
					sp.Vector = slices.Clone(sp.Vector)
					got = append(got, sp)
				})
				err := b.Read(ctx, scan, texts[i])
				if err == nil && !sameSpans(got, want[i]) {
					t.Errorf("text %d reads otherwise in company", i)
				}
				if err != nil && (!errors.Is(err, context.Canceled) || ctx.Err() == nil) {
					t.Errorf("text %d: %v", i, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if p := &r.passes; len(p.free) != 2 || len(p.waiting) > 0 {
		t.Error("the passes do not rest")
	}
	for range 1000 { // the last of them may be on their way out
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("there were %d goroutines, now %d", goroutines, runtime.NumGoroutine())
}

// TestPassPanics: if a pass breaks off, those who waited for it get an error, and the
// next pass is led by somebody else.
func TestPassPanics(t *testing.T) {
	r := load(t, sizes)
	only := r.passes.free[0]
	good := only.run
	only.run = nil // any pass panics
	free := occupy(r)
	var wg sync.WaitGroup
	for i := range 3 {
		b := r.NewBatch()
		scan, _ := queued(t, r, b, "A short text.")
		wg.Go(func() {
			defer func() {
				if (recover() != nil) != (i == 0) {
					t.Errorf("batch %d: only the leader should panic", i)
				}
			}()
			if err := b.Flush(context.Background(), scan); !errors.Is(err, errBroken) {
				t.Errorf("batch %d: %v, want %v", i, err, errBroken)
			}
		})
		waiting(t, r, i+1)
	}
	free()
	wg.Wait()
	only.run = good
	if spans, _ := read(t, r, "A short text."); len(spans) == 0 {
		t.Error("no pass after one that broke off")
	}
}
