package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/detector"
	"github.com/alkimiadev/alknet-firewall/hub"
	"github.com/alkimiadev/alknet-firewall/hub/hubtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"alknet-firewall": main})
}

// nanoCommit is the commit under which the stand-in Hub serves nano's own files.
const nanoCommit = "00000000000000000000000000000000deadbeef"

// TestScripts runs the transcripts in testdata: what a user types and sees. Each
// has a stand-in Hub of its own, with nano's files as acme/nano, the same gated as
// acme/gated and disabled as acme/off; the token "stranger" may read nothing
// gated, "friend" may. Cache, data and configuration lie in the script's directory.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			root := e.WorkDir + "/.hub"
			files := map[string][]byte{
				"config.json": detector.Config(), "tokenizer.json": detector.Tokenizer(), "model.safetensors": detector.Weights(),
				"README.md": []byte("not needed"), "pytorch_model.bin": []byte("not wanted"),
			}
			lfs := []string{"*.safetensors", "tokenizer.json"}
			for repo, conf := range map[string]hubtest.Repo{
				"acme/nano":  {LFS: lfs},
				"acme/gated": {LFS: lfs, Gated: "manual", Tokens: []string{"friend"}},
				"acme/off":   {LFS: lfs, Disabled: true},
			} {
				if _, err := hubtest.Write(root, repo, nanoCommit, conf, files); err != nil {
					return err
				}
			}
			srv, err := hubtest.Start(root, hubtest.Options{Tokens: []string{"stranger", "friend"}})
			if err != nil {
				return err
			}
			e.Defer(srv.Close)
			e.Values[hubKey{}] = srv
			for _, v := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
				e.Setenv(v, "")
			}
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
			e.Setenv("XDG_DATA_HOME", e.WorkDir+"/data")
			e.Setenv("HF_HOME", e.WorkDir+"/hf")
			e.Setenv("HF_ENDPOINT", srv.URL)
			e.Setenv("COMMIT", nanoCommit)
			e.Setenv("NANO", "acme/nano@"+nanoCommit)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"fault":    fault,
			"requests": requests,
			"flip":     flip,
		},
	})
}

type hubKey struct{}

// exits CODE PROGRAM ARG... is exec that wants a certain exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [arg...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// fault WHERE MATCH KIND [AFTER] spoils answers of the Hub, see [hubtest.Fault];
// fault off ends it.
func fault(ts *testscript.TestScript, _ bool, args []string) {
	srv := ts.Value(hubKey{}).(*hubtest.Server)
	if len(args) == 1 && args[0] == "off" {
		srv.Reset()
		return
	}
	if len(args) < 3 {
		ts.Fatalf("usage: fault where match kind [after]")
	}
	f := hubtest.Fault{Where: args[0], Match: args[1], Kind: args[2]}
	if len(args) > 3 {
		after, err := strconv.ParseInt(args[3], 10, 64)
		ts.Check(err)
		f.After = after
	}
	srv.Fault(f)
}

// requests N wants N requests at the Hub and its CDN since the last fault off.
func requests(ts *testscript.TestScript, _ bool, args []string) {
	srv := ts.Value(hubKey{}).(*hubtest.Server)
	if got := len(srv.Log()); len(args) != 1 || strconv.Itoa(got) != args[0] {
		ts.Fatalf("%d requests, want %v: %v", got, args, srv.Log())
	}
}

// flip FILE changes a byte in the middle of a file.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	name, err := filepath.EvalSymlinks(ts.MkAbs(args[0]))
	ts.Check(err)
	b, err := os.ReadFile(name)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(name, b, 0o600))
}

// TestExitCodes: every error of the Hub has a documented code of its own kind, also
// inside an error of the firewall.
func TestExitCodes(t *testing.T) {
	want := map[error]int{
		hub.ErrName: 2, hub.ErrMoving: 2,
		hub.ErrNotFound: 3, hub.ErrRevision: 3, hub.ErrEntry: 3,
		hub.ErrGated: 4, hub.ErrDisabled: 4,
		hub.ErrUnauthorised: 5,
		hub.ErrOffline:      6, errDeclined: 6,
		hub.ErrCorrupt: 7,
		hub.ErrNoSpace: 8, hub.ErrReadOnly: 8,
		hub.ErrUnavailable: 9, hub.ErrNotHub: 9, hub.ErrLocked: 9,
	}
	for err, code := range want {
		wrapped := &firewall.Error{Class: firewall.ClassModel, Op: "load detector", Err: fmt.Errorf("pull: %w", err)}
		if got := exitCode(wrapped); got != code {
			t.Errorf("%v: exit code %d, want %d", err, got, code)
		}
	}
	for i, e := range exitCodes {
		if _, ok := want[e.err]; !ok {
			t.Errorf("exitCodes[%d], %v, is in no test", i, e.err)
		}
	}
}

// TestUsage: every verb of the usage text exists, and every verb is in it.
func TestUsage(t *testing.T) {
	var out, errs bytes.Buffer
	ui := newTUI(strings.NewReader(""), &out, &errs)
	for _, c := range newRoot(ui).Commands() {
		if name := c.Name(); name != "help" && name != "completion" && !strings.Contains(usage, "alknet-firewall "+name) {
			t.Errorf("the usage text does not mention %q", name)
		}
		if c.Runnable() && c.Example == "" && c.Name() != "help" && c.Name() != "config" {
			t.Errorf("%s: --help ends in no example", c.Name())
		}
	}
	if code := run(context.Background(), []string{"--help"}, strings.NewReader(""), &out, &errs); code != 0 {
		t.Errorf("--help exits with %d", code)
	}
}

// TestBillionLaughs: a YAML file cannot blow up.
func TestBillionLaughs(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		prev := strings.Repeat("*a"+string(rune('0'+i-1))+",", 9)
		b.WriteString("a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + prev + "*a0]\n")
	}
	if _, err := parseConfig([]byte(b.String())); err == nil {
		t.Error("a configuration of nested aliases was accepted")
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[31m\u202eb\nc"); strings.ContainsAny(got, "\x1b\u202e\n") {
		t.Errorf("printable left %q", got)
	}
}

func TestMain_usageOnStderr(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(context.Background(), nil, os.Stdin, &out, &errs); code != exitError || out.Len() > 0 || errs.Len() == 0 {
		t.Errorf("without arguments: exit %d, %d bytes of data, %d of words", code, out.Len(), errs.Len())
	}
}
