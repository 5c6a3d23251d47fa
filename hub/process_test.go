package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/alkimiadev/alknet-firewall/hub/hubtest"
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

// TestUselessLocks: eight processes on a file system that gives every lock to
// everybody. Each fetches for itself; nothing breaks.
func TestUselessLocks(t *testing.T) {
	w := worldWith(t, 1<<20)
	w.env["HUB_TEST_NOLOCK"] = "1"
	cmds := make([]*exec.Cmd, 8)
	outs := make([]bytes.Buffer, 8)
	for i := range cmds {
		cmds[i] = w.child("acme/m")
		cmds[i].Stderr = &outs[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	warned := 0
	for i, c := range cmds {
		if err := c.Wait(); err != nil {
			t.Errorf("process %d: %v\n%s", i, err, &outs[i])
		}
		warned += strings.Count(outs[i].String(), "locks have no effect")
	}
	if warned == 0 {
		t.Error("nobody noticed that the locks do nothing")
	}
	if n := w.partials(); n != 0 {
		t.Errorf("%d partial files left", n)
	}
	w.sound()
}

// kills is how often TestKill kills; HUB_TEST_KILLS sets another number.
const kills = 10

// TestKill kills a pulling process at random moments until one comes through:
// each goes on at the very byte that the one before it wrote last, and what is
// left in the end is what one undisturbed pull leaves.
func TestKill(t *testing.T) {
	n := kills
	if v := os.Getenv("HUB_TEST_KILLS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	const size = 4 << 20
	w := worldWith(t, size)
	w.pull("acme/m")
	clean := tree(t, w.cache)
	partial := filepath.Join(w.cache, "models--acme--m", "blobs", sha2(w.files["model.safetensors"])+partialExt)
	killed, midway, rounds := 0, 0, 0
	var worst int64
	for killed < n {
		w.forget()
		rounds++
		inRound := 0
		for {
			var has int64
			if fi, err := os.Stat(partial); err == nil {
				has = fi.Size()
				midway++
			}
			before := len(w.hub.Log())
			w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "stall", After: rand.Int64N(size), Pause: 100 * time.Millisecond, Times: 1})
			cmd := w.child("acme/m")
			var out bytes.Buffer
			cmd.Stderr = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// Later and later, so that it ends on a busy machine too.
			timer := time.AfterFunc(time.Duration(rand.IntN(250+25*inRound))*time.Millisecond, func() { cmd.Process.Kill() })
			err := cmd.Wait()
			timer.Stop()
			for _, r := range w.hub.Log()[before:] {
				if want := fmt.Sprintf("bytes=%d-", has); r.Srv == "cdn" {
					if has > 0 && r.Range != want {
						t.Errorf("went on with range %q, want %q", r.Range, want)
					}
					break
				}
			}
			if k := w.partials(); k > len(detector) { // one of each file at most
				t.Errorf("%d partial files after a kill", k)
			}
			if err == nil {
				break
			}
			if cmd.ProcessState.ExitCode() != -1 {
				t.Fatalf("%v\n%s", err, &out)
			}
			killed++
			if inRound++; inRound > 200 {
				t.Fatal("no progress")
			}
		}
		var sent int64
		for _, r := range w.hub.Log() {
			if r.Srv == "cdn" {
				sent += r.Bytes
			}
		}
		if inRound > 0 {
			worst = max(worst, (sent-size)/int64(inRound))
		}
		got := tree(t, w.cache)
		for name := range clean {
			if got[name] != clean[name] && !strings.HasSuffix(name, "verified.json") {
				t.Errorf("after kills %s is %q, want %q", name, got[name], clean[name])
			}
		}
		for name := range got {
			if _, ok := clean[name]; !ok {
				t.Errorf("after kills there is %s", name)
			}
		}
	}
	t.Logf("%d kills in %d pulls, %d of them with part of the weights there; at most %d bytes a kill were lost in sockets", killed, rounds, midway, worst)
}

// TestKilledSteps: a cache as it is after a crash between any two steps of a
// pull is one that other clients read without a warning: no reference to a
// missing commit, no file directly in snapshots/, a refs folder from the start.
func TestKilledSteps(t *testing.T) {
	w := worldWith(t, 1<<20)
	for range 10 {
		w.forget()
		cmd := w.child("acme/m")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		repo := filepath.Join(w.cache, "models--acme--m")
		if _, err := os.Stat(filepath.Join(repo, "snapshots")); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(repo, "refs")); err != nil {
			t.Error(err)
		}
		list, _ := os.ReadDir(filepath.Join(repo, "snapshots"))
		for _, d := range list {
			if !d.IsDir() {
				t.Errorf("a file in snapshots/: %s", d.Name())
			}
		}
		for name, v := range tree(t, repo) {
			if strings.HasPrefix(v, "->") && !strings.HasPrefix(name, ".alknet-firewall") {
				if _, err := os.Stat(filepath.Join(repo, name)); err != nil {
					t.Errorf("a link into nothing: %v", err)
				}
			}
			if strings.HasPrefix(name, "refs/") && v == sha2([]byte(w.commit)) {
				if _, err := os.Stat(filepath.Join(repo, "snapshots", w.commit)); err != nil {
					t.Errorf("a reference to nothing: %v", err)
				}
			}
		}
	}
}

// TestOffline: in a network namespace without interfaces, under strace, an
// offline pull of a complete model connects to nothing and looks nothing up.
func TestOffline(t *testing.T) {
	w := worldWith(t, 5000)
	w.pull("acme/m")
	for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		w.env[name] = "YES"
		c := w.client()
		if _, err := c.Pull(context.Background(), "acme/m"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.get(context.Background(), c.endpoint, 0); !errors.Is(err, ErrOffline) {
			t.Errorf("%s: a request was made: %v", name, err)
		}
		c.offline = false // past the first barrier, the dialer still refuses
		if _, err := c.get(context.Background(), c.endpoint, 0); !errors.Is(err, ErrOffline) {
			t.Errorf("%s: a connection was made: %v", name, err)
		}
		delete(w.env, name)
	}
	w.opt.Offline = true
	if _, err := w.client().Pull(context.Background(), "acme/other"); !errors.Is(err, ErrOffline) || !strings.Contains(err.Error(), "alknet-firewall pull acme/other") {
		t.Errorf("nothing there: %v", err)
	}
	w.opt.Offline = false
	w.hub.Reset()
	if s, err := w.client().Pull(context.Background(), "acme/m@"+w.commit); err != nil || s.Fetched != 0 || len(w.hub.Log()) != 0 {
		t.Errorf("online, complete commit: %v, %d requests", err, len(w.hub.Log()))
	}
	if exec.Command("unshare", "-n", "true").Run() != nil || exec.Command("strace", "-V").Run() != nil {
		t.Skip("needs unshare -n and strace")
	}
	log := filepath.Join(t.TempDir(), "strace")
	w.env["HF_HUB_OFFLINE"] = "1"
	cmd := w.child("acme/m")
	cmd.Args = []string{"unshare", "-n", "strace", "-f", "-e", "trace=socket,connect,sendto,bind,open,openat", "-o", log, cmd.Path}
	cmd.Path, _ = exec.LookPath("unshare")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("model.safetensors")) && !bytes.Contains(b, []byte("blobs")) {
		t.Error("strace saw nothing of the pull")
	}
	for _, word := range []string{"socket(", "connect(", "sendto(", "resolv.conf", "/etc/hosts"} {
		if bytes.Contains(b, []byte(word)) {
			t.Errorf("offline, yet %s", word)
		}
	}
}

// TestOrder: what a loss of power may not reorder: a file is durable before it
// is visible, and a reference comes last.
func TestOrder(t *testing.T) {
	if exec.Command("strace", "-V").Run() != nil {
		t.Skip("needs strace")
	}
	w := worldWith(t, 100_000)
	log := filepath.Join(t.TempDir(), "strace")
	cmd := w.child("acme/m")
	cmd.Args = []string{"strace", "-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", log, cmd.Path}
	cmd.Path, _ = exec.LookPath("strace")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	blob := sha2(w.files["model.safetensors"])
	order := []*regexp.Regexp{
		regexp.MustCompile(`rename.*"` + w.commit + `.json"`),
		regexp.MustCompile(`fsync\(\d+<[^>]*` + blob + regexp.QuoteMeta(partialExt)),
		regexp.MustCompile(`rename.*` + blob + regexp.QuoteMeta(partialExt) + `.*"` + blob + `"`),
		regexp.MustCompile(`fsync\(\d+<[^>]*/blobs>`),
		regexp.MustCompile(`rename.*"model.safetensors"`),
		regexp.MustCompile(`fsync\(\d+<[^>]*/snapshots/` + w.commit + `>`),
		regexp.MustCompile(`rename.*"main"`),
		regexp.MustCompile(`fsync\(\d+<[^>]*/refs>`),
	}
	rest := string(b)
	for _, re := range order {
		at := re.FindStringIndex(rest)
		if at == nil {
			t.Fatalf("no %v after what came before, in:\n%s", re, b)
		}
		rest = rest[at[1]:]
	}
	if strings.Contains(rest, "rename") {
		t.Errorf("the reference was not the last thing to appear:\n%s", rest)
	}
}

// TestHuge fetches 4,831,838,211 bytes and resumes beyond 2³². It needs 5 GB of
// disk and a minute: HUB_TEST_HUGE=1.
func TestHuge(t *testing.T) {
	if os.Getenv("HUB_TEST_HUGE") == "" {
		t.Skip("HUB_TEST_HUGE=1 runs it")
	}
	const size = 4_831_838_211
	w := newWorld(t, hubtest.Options{})
	commit := w.put("acme/huge", hubtest.Repo{Virtual: map[string]int64{"huge.safetensors": size}}, map[string][]byte{"config.json": []byte("{}")})
	w.opt.Files = []string{"*"}
	w.hub.Fault(hubtest.Fault{Where: "cdn", Kind: "drop", After: 1<<32 + 5, Times: 1})
	w.opt.HeaderTimeout = 5 * time.Minute // the stand-in hashes first
	s := w.pull("acme/huge")
	fi, err := os.Stat(filepath.Join(s.Dir, "huge.safetensors"))
	if err != nil || fi.Size() != size || s.Commit != commit {
		t.Fatalf("%v, %v", fi, err)
	}
	for _, r := range w.hub.Log() {
		if r.Srv == "cdn" && r.Range != "" && r.Range != "bytes=4294967301-" {
			t.Errorf("range %s", r.Range)
		}
	}
	if runtime.GOOS == "linux" {
		status, _ := os.ReadFile("/proc/self/status")
		t.Logf("%s", regexp.MustCompile(`VmHWM.*`).Find(status))
	}
}

// TestRealTime measures how long failures take with the timeouts that users
// have: HUB_TEST_REALTIME=1, two minutes.
func TestRealTime(t *testing.T) {
	if os.Getenv("HUB_TEST_REALTIME") == "" {
		t.Skip("HUB_TEST_REALTIME=1 runs it")
	}
	for name, f := range map[string]hubtest.Fault{
		"dropped before any data, always": {Where: "cdn", Kind: "close"},
		"the API never answers":           {Where: "api", Kind: "hang", Pause: 70 * time.Second},
		"the body stalls, always":         {Where: "cdn", Kind: "stall", After: 1000, Pause: 70 * time.Second},
		"Retry-After 100000":              {Where: "api", Kind: "status", Code: 429, RetryAfter: "100000"},
		"redirect loop":                   {Where: "resolve", Kind: "redirect-loop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := worldWith(t, 5000)
			w.hub.Fault(f)
			c, err := newClient(Options{}, func(n string) string { return w.env[n] })
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			_, err = c.Pull(context.Background(), "acme/m")
			if took := time.Since(begun); err == nil || took > time.Minute {
				t.Errorf("%v after %v", err, took)
			} else {
				t.Logf("after %v: %v", took.Round(100*time.Millisecond), err)
			}
		})
	}
}

// TestJavaScript shares a cache with the JavaScript client, both ways.
// HUB_TEST_JS names a folder in which "npm install --ignore-scripts
// @huggingface/hub@2.17.5" was run. The Python client could not be installed
// where this was written: its layout is held by TestLayout, TestListFile and
// TestForeignCaches.
func TestJavaScript(t *testing.T) {
	dir := os.Getenv("HUB_TEST_JS")
	if dir == "" {
		t.Skip("HUB_TEST_JS=FOLDER runs it")
	}
	js := func(w *world, code string) string {
		t.Helper()
		script := filepath.Join(dir, "interop.mjs")
		head := "import {snapshotDownload, scanCacheDir} from '@huggingface/hub'; console.debug = () => {};\n"
		if err := os.WriteFile(script, []byte(head+code), 0o666); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("node", script, w.cache, w.hub.URL)
		cmd.Dir = dir
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, &errs)
		}
		return strings.TrimSpace(string(out))
	}
	const fetch = "console.log(await snapshotDownload({repo: 'acme/m', revision: 'main', cacheDir: process.argv[2], hubUrl: process.argv[3]}))"
	const scan = "const s = await scanCacheDir(process.argv[2]); console.log(JSON.stringify({repos: s.repos.length, warnings: s.warnings.map(String), refs: s.repos.map(r => r.revisions.map(v => v.refs))}))"
	scanned := func(w *world) {
		t.Helper()
		var s struct {
			Repos    int
			Warnings []string
		}
		if err := json.Unmarshal([]byte(js(w, scan)), &s); err != nil || s.Repos != 1 || len(s.Warnings) != 0 {
			t.Errorf("scanCacheDir: %+v, %v", s, err)
		}
	}
	t.Run("ours, then theirs", func(t *testing.T) {
		w := worldWith(t, 50_000)
		w.opt.Files = []string{"*"}
		s := w.pull("acme/m")
		scanned(w)
		w.hub.Reset()
		if got := js(w, fetch); got != s.Dir {
			t.Errorf("snapshotDownload: %s, want %s", got, s.Dir)
		}
		if n := w.count("cdn", "", ""); n != 0 {
			t.Errorf("%d transfers", n)
		}
	})
	t.Run("theirs, then ours", func(t *testing.T) {
		w := worldWith(t, 50_000)
		dir := js(w, fetch)
		w.hub.Reset()
		if s := w.pull("acme/m"); s.Dir != dir || s.Fetched != 0 {
			t.Errorf("%s with %d bytes fetched, want %s and none", s.Dir, s.Fetched, dir)
		}
		if n := w.count("cdn", "", ""); n != 0 {
			t.Errorf("%d transfers", n)
		}
		scanned(w)
		if _, err := w.offline("acme/m@" + w.commit); err != nil {
			t.Errorf("offline: %v", err)
		}
	})
	t.Run("scan after kills", func(t *testing.T) {
		w := worldWith(t, 4<<20)
		for i := range 20 {
			w.forget()
			cmd := w.child("acme/m")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(20+5*i) * time.Millisecond)
			cmd.Process.Kill()
			cmd.Wait()
			if _, err := os.Stat(filepath.Join(w.cache, "models--acme--m", ".alknet-firewall")); err == nil {
				scanned(w)
			}
		}
	})
}
