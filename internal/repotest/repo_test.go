package repotest

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/alkimiadev/alknet-firewall"

// mayImport is the import table of docs/architecture/overview.md: package to
// the packages of ours that it may import directly. A package that is missing
// here fails the test.
var mayImport = map[string][]string{
	"internal/kernel":      {},
	"internal/safetensors": {},
	"internal/tokenizer":   {},
	"internal/text":        {},
	"internal/lm":          {"internal/kernel", "internal/safetensors"},
	"internal/reading":     {"codebook", "internal/kernel", "internal/lm", "internal/safetensors", "internal/text", "internal/tokenizer"},
	"codebook":             {"internal/safetensors"},
	"detector":             {},
	"calibration":          {},
	"hub":                  {},
	"hub/hubtest":          {},
	"":                     {"codebook", "detector", "internal/lm", "internal/reading", "internal/safetensors", "internal/text", "internal/tokenizer"},
	"internal/corpus":      {},
	"internal/calibrate":   {"", "codebook", "internal/corpus", "internal/lm", "internal/reading", "internal/safetensors", "internal/text", "internal/tokenizer"},
	"internal/eval":        {"", "internal/corpus"},
	"internal/repotest":    {},
	"cmd/alknet-firewall": {
		"", "calibration", "codebook", "detector", "hub", "internal/calibrate", "internal/corpus", "internal/eval",
		"internal/kernel", "internal/lm", "internal/reading", "internal/safetensors", "internal/tokenizer",
	},
}

// mustNotReach lists what a package must not depend on even indirectly: it
// would break a promise.
var mustNotReach = []struct{ pkg, dep, why string }{
	{"", "net/http", "screening is offline: who imports the library cannot dial out (ADR-0003)"},
	{"", "gonum.org/v1/gonum/optimize", "the library carries no optimiser"},
	{"codebook", module + "/internal/lm", "a codebook can be read, merged and audited without an engine (ADR-0004)"},
	{"internal/lm", "net/http", "the engine takes ids and weights"},
	{"internal/calibrate", "net/http", "calibration is offline"},
}

// unsafeAllowed are the only packages that may import unsafe.
var unsafeAllowed = []string{"internal/kernel", "internal/safetensors"}

type pkg struct {
	ImportPath, Doc, Dir      string
	Imports, Deps             []string
	GoFiles, CgoFiles, SFiles []string
}

// list returns the module's packages by their path below the module.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	// Read every source file, so that the go command's test cache knows that
	// this result depends on them.
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Doc,Dir,GoFiles,CgoFiles,SFiles", module+"/...")
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	pkgs := map[string]pkg{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = p
	}
}

func TestImports(t *testing.T) {
	pkgs := list(t)
	for name, p := range pkgs {
		allowed, listed := mayImport[name]
		if !listed {
			t.Errorf("%s stands in no table: add it to mayImport and to docs/architecture/overview.md", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if rest, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(allowed, strings.TrimPrefix(rest, "/")) {
				t.Errorf("%s must not import %s", p.ImportPath, imp)
			}
			if imp == "unsafe" && !slices.Contains(unsafeAllowed, name) {
				t.Errorf("%s must not import unsafe", p.ImportPath)
			}
		}
		if len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "C") {
			t.Errorf("%s uses cgo", p.ImportPath)
		}
	}
	for _, m := range mustNotReach {
		if p, ok := pkgs[m.pkg]; ok && slices.Contains(p.Deps, m.dep) {
			t.Errorf("%s reaches %s: %s", p.ImportPath, m.dep, m.why)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for name, p := range list(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if strings.HasPrefix(name, "internal/") && p.Doc != "" && !strings.HasPrefix(p.Doc, "Package ") {
			t.Errorf("%s: the package comment begins with %.20q, want \"Package …\"", p.ImportPath, p.Doc)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)

// TestLinks follows every relative link of the Markdown files.
func TestLinks(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "work" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			to := string(m[1])
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), to)); err != nil {
				t.Errorf("%s links to %s, which is not there", path, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNoMachinePaths keeps paths of the machines we work on out of the tree.
func TestNoMachinePaths(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "grep", "-nE", `(^|[^a-zA-Z./])/(work|root|home)/[a-z]`, "--", "*.go", "*.md", "*.py", "*.sh", "*.yaml").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return // nothing found
	}
	if err != nil {
		t.Skipf("git grep: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "internal/repotest/") {
			t.Errorf("a path of somebody's machine: %s", strings.TrimSpace(line))
		}
	}
}
