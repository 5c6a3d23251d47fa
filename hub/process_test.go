package hub

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/gofrs/flock"
)

func itoa(n int) string { return strconv.Itoa(n) }

// processes lets n processes pull the same model at once.
func (w *world) processes(n int) string {
	w.t.Helper()
	cmds := make([]*exec.Cmd, n)
	outs := make([]bytes.Buffer, n)
	for i := range cmds {
		cmds[i] = w.child("acme/m")
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], &outs[i]
		if err := cmds[i].Start(); err != nil {
			w.t.Fatal(err)
		}
	}
	for i, c := range cmds {
		if err := c.Wait(); err != nil {
			w.t.Errorf("process %d: %v\n%s", i, err, &outs[i])
		}
	}
	perFile := map[string]int{}
	for _, r := range w.hub.Log() {
		if r.Srv == "cdn" {
			perFile[r.URL[:20]]++
		}
	}
	for f, k := range perFile {
		if k != 1 {
			w.t.Errorf("%d transfers of %s", k, f)
		}
	}
	return fmt.Sprintf("%d transfer", w.count("cdn", "", ""))
}

// hold takes the lock of a blob as another program would.
func (w *world) hold(blob string) (release func()) {
	w.t.Helper()
	dir := filepath.Join(w.cache, ".locks", "models--acme--m")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		w.t.Fatal(err)
	}
	l := flock.New(filepath.Join(dir, blob+".lock"))
	if ok, err := l.TryLock(); !ok {
		w.t.Fatal(err)
	}
	return func() { l.Close() }
}

// TestProcesses: eight processes and eight goroutines, cold cache, one transfer.
func TestProcesses(t *testing.T) {
	w := worldWith(t, weights)
	done := make(chan string)
	for range 8 {
		go func() { done <- w.outcomeOf("acme/m") }()
	}
	w.processes(8)
	for range 8 {
		if out := <-done; out != "ok" {
			t.Errorf("goroutine: %s", out)
		}
	}
	if n := w.count("cdn", "", ""); n != 1 {
		t.Errorf("%d transfers, want 1", n)
	}
	w.sound()
}
