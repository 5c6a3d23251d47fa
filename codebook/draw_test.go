package codebook

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestDraw draws a codebook whose names are hostile to a terminal and a page.
// CODEBOOK_DRAW=DIR keeps the drawings, to look at.
func TestDraw(t *testing.T) {
	_, c := fitted()
	d := c.Describe()
	d.Spec.Model = "a\x1b[31m<script>alert(1)</script>\u202e"
	d.Origin.Sources[0].Source = "<b>&"
	var text, page bytes.Buffer
	if err := d.Text(&text); err != nil {
		t.Fatal(err)
	}
	if err := d.HTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\x1b", "\u202e"} {
		if strings.Contains(text.String(), bad) || strings.Contains(page.String(), bad) {
			t.Errorf("drawing contains %q", bad)
		}
	}
	if strings.Contains(page.String(), "<script") || strings.Contains(page.String(), "<b>&") {
		t.Error("the page contains markup of a name")
	}
	for _, want := range []string{"override", "jailbreak", "extraction", "novelty", "user, 32–127 tokens", "coordinate 0", "NaN"} {
		if want == "NaN" {
			if strings.Contains(text.String(), want) || strings.Contains(page.String(), want) {
				t.Error("a drawing contains NaN")
			}
			continue
		}
		if !strings.Contains(text.String(), want) || !strings.Contains(page.String(), want) {
			t.Errorf("a drawing lacks %q", want)
		}
	}
	if dir := os.Getenv("CODEBOOK_DRAW"); dir != "" {
		if err := errors.Join(os.WriteFile(dir+"/codebook.html", page.Bytes(), 0o644), os.WriteFile(dir+"/codebook.txt", text.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if want := 3*5 + 1 + 5; strings.Count(page.String(), "<svg ") != want || strings.Count(page.String(), "</svg>") != want {
		t.Errorf("%d plots, want %d", strings.Count(page.String(), "<svg "), want)
	}
}
