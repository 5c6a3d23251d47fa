package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/alkimiadev/alknet-firewall/hub/hubtest"
)

// foreign writes the cache that another client would have left.
type foreign struct {
	links bool // blobs/ and links, or regular files in the snapshot
	trees bool // trees/<commit>.json, as the reference client since 1.22
	skip  string
}

func (w *world) foreign(f foreign) (repo string) {
	w.t.Helper()
	repo = filepath.Join(w.cache, "models--acme--m")
	write := func(name string, b []byte, mode os.FileMode) {
		p := filepath.Join(repo, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(p, b, mode); err != nil {
			w.t.Fatal(err)
		}
	}
	write("refs/main", []byte(w.commit), 0o666)
	l := listing{}
	for _, n := range keysOf(w.files) {
		b := w.files[n]
		e := listed{BlobID: gitHash(b), Size: int64(len(b))}
		blob := e.BlobID
		if strings.HasSuffix(n, ".safetensors") || strings.HasSuffix(n, ".bin") || strings.HasSuffix(n, ".onnx") {
			blob = sha2(b)
			e.LFSSHA256, e.LFSSize, e.BlobID = blob, e.Size, gitHash([]byte("pointer of "+blob))
		}
		l[n] = e
		switch {
		case n == f.skip:
		case f.links:
			write("blobs/"+blob, b, 0o666)
			p := filepath.Join(repo, "snapshots", w.commit, n)
			os.MkdirAll(filepath.Dir(p), 0o777)
			if err := os.Symlink(strings.Repeat("../", 2+strings.Count(n, "/"))+"blobs/"+blob, p); err != nil {
				w.t.Fatal(err)
			}
		default:
			write("snapshots/"+w.commit+"/"+n, b, 0o666)
		}
	}
	if f.trees {
		write("trees/"+w.commit+".json", l.encode(), 0o600)
	}
	return repo
}

// offline looks a model up with the Hub stopped, in a client whose connections fail.
func (w *world) offline(name string) (Snapshot, error) {
	w.env["HF_HUB_OFFLINE"] = "1"
	defer delete(w.env, "HF_HUB_OFFLINE")
	return w.client().Pull(context.Background(), name)
}

// TestForeignCaches: caches of other clients are used as they are, by branch and
// by commit, without a request; what is not complete or cannot be checked is refused.
func TestForeignCaches(t *testing.T) {
	for _, c := range []struct {
		name string
		f    foreign
		ok   bool
	}{
		{"reference client", foreign{links: true, trees: true}, true},
		{"reference client before 1.22, JavaScript", foreign{links: true}, true},
		{"reference client without links", foreign{trees: true}, true},
		{"without links, nothing to check against", foreign{}, false},
		{"incomplete", foreign{links: true, trees: true, skip: "model.safetensors"}, false},
		{"incomplete, no list", foreign{links: true, skip: "tokenizer.json"}, false},
		{"a file that no detector needs is missing", foreign{links: true, trees: true, skip: "onnx/model.onnx"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := worldWith(t, 50_000)
			repo := w.foreign(c.f)
			before := tree(t, repo)
			for _, name := range []string{"acme/m", "acme/m@main", "acme/m@" + w.commit} {
				s, err := w.offline(name)
				if (err == nil) != c.ok {
					t.Fatalf("%s offline: %v", name, err)
				}
				if c.ok {
					w.same(s, w.files, detector...)
				} else if !errors.Is(err, ErrOffline) {
					t.Errorf("%s: %v, want ErrOffline", name, err)
				}
			}
			if n := len(w.hub.Log()); n != 0 {
				t.Errorf("%d requests", n)
			}
			if c.ok {
				if s := w.pull("acme/m@" + w.commit); s.Fetched != 0 || len(w.hub.Log()) != 0 {
					t.Errorf("online: %d bytes, %d requests for a complete commit", s.Fetched, len(w.hub.Log()))
				}
			}
			for n, v := range tree(t, repo) { // nothing changed but our own folder and reference
				if strings.HasPrefix(n, ".alknet-firewall") || strings.HasPrefix(n, filepath.Join("refs", "alknet-firewall")) {
					continue
				}
				if before[n] != v {
					t.Errorf("%s was %q, is %q", n, before[n], v)
				}
			}
			s := w.pull("acme/m")
			w.same(s, w.files, detector...)
			if got := w.count("cdn", "", ""); c.f.skip != "model.safetensors" && got != 0 {
				t.Errorf("%d transfers of a large file that was there", got)
			}
		})
	}
}

// TestLayout: the tree that a pull leaves is that of the reference client (SPEC
// as in docs/formats/hub-cache.md), for two commits that share files, nested
// folders and references with a slash.
func TestLayout(t *testing.T) {
	w := newWorld(t, hubtest.Options{})
	a, b := model(1, 5000), model(1, 5000)
	b["config.json"] = []byte("{}")
	conf := lfs
	conf.Refs = map[string]string{"main": "c1", "feature/x": "c2", "refs/pr/1": "c2"}
	c1 := w.putCommit("acme/m", "c1", conf, a)
	c2 := w.putCommit("acme/m", "c2", conf, b)
	w.opt.Files = []string{"*.json", "*.safetensors", "onnx/"}
	for _, rev := range []string{"main", "feature/x", "refs/pr/1"} {
		w.pull("acme/m@" + rev)
	}
	if w.count("hub", "", "feature%2Fx") == 0 || w.count("hub", "", "refs%2Fpr%2F1") == 0 {
		t.Error("a slash in a revision was not encoded")
	}
	want := map[string]string{
		".": "folder", ".locks": "folder", ".locks/models--acme--m": "folder", "models--acme--m": "folder",
	}
	in := func(name, what string) { want["models--acme--m/"+name] = what }
	for _, d := range []string{
		"blobs", "refs", "refs/feature", "refs/refs", "refs/refs/pr", "snapshots", "trees",
		"snapshots/" + c1, "snapshots/" + c2, "snapshots/" + c1 + "/onnx", "snapshots/" + c2 + "/onnx",
	} {
		in(d, "folder")
	}
	in("refs/main", sha2([]byte(c1)))
	in("refs/feature/x", sha2([]byte(c2)))
	in("refs/refs/pr/1", sha2([]byte(c2)))
	for commit, files := range map[string]map[string][]byte{c1: a, c2: b} {
		for n, content := range files {
			blob := gitHash(content)
			switch filepath.Ext(n) {
			case ".safetensors", ".onnx":
				blob = sha2(content)
			case ".bin", ".md":
				continue
			}
			in("blobs/"+blob, sha2(content))
			in("snapshots/"+commit+"/"+n, "-> "+strings.Repeat("../", 2+strings.Count(n, "/"))+"blobs/"+blob)
			want[".locks/models--acme--m/"+blob+".lock"] = sha2(nil)
		}
	}
	got := tree(t, w.cache)
	for n := range got {
		if n == "CACHEDIR.TAG" || strings.HasPrefix(n, "models--acme--m/.alknet-firewall") {
			delete(got, n)
		}
		if strings.HasPrefix(n, "models--acme--m/trees/") {
			text, _ := os.ReadFile(filepath.Join(w.cache, n))
			l, err := decodeListing(text)
			if err != nil || len(l) != len(a) {
				t.Errorf("%s: %d files, %v; want all %d", n, len(l), err, len(a))
			}
			delete(got, n)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("cache (-want +got):\n%s", d)
	}
}

// TestListFile holds the form of trees/<commit>.json: sorted keys, one space.
func TestListFile(t *testing.T) {
	l := listing{
		"b/<m>.safetensors": {BlobID: strings.Repeat("b", 40), Size: 3, LFSSHA256: strings.Repeat("c", 64), LFSSize: 3, XetHash: strings.Repeat("d", 64)},
		"a.json":            {BlobID: strings.Repeat("a", 40), Size: 2},
	}
	want := `{
 "files": {
  "a.json": {
   "blob_id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
   "size": 2
  },
  "b/<m>.safetensors": {
   "blob_id": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
   "lfs_sha256": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
   "lfs_size": 3,
   "size": 3,
   "xet_hash": "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
  }
 },
 "format_version": 1
}`
	if d := cmp.Diff(want, string(l.encode())); d != "" {
		t.Errorf("encode (-want +got):\n%s", d)
	}
	if back, err := decodeListing(l.encode()); err != nil || !cmp.Equal(l, back) {
		t.Errorf("decode: %v, %v", back, err)
	}
}

func TestEnvironment(t *testing.T) {
	home, other := t.TempDir(), t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env    map[string]string
		option string
		want   string
	}{
		{map[string]string{}, "", home + "/.cache/huggingface/hub"},
		{map[string]string{"HF_HOME": "", "HF_HUB_CACHE": "", "XDG_CACHE_HOME": ""}, "", home + "/.cache/huggingface/hub"},
		{map[string]string{"XDG_CACHE_HOME": other}, "", other + "/huggingface/hub"},
		{map[string]string{"HF_HOME": other, "XDG_CACHE_HOME": "/x"}, "", other + "/hub"},
		{map[string]string{"HUGGINGFACE_HUB_CACHE": other + "/old", "HF_HOME": "/x"}, "", other + "/old"},
		{map[string]string{"HF_HUB_CACHE": other + "/new", "HUGGINGFACE_HUB_CACHE": "/x"}, "", other + "/new"},
		{map[string]string{"HF_HUB_CACHE": "/x"}, other + "/option", other + "/option"},
		{map[string]string{"HF_HOME": "~/hf"}, "", home + "/hf/hub"},
		{map[string]string{"HF_HOME": "~"}, "", home + "/hub"},
		{map[string]string{"HF_HUB_CACHE": "$BASE/${SUB}/$NONE", "BASE": other, "SUB": "s"}, "", other + "/s/$NONE"},
		{map[string]string{"HF_HUB_CACHE": "relative/cache"}, "", here + "/relative/cache"},
	} {
		c.env["HOME"], c.env["USERPROFILE"] = home, home
		cl, err := newClient(Options{CacheDir: c.option}, func(n string) string { return c.env[n] })
		if err != nil {
			t.Errorf("%v: %v", c.env, err)
		} else if got := cl.Settings().CacheDir; got != filepath.FromSlash(c.want) {
			t.Errorf("%v and option %q: %q, want %q", c.env, c.option, got, c.want)
		}
	}
	if _, err := newClient(Options{}, func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "HF_HOME") {
		t.Errorf("no home: %v, want a hint at HF_HOME", err)
	}
	for env, want := range map[string]bool{"1": true, "on": true, "Yes": true, "TRUE": true, "0": false, "": false, "2": false, "y": false} {
		for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
			cl, err := newClient(Options{CacheDir: home}, func(n string) string { return map[string]string{name: env}[n] })
			if err != nil || cl.Settings().Offline != want {
				t.Errorf("%s=%q: offline %v, %v; want %v", name, env, err == nil && cl.offline, err, want)
			}
		}
	}
	for env, want := range map[string]string{"": "", "1": "off", "0": "on"} {
		cl, _ := newClient(Options{CacheDir: home}, func(n string) string { return map[string]string{"HF_HUB_DISABLE_PROGRESS_BARS": env}[n] })
		if got := cl.Settings().Bars; got != want {
			t.Errorf("HF_HUB_DISABLE_PROGRESS_BARS=%q: %q, want %q", env, got, want)
		}
	}
}

// TestPoisoned: whatever happened to a file in the cache, offline it is refused
// and online it is repaired.
func TestPoisoned(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, link, blob string){
		"truncated": func(t *testing.T, _, blob string) { os.Truncate(blob, 100) },
		"zeroed":    func(t *testing.T, _, blob string) { os.WriteFile(blob, make([]byte, 50_000), 0o666) },
		"one bit, time of modification kept": func(t *testing.T, _, blob string) {
			fi, _ := os.Stat(blob)
			b, _ := os.ReadFile(blob)
			b[777] ^= 4
			f, _ := os.OpenFile(blob, os.O_WRONLY, 0)
			f.Write(b)
			f.Close()
			os.Chtimes(blob, fi.ModTime(), fi.ModTime())
		},
		"blob is a link": func(t *testing.T, _, blob string) {
			other := filepath.Join(t.TempDir(), "other")
			os.Rename(blob, other)
			os.Symlink(other, blob)
		},
		"blob is a folder": func(t *testing.T, _, blob string) {
			os.Remove(blob)
			os.MkdirAll(filepath.Join(blob, "x"), 0o777)
		},
		"blob is a FIFO": func(t *testing.T, _, blob string) {
			os.Remove(blob)
			if out, err := exec.Command("mkfifo", blob).CombinedOutput(); err != nil {
				t.Skipf("mkfifo: %v %s", err, out)
			}
		},
		"link into nothing": func(t *testing.T, _, blob string) { os.Remove(blob) },
		"link out of the cache": func(t *testing.T, link, blob string) {
			other := filepath.Join(t.TempDir(), "other")
			b, _ := os.ReadFile(blob)
			os.WriteFile(other, b, 0o666)
			os.Remove(link)
			os.Symlink(other, link)
		},
		"link to another blob's path outside": func(t *testing.T, link, _ string) {
			os.Remove(link)
			os.Symlink("../../../../blobs/"+strings.Repeat("a", 64), link)
		},
		"link is a folder": func(t *testing.T, link, _ string) {
			os.Remove(link)
			os.MkdirAll(filepath.Join(link, "x"), 0o777)
		},
		"snapshot is a file": func(t *testing.T, link, _ string) {
			os.RemoveAll(filepath.Dir(link))
			os.WriteFile(filepath.Dir(link), []byte("x"), 0o666)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" || (strings.Contains(name, "kept") && runtime.GOOS != "linux" && runtime.GOOS != "darwin") {
				t.Skip("needs links, or a time of change")
			}
			w := worldWith(t, 50_000)
			s := w.pull("acme/m")
			spoil(t, filepath.Join(s.Dir, "model.safetensors"), w.blob("model.safetensors"))
			for _, n := range []string{"acme/m", "acme/m@" + w.commit} {
				if _, err := w.offline(n); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrOffline) {
					t.Errorf("offline: %v, want ErrCorrupt or ErrOffline", err)
				}
			}
			w.sound2(t)
		})
	}
}

// sound2 pulls online and checks the result.
func (w *world) sound2(t *testing.T) {
	t.Helper()
	s := w.pull("acme/m@" + w.commit)
	w.same(s, w.files, detector...)
	if s, err := w.offline("acme/m@" + w.commit); err != nil {
		t.Errorf("offline after repair: %v", err)
	} else {
		w.same(s, w.files, detector...)
	}
}

// TestPoisonedRecords: references, lists and our own record are never trusted,
// and never crash anything.
func TestPoisonedRecords(t *testing.T) {
	w := worldWith(t, 50_000)
	w.pull("acme/m")
	repo := filepath.Join(w.cache, "models--acme--m")
	replace := func(name string, b []byte) {
		os.RemoveAll(filepath.Join(repo, name))
		if b == nil {
			os.Mkdir(filepath.Join(repo, name), 0o777)
		} else if err := os.WriteFile(filepath.Join(repo, name), b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for name, ref := range map[string][]byte{
		"path": []byte("../../../../etc"), "39 digits": []byte(w.commit[1:]), "upper case": []byte(strings.ToUpper(w.commit[:39]) + "F"),
		"long": make([]byte, 1<<20), "folder": nil, "empty": {}, "missing commit": []byte(strings.Repeat("0", 40)), "two": []byte(w.commit + w.commit),
	} {
		replace("refs/main", ref)
		if _, err := w.offline("acme/m"); !errors.Is(err, ErrOffline) {
			t.Errorf("reference %s: offline %v, want ErrOffline", name, err)
		}
		w.same(w.pull("acme/m"), w.files, detector...)
	}
	good, err := os.ReadFile(filepath.Join(repo, "trees", w.commit+".json"))
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.ReplaceAll(string(good), sha2(w.files["model.safetensors"]), strings.Repeat("0", 64))
	for name, text := range map[string][]byte{
		"no JSON": []byte("{"), "other hashes": []byte(zeros), "version 2": []byte(strings.Replace(string(good), `"format_version": 1`, `"format_version": 2`, 1)),
		"folder": nil, "array": []byte("[]"), "hostile name": []byte(`{"files":{"../x":{"size":1,"blob_id":"` + w.commit + `"}},"format_version":1}`),
		"negative": []byte(`{"files":{"config.json":{"size":-1,"blob_id":"` + w.commit + `"}},"format_version":1}`),
	} {
		replace("trees/"+w.commit+".json", text)
		s, err := w.offline("acme/m")
		if err != nil {
			t.Errorf("list with %s: %v", name, err)
			continue
		}
		w.same(s, w.files, detector...)
	}
	for _, text := range []string{"{", `{"format_version":1,"files":{"../../x":{}}}`, `{"format_version":9,"files":{}}`, ""} {
		replace(".alknet-firewall/verified.json", []byte(text))
		if s, err := w.offline("acme/m"); err != nil {
			t.Errorf("record %q: %v", text, err)
		} else {
			w.same(s, w.files, detector...)
		}
	}
}

// TestVerify: a change that keeps everything that the record looks at is found
// by Verify, which reads all; a change without a change of content is hashed once.
func TestVerify(t *testing.T) {
	w := worldWith(t, 50_000)
	w.pull("acme/m")
	hashed := func() int {
		n := 0
		w.opt.Progress = func(p Progress) {
			if p.Phase == PhaseVerify {
				n++
			}
		}
		defer func() { w.opt.Progress = nil }()
		if _, err := w.offline("acme/m"); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := hashed(); n != 0 {
		t.Errorf("%d files hashed after a pull, want none", n)
	}
	blob := w.blob("model.safetensors")
	if err := os.Chmod(blob, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(blob, 0o600); err != nil {
		t.Fatal(err)
	}
	if a, b := hashed(), hashed(); (a == 0 && runtime.GOOS == "linux") || b != 0 {
		t.Errorf("after a change of mode %d and then %d files hashed, want one and none", a, b)
	}
	// Forge the record: only reading tells.
	b := slices.Clone(w.files["model.safetensors"])
	b[9]++
	os.WriteFile(blob, b, 0o666)
	fi, _ := os.Lstat(blob)
	r, err := w.client().openRepo("acme/m", false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	s := stampOf(fi)
	s.SHA256 = sha2(w.files["model.safetensors"])
	r.addStamps(context.Background(), map[string]stamp{"blobs/" + s.SHA256: s})
	if _, err := w.client().Find(context.Background(), "acme/m"); err != nil {
		t.Errorf("Find: %v; the record says it is fine", err)
	}
	var m *MismatchError
	if _, err := w.client().Verify(context.Background(), "acme/m"); !errors.As(err, &m) || m.Got != sha2(b) || m.Want != s.SHA256 {
		t.Errorf("Verify: %v, want both hashes", err)
	}
	w.sound2(t)
}

// TestNoSymlinks: regular files where there are no links; a second commit copies
// what it shares; nothing is fetched twice.
func TestNoSymlinks(t *testing.T) {
	for _, how := range []string{"option", "environment", "vfat"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t, hubtest.Options{})
			switch how {
			case "option":
				w.opt.NoSymlinks = true
			case "environment":
				w.env["HF_HUB_DISABLE_SYMLINKS"] = "1"
			case "vfat":
				undo := w.vfat()
				if undo == nil {
					t.Skip("no vfat here")
				}
				defer undo()
			}
			w.files = model(1, 50_000)
			second := model(1, 50_000)
			second["config.json"] = []byte(`{"second":true}`)
			conf := lfs
			conf.Refs = map[string]string{"main": "c1", "next": "c2"}
			w.commit = w.putCommit("acme/m", "c1", conf, w.files)
			w.putCommit("acme/m", "c2", conf, second)
			w.same(w.pull("acme/m"), w.files, detector...)
			w.same(w.pull("acme/m@next"), second, detector...)
			if n := w.count("cdn", "", ""); n != 1 {
				t.Errorf("%d transfers of a file that two commits share", n)
			}
			blobs, _ := os.ReadDir(filepath.Join(w.cache, "models--acme--m", "blobs"))
			if len(blobs) != 0 {
				t.Errorf("%d blobs beside regular files", len(blobs))
			}
			for n, v := range tree(t, w.cache) {
				if strings.HasPrefix(v, "->") {
					t.Errorf("%s is a link", n)
				}
			}
			if s, err := w.offline("acme/m"); err != nil {
				t.Errorf("offline: %v", err)
			} else {
				w.same(s, w.files, detector...)
			}
		})
	}
}

// TestCopied: the cache carried to another machine, with and without links.
func TestCopied(t *testing.T) {
	for _, how := range []string{"cp -a", "cp -rL"} {
		t.Run(how, func(t *testing.T) {
			w := worldWith(t, 50_000)
			w.pull("acme/m")
			to := filepath.Join(t.TempDir(), "copy")
			if out, err := exec.Command("sh", "-c", how+` "$0" "$1"`, w.cache, to).CombinedOutput(); err != nil {
				t.Skipf("%s: %v %s", how, err, out)
			}
			w.hub.Close()
			w.env["HF_HUB_CACHE"] = to
			for _, n := range []string{"acme/m", "acme/m@" + w.commit} {
				s, err := w.offline(n)
				if err != nil {
					t.Fatal(err)
				}
				w.same(s, w.files, detector...)
			}
		})
	}
}

// TestModes: files get what the umask leaves, locks and lists included.
func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	for umask, want := range map[string]os.FileMode{"077": 0o600, "022": 0o644, "002": 0o664} {
		w := worldWith(t, 5000)
		cmd := w.child("acme/m")
		cmd.Args = []string{"sh", "-c", "umask " + umask + `; exec "$0"`, cmd.Path}
		cmd.Path = "/bin/sh"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		filepath.WalkDir(w.cache, func(p string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			fi, err := d.Info()
			if err == nil && fi.Mode().Perm() != want {
				t.Errorf("umask %s: %s has mode %o, want %o", umask, p, fi.Mode().Perm(), want)
			}
			return err
		})
	}
}

// TestPartials: what lies in the place of our partial file is continued only if
// it can be ours, and a link's target is never touched.
func TestPartials(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	for name, c := range map[string]struct {
		put     func(p string, good []byte)
		resumes bool
	}{
		"good":          {func(p string, good []byte) { os.WriteFile(p, good[:30_000], 0o666) }, true},
		"complete":      {func(p string, good []byte) { os.WriteFile(p, good, 0o666) }, true},
		"flipped byte":  {func(p string, good []byte) { b := slices.Clone(good[:30_000]); b[5]++; os.WriteFile(p, b, 0o666) }, false},
		"too long":      {func(p string, good []byte) { os.WriteFile(p, append(slices.Clone(good), 1), 0o666) }, false},
		"complete, bad": {func(p string, good []byte) { os.WriteFile(p, make([]byte, len(good)), 0o666) }, false},
		"link":          {func(p string, _ []byte) { os.Symlink(victim, p) }, false},
		"hard link":     {func(p string, _ []byte) { os.Link(victim, p) }, false},
		"folder":        {func(p string, _ []byte) { os.MkdirAll(filepath.Join(p, "x"), 0o777) }, false},
		"foreign owner": {func(p string, good []byte) {
			os.WriteFile(p, good[:30_000], 0o666)
			if os.Chown(p, 12345, 12345) != nil {
				os.Remove(p) // not root: nothing to see
			}
		}, false},
	} {
		os.WriteFile(victim, []byte("untouched"), 0o666)
		w := worldWith(t, 50_000)
		blobs := filepath.Join(w.cache, "models--acme--m", "blobs")
		os.MkdirAll(blobs, 0o777)
		good := w.files["model.safetensors"]
		c.put(filepath.Join(blobs, sha2(good)+partialExt), good)
		s := w.pull("acme/m")
		w.same(s, w.files, detector...)
		var sent int64
		for _, r := range w.hub.Log() {
			if r.Srv == "cdn" {
				sent += r.Bytes
			}
		}
		if (sent < int64(len(good))) != c.resumes {
			t.Errorf("%s: %d of %d bytes sent", name, sent, len(good))
		}
		if b, _ := os.ReadFile(victim); string(b) != "untouched" {
			t.Errorf("%s: the target was changed", name)
		}
		if n := w.partials(); n != 0 {
			t.Errorf("%s: %d partial files left", name, n)
		}
	}
}

// TestDisk: room is looked for beforehand; a disk that fills up all the same
// keeps what is there, and the download goes on when there is room.
func TestDisk(t *testing.T) {
	w := worldWith(t, 3<<20)
	undo := w.smallDisk(2 << 20)
	if undo == nil {
		t.Skip("needs to mount a file system")
	}
	_, err := w.client().Pull(context.Background(), "acme/m")
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "needed") || !strings.Contains(err.Error(), "free") || w.count("cdn", "", "") != 0 {
		t.Errorf("%v after %d transfers, want ErrNoSpace with both numbers, and none", err, w.count("cdn", "", ""))
	}
	c := w.client()
	c.noRoom = true
	if _, err = c.Pull(context.Background(), "acme/m"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("mid-way: %v, want ErrNoSpace", err)
	}
	had := w.partialSize()
	if err := remount(w.cache, 32<<20); err != nil {
		t.Fatal(err)
	}
	w.hub.Reset()
	w.same(w.pull("acme/m"), w.files, detector...)
	for _, r := range w.hub.Log() {
		if r.Srv == "cdn" && r.Range != fmt.Sprintf("bytes=%d-", had) {
			t.Errorf("range %q, want from %d", r.Range, had)
		}
	}
	undo()
	undo = w.mount("tmpfs", "size=32m,nr_inodes=12")
	defer undo()
	if _, err := w.client().Pull(context.Background(), "acme/m"); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "files") {
		t.Errorf("no inodes: %v, want ErrNoSpace", err)
	}
}

// TestRemove: blobs that another revision uses stay; nothing else does.
func TestRemove(t *testing.T) {
	w := newWorld(t, hubtest.Options{})
	a, b := model(1, 50_000), model(1, 50_000)
	b["config.json"] = []byte("{}")
	conf := lfs
	conf.Refs = map[string]string{"main": "c1", "next": "c2"}
	c1 := w.putCommit("acme/m", "c1", conf, a)
	w.putCommit("acme/m", "c2", conf, b)
	ctx := context.Background()
	c := w.client()
	if _, err := c.Remove(ctx, "acme/m"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("not there: %v", err)
	}
	s1, s2 := w.pull("acme/m"), w.pull("acme/m@next")
	list, err := c.Cached(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d revisions, %v", len(list), err)
	}
	for _, x := range list {
		if x.Repo != "acme/m" || len(x.Refs) != 1 || len(x.Missing) != 0 || x.Bytes != s1.Bytes && x.Bytes != s2.Bytes {
			t.Errorf("%+v", x)
		}
	}
	freed, err := c.Remove(ctx, "acme/m@"+c1)
	if err != nil || freed < int64(len(a["config.json"])) || freed > 20_000 {
		t.Errorf("%d bytes freed, %v", freed, err)
	}
	if s, err := w.offline("acme/m@next"); err != nil {
		t.Errorf("the other revision: %v", err)
	} else {
		w.same(s, b, detector...)
	}
	if _, err := w.offline("acme/m@" + c1); !errors.Is(err, ErrOffline) {
		t.Errorf("removed: %v", err)
	}
	if freed, err = c.Remove(ctx, "acme/m@next"); err != nil || freed < 50_000 {
		t.Errorf("%d bytes freed, %v", freed, err)
	}
	if _, err := os.Stat(filepath.Join(w.cache, "models--acme--m")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if list, err := c.Cached(ctx); err != nil || len(list) != 0 {
		t.Errorf("%v, %v; want nothing", list, err)
	}
}
