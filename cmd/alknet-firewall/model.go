package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/detector"
	"github.com/alkimiadev/alknet-firewall/hub"
)

// What the setting "model" may be, told apart by its form alone, so that a file
// that happens to lie in the working directory changes nothing:
//
//	"" or "nano"                     the embedded detector
//	smollm2-135m, smollm2-135m@REV   a model of the catalogue, on the Hub
//	owner/name@COMMIT                any other model of the Hub
//	everything else                  a directory; ./smollm2-135m and ./a@b are directories, too

// hubName reports whether a model's name is one of the Hub.
func hubName(name string) bool {
	if strings.HasPrefix(name, ".") || filepath.IsAbs(name) || strings.Contains(name, `\`) {
		return false
	}
	base, _, revision := strings.Cut(name, "@")
	for _, e := range hub.Catalogue() {
		if base == e.Name {
			return true
		}
	}
	return revision && strings.Count(base, "/") <= 1
}

// pinned returns repository and commit of a model of the Hub; no commit if the
// name has none and is not in the catalogue.
func pinned(name string) (repo, commit string) {
	repo, commit, _ = strings.Cut(name, "@")
	for _, e := range hub.Catalogue() {
		if repo == e.Name || strings.EqualFold(repo, e.Repo) && commit == e.Commit {
			repo = e.Repo
			if commit == "" {
				commit = e.Commit
			}
		}
	}
	if len(commit) != 40 || strings.Trim(commit, "0123456789abcdef") != "" {
		commit = ""
	}
	return repo, commit
}

// The download policies: whether a model of the Hub that is not in the cache may
// be fetched by whoever needs it. The command pull always may.
const (
	downloadNever  = "never"
	downloadAsk    = "ask"
	downloadAlways = "always"
)

// source returns the model that the settings name; nil is the embedded detector.
// Nothing is opened or asked before it is used.
func (s *settings) source() (firewall.Source, error) {
	name := s.values["model"]
	switch {
	case name == "" || name == detector.Name:
		return nil, nil
	case !hubName(name):
		return firewall.Dir(name), nil
	}
	c, err := s.client(s.values["download"])
	if err != nil {
		return nil, err
	}
	return c.Model(name), nil
}

// client returns a client of the Hub that downloads as the policy says.
func (s *settings) client(policy string) (*hub.Client, error) {
	ui := s.ui
	var c *hub.Client
	opt := hub.Options{Warn: func(err error) { ui.warn("%v", err) }}
	switch policy {
	case downloadAlways:
	case downloadAsk:
		if opt.Offline = !ui.interactive; !opt.Offline {
			opt.Approve = func(ctx context.Context, p hub.Plan) error { return ui.approve(ctx, p, c.Settings()) }
		}
	case downloadNever:
		opt.Offline = true
	default:
		return nil, fmt.Errorf("setting download (%s): %q is not one of never, ask, always", s.origin["download"], policy)
	}
	opt.Progress = ui.fetching(func() hub.Settings { return c.Settings() })
	var err error
	c, err = hub.New(opt)
	return c, err
}

var errDeclined = errors.New("the download was declined")

// approve asks whether to download. It is an errDeclined error if not.
func (ui *tui) approve(ctx context.Context, p hub.Plan, at hub.Settings) error {
	ui.say("%s is not complete in %s.\nDownload %s from %s? [y/N] ", p.Name, at.CacheDir, size(p.Missing), at.Endpoint)
	answer := make(chan string, 1)
	go func() { // a read from a terminal cannot be cancelled; the process ends first
		line, _ := bufio.NewReader(io.LimitReader(ui.in, 64)).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		ui.say("\n")
		return context.Cause(ctx)
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
		return errDeclined
	}
}

// fetching shows the progress of a client's calls.
func (ui *tui) fetching(settings func() hub.Settings) func(hub.Progress) {
	var b *bar
	var phase hub.Phase
	return func(p hub.Progress) {
		at := settings()
		if at.Bars == "off" {
			return
		}
		if p.Phase != phase && b != nil {
			b.done()
			b = nil
		}
		first := p.Phase != phase
		phase = p.Phase
		switch phase {
		case hub.PhaseWait:
			if first {
				ui.say("%s: waiting for another program that downloads it, or for the Hub\n", p.Ref.Name)
			}
		case hub.PhaseDownload:
			if b == nil {
				ui.say("downloading %s (%s) from %s to %s\n", p.Ref.Name, size(p.Total), at.Endpoint, at.CacheDir)
				b = ui.byteBar(short(p.Ref.Name), p.Total, p.Done)
			}
			b.at(p.Done)
		case hub.PhaseVerify:
			if b == nil {
				b = ui.byteBar("verify "+short(p.Ref.Name), p.Total, 0)
			}
			b.at(p.Done)
		}
	}
}

// short cuts the commit in a name to eight digits, to leave room for a bar.
func short(name string) string {
	if repo, rev, _ := strings.Cut(name, "@"); len(rev) == 40 {
		return repo + "@" + rev[:8]
	}
	return name
}

// dataHome returns the directory for what this user made and a cache must not
// hold: $XDG_DATA_HOME or ~/.local/share, ~/Library/Application Support on macOS,
// %LocalAppData% on Windows.
func dataHome() (string, error) {
	if runtime.GOOS == "windows" {
		if dir := os.Getenv("LocalAppData"); dir != "" {
			return filepath.Join(dir, "alknet-firewall"), nil
		}
		return "", errors.New("%LocalAppData% is not set")
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) { // the specification ignores relative ones
		return filepath.Join(dir, "alknet-firewall"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "alknet-firewall"), nil
	}
	return filepath.Join(home, ".local", "share", "alknet-firewall"), nil
}

// bookPath returns where the codebook of a model is kept: in the directory of a
// model that has one of its own; for one of the Hub among the user's data, not in
// the Hub's cache, which any of its programs may empty. The embedded detector has
// no such place.
func bookPath(model string) (string, error) {
	switch {
	case model == "" || model == detector.Name:
		return "", errors.New("the embedded detector's codebook is part of the program")
	case !hubName(model):
		return filepath.Join(model, firewall.CodebookFile), nil
	}
	repo, commit := pinned(model)
	if commit == "" {
		return "", fmt.Errorf("%s: %w; a codebook belongs to one commit", model, hub.ErrMoving)
	}
	dir, err := dataHome()
	if err != nil {
		return "", fmt.Errorf("no place for codebooks: %w", err)
	}
	// Hub names have no "--", so this is one to one.
	return filepath.Join(dir, "codebooks", strings.ReplaceAll(repo, "/", "--")+"--"+commit+".safetensors"), nil
}

// storedBook returns the path of the codebook that was calibrated here for a
// model of the Hub; empty if there is none.
func storedBook(model string) string {
	if !hubName(model) {
		return ""
	}
	name, err := bookPath(model)
	if err != nil {
		return ""
	}
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}
