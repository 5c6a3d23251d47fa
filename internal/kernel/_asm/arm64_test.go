package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestWords assembles the mnemonic beside each WORD with the GNU assembler (Debian:
// binutils-aarch64-linux-gnu) and compares.
func TestWords(t *testing.T) {
	for _, tool := range []string{"aarch64-linux-gnu-as", "aarch64-linux-gnu-objcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s: install binutils for aarch64", tool)
		}
	}
	word := regexp.MustCompile(`WORD \$0x([0-9a-f]{8}) // (.*)\n`)
	for file, body := range armFiles {
		var text bytes.Buffer
		if err := armFile(&text, file, body); err != nil {
			t.Fatal(err)
		}
		words := word.FindAllStringSubmatch(text.String(), -1)
		if len(words) == 0 {
			t.Fatalf("%s has no WORD", file)
		}
		var source bytes.Buffer
		for _, w := range words {
			fmt.Fprintln(&source, w[2])
		}
		dir := t.TempDir()
		object, binaryFile := filepath.Join(dir, "o"), filepath.Join(dir, "b")
		as := exec.Command("aarch64-linux-gnu-as", "-march=armv8.2-a+dotprod", "-o", object)
		as.Stdin = &source
		if out, err := as.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", file, err, out)
		}
		if out, err := exec.Command("aarch64-linux-gnu-objcopy", "-O", "binary", "-j", ".text", object, binaryFile).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", file, err, out)
		}
		code, err := os.ReadFile(binaryFile)
		if err != nil {
			t.Fatal(err)
		}
		if len(code) != 4*len(words) {
			t.Fatalf("%s: %d bytes for %d words", file, len(code), len(words))
		}
		for i, w := range words {
			if want := fmt.Sprintf("%08x", binary.LittleEndian.Uint32(code[4*i:])); w[1] != want {
				t.Errorf("%s: WORD of %q is %s, want %s", file, w[2], w[1], want)
			}
		}
	}
}
