package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alkimiadev/alknet-firewall/hub"
)

// TestModelNames: what a name stands for depends on its form and on nothing else.
func TestModelNames(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	smol := hub.Catalogue()[0]
	for _, c := range []struct {
		name         string
		onHub        bool
		repo, commit string
	}{
		{"smollm2-135m", true, smol.Repo, smol.Commit},
		{"smollm2-135m@" + commit, true, smol.Repo, commit},
		{"smollm2-135m@main", true, smol.Repo, ""},
		{smol.Repo + "@" + smol.Commit, true, smol.Repo, smol.Commit},
		{strings.ToLower(smol.Repo) + "@" + smol.Commit, true, smol.Repo, smol.Commit},
		{"owner/name@" + commit, true, "owner/name", commit},
		{"gpt2@" + commit, true, "gpt2", commit},
		{"owner/name@main", true, "owner/name", ""},
		{"owner/name@" + commit[:8], true, "owner/name", ""},
		{name: "owner/name"},
		{name: "model"},
		{name: "./smollm2-135m"},
		{name: "../owner/name@" + commit},
		{name: "/models/smollm2-135m"},
		{name: "./a@b"},
		{name: "models/of/mine@home"},
		{name: `C:\models\a@b`},
		{name: "smollm2-135m/"},
		{name: "smollm2-135M"},
	} {
		if got := hubName(c.name); got != c.onHub {
			t.Errorf("hubName(%q) = %v, want %v", c.name, got, c.onHub)
		}
		if !c.onHub {
			continue
		}
		if repo, commit := pinned(c.name); repo != c.repo || commit != c.commit {
			t.Errorf("pinned(%q) = %q, %q, want %q, %q", c.name, repo, commit, c.repo, c.commit)
		}
	}
}

// TestBookPath: one place for each model and commit, the same however the model is named.
func TestBookPath(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	smol := hub.Catalogue()[0]
	short, err := bookPath(smol.Name)
	if err != nil {
		t.Fatal(err)
	}
	if long, err := bookPath(smol.Repo + "@" + smol.Commit); err != nil || long != short {
		t.Errorf("by repository: %q (%v), by name: %q", long, err, short)
	}
	if filepath.Base(short) != "HuggingFaceTB--SmolLM2-135M--"+smol.Commit+".safetensors" {
		t.Errorf("unexpected name %q", short)
	}
	if _, err := bookPath("owner/name@main"); !errors.Is(err, hub.ErrMoving) {
		t.Errorf("of a branch: %v, want ErrMoving", err)
	}
	if _, err := bookPath(""); err == nil {
		t.Error("the embedded detector has a place for a codebook")
	}
	if got, err := bookPath("dir"); err != nil || got != filepath.Join("dir", "codebook.safetensors") {
		t.Errorf("of a directory: %q, %v", got, err)
	}
}

// TestApprove: only a clear yes downloads; a question that is not answered ends
// with the context.
func TestApprove(t *testing.T) {
	at := hub.Settings{CacheDir: "/cache", Endpoint: "https://hub.example"}
	plan := hub.Plan{Ref: hub.Ref{Name: "smollm2-135m"}, Missing: 271e6}
	for answer, want := range map[string]error{"y\n": nil, "YES\n": nil, "n\n": errDeclined, "\n": errDeclined, "": errDeclined, "yesterday\n": errDeclined} {
		var errs bytes.Buffer
		ui := newTUI(strings.NewReader(answer), io.Discard, &errs)
		if err := ui.approve(context.Background(), plan, at); !errors.Is(err, want) {
			t.Errorf("answer %q: %v, want %v", answer, err, want)
		}
		if !strings.Contains(errs.String(), "Download 271.0 MB from https://hub.example? [y/N]") {
			t.Errorf("question: %q", errs.String())
		}
	}
	in, out := io.Pipe() // a terminal at which nobody sits
	defer out.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := newTUI(in, io.Discard, io.Discard).approve(ctx, plan, at); !errors.Is(err, context.Canceled) {
		t.Errorf("no answer, context ended: %v", err)
	}
}

// TestBarLine: resumed bytes are progress and no speed; what is left follows from
// the speed.
func TestBarLine(t *testing.T) {
	b := &bar{name: "x", bytes: true, before: 100e6, total: 300e6, begun: time.Now().Add(-10 * time.Second)}
	if got := b.count(200e6) + ", " + b.rate(200e6); got != "200.0 MB of 300.0 MB, 10.0 MB/s, 10s left" {
		t.Errorf("line %q", got)
	}
	if got := b.rate(100e6); got != "" {
		t.Errorf("rate before the first new byte: %q", got)
	}
	texts := &bar{name: "x", begun: time.Now().Add(-10 * time.Second)}
	if got := texts.count(50) + ", " + texts.rate(50); got != "50, 5.0/s" {
		t.Errorf("line of texts of unknown number: %q", got)
	}
}
