package kernel

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGenerated runs the generator and compares what it writes with the files that
// are checked in.
func TestGenerated(t *testing.T) {
	// Reading the generator makes the test cache notice when it changes.
	sources, err := filepath.Glob("_asm/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no generator in _asm (%v)", err)
	}
	for _, name := range append(sources, "_asm/go.mod", "_asm/go.sum") {
		if _, err := os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) (stdout, stderr []byte, err error) {
		var out, errs bytes.Buffer
		cmd := exec.Command("go", args...)
		cmd.Dir = "_asm"
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		cmd.Stdout, cmd.Stderr = &out, &errs
		err = cmd.Run()
		return out.Bytes(), errs.Bytes(), err
	}
	if _, msg, err := command("mod", "download"); err != nil {
		t.Skipf("the generator's modules cannot be had: %v: %s", err, msg)
	}
	for _, name := range []string{"matrix", "vector", "int8"} {
		got, msg, err := command("run", ".", name)
		if err != nil {
			t.Fatalf("go run . %s: %v: %s", name, err, msg)
		}
		want, err := os.ReadFile(name + "_amd64.s")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
			for i := 0; i < len(g) && i < len(w); i++ {
				if g[i] != w[i] {
					t.Errorf("%s_amd64.s:%d is %q, the generator writes %q", name, i+1, w[i], g[i])
					break
				}
			}
			t.Errorf("%s_amd64.s is not what _asm writes: run go generate", name)
		}
	}
}
