package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"alknet-firewall": main})
}

// TestScripts runs the transcripts in testdata: what a user types and sees.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
	})
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
