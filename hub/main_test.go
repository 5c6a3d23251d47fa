package hub

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the fault table in docs/formats/hub-cache.md")

// TestMain lets the test binary be a program of its own that pulls a model, for
// the tests that need other processes.
func TestMain(m *testing.M) {
	if name := os.Getenv("HUB_TEST_CHILD"); name != "" {
		os.Exit(child(name))
	}
	flag.Parse()
	os.Exit(m.Run())
}

// child pulls a model with the environment's settings and prints its directory.
func child(name string) int {
	c, err := New(Options{Warn: func(err error) { fmt.Fprintln(os.Stderr, "warning:", err) }})
	if err == nil {
		c.backoff = time.Millisecond
		if os.Getenv("HUB_TEST_NOLOCK") != "" {
			c.lockName = func(p string) string { return p + "." + unique() }
		}
		var s Snapshot
		if s, err = c.Pull(context.Background(), name); err == nil {
			fmt.Println(s.Dir)
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// child returns a process that pulls name in the world's environment.
func (w *world) child(name string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HUB_TEST_CHILD="+name)
	for k, v := range w.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	return cmd
}
