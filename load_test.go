package firewall_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/detector"
)

// nanoDir returns a model directory with the embedded detector's files.
func nanoDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"config.json": detector.Config(), "tokenizer.json": detector.Tokenizer(),
		"model.safetensors": detector.Weights(), firewall.CodebookFile: detector.Codebook(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// slowSource gives its directory when gate is closed, as a download would.
type slowSource struct {
	dir   string
	calls atomic.Int32
	begun chan struct{} // receives when Dir was called
	gate  chan struct{}
}

func newSlowSource(dir string) *slowSource {
	return &slowSource{dir: dir, begun: make(chan struct{}, 100), gate: make(chan struct{})}
}

func (s *slowSource) Dir(ctx context.Context) (string, error) {
	s.calls.Add(1)
	s.begun <- struct{}{}
	select {
	case <-s.gate:
		return s.dir, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (s *slowSource) Progress() (done, total int64) { return 7, 269 }

// TestLoadOutlivesCaller: the caller that began a download may go; those who
// wait, and those who come later, get what it was going to load.
func TestLoadOutlivesCaller(t *testing.T) {
	src := newSlowSource(nanoDir(t))
	fw := open(t, firewall.Options{Model: src})
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan error)
	go func() {
		_, err := fw.Screen(ctx, firewall.Input{Text: hostile})
		first <- err
	}()
	<-src.begun
	if s := fw.LoadState(); s.Stage != firewall.LoadFetching || s.Done != 7 || s.Total != 269 || fw.Ready() {
		t.Errorf("while the source works: state %+v, ready %v", s, fw.Ready())
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := fw.Screen(context.Background(), firewall.Input{Text: hostile}); err != nil {
				t.Errorf("a caller that waited: %v", err)
			}
		})
	}
	cancel()
	if err := <-first; !errors.Is(err, firewall.ErrCancelled) {
		t.Errorf("the caller that gave up: %v, want an error of class cancelled", err)
	}
	close(src.gate)
	wg.Wait()
	if n := src.calls.Load(); n != 1 {
		t.Errorf("%d downloads for 6 callers, want 1", n)
	}
	if s := fw.LoadState(); s.Stage != firewall.LoadReady || s.Total != 0 || !fw.Ready() {
		t.Errorf("after the load: state %+v, ready %v", s, fw.Ready())
	}
}

// TestLoadWait: a text waits as long as the option says and not longer, and the
// load goes on without it.
func TestLoadWait(t *testing.T) {
	for _, wait := range []time.Duration{-1, time.Millisecond} {
		src := newSlowSource(nanoDir(t))
		fw := open(t, firewall.Options{Model: src, LoadWait: wait})
		for range 3 {
			v, err := fw.Screen(context.Background(), firewall.Input{Text: hostile})
			if !errors.Is(err, firewall.ErrLoading) || !errors.Is(err, firewall.ErrResources) || v.Level != firewall.LevelUnscreened || v.Action != firewall.ActionBlock {
				t.Fatalf("wait %v, while loading: %v, %v, %v", wait, v.Level, v.Action, err)
			}
		}
		close(src.gate)
		if err := fw.Warm(context.Background()); err != nil {
			t.Fatal(err)
		}
		screen(t, fw, firewall.Input{Text: hostile})
		if n := src.calls.Load(); n != 1 {
			t.Errorf("wait %v: %d loads, want 1", wait, n)
		}
	}
}

// TestCloseWhileLoading: Close stops the load and tells those who wait.
func TestCloseWhileLoading(t *testing.T) {
	src := newSlowSource("")
	fw := open(t, firewall.Options{Model: src})
	waiting := make(chan error)
	go func() { waiting <- fw.Warm(context.Background()) }()
	<-src.begun
	if err := fw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, firewall.ErrClosed) {
		t.Errorf("Warm, closed meanwhile: %v, want ErrClosed", err)
	}
	if s := fw.LoadState(); s.Stage != firewall.LoadClosed {
		t.Errorf("after Close: state %+v", s)
	}
}

// TestLoadPause: texts begin no storm of loads while the source is down; Warm
// tries whenever it is asked.
func TestLoadPause(t *testing.T) {
	src := &retrySource{}
	fw := open(t, firewall.Options{Model: src})
	for range 20 {
		if _, err := fw.Screen(context.Background(), firewall.Input{Text: "x"}); !errors.Is(err, firewall.ErrModel) {
			t.Fatalf("Screen = %v, want an error of class model", err)
		}
	}
	if src.calls != 2 {
		t.Errorf("20 texts began %d loads, want 2: a second try at once, then a pause", src.calls)
	}
	s := fw.LoadState()
	if s.Stage != firewall.LoadFailed || s.Err == nil || s.Retry.Sub(s.Since) != time.Second {
		t.Errorf("after two failures: %+v, want a pause of a second", s)
	}
	if err := fw.Warm(context.Background()); err == nil || src.calls != 3 {
		t.Errorf("Warm in the pause: %v after %d loads, want a third", err, src.calls)
	}
	if s := fw.LoadState(); s.Retry.Sub(s.Since) != 2*time.Second {
		t.Errorf("after three failures: a pause of %v, want 2 s", s.Retry.Sub(s.Since))
	}
}
