package eval

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Picture is one drawing of a report.
type Picture struct {
	Name  string // fit for a file name
	Title string
	SVG   string // well-formed XML, of numbers and escaped names only
}

// Pictures returns the drawings of the report that have something to show.
func (r Report) Pictures() []Picture {
	all := []Picture{
		{"roc", "ROC", r.drawROC(false)},
		{"roc-small", "ROC, small false-alarm rates", r.drawROC(true)},
		{"calibration", "Calibration: asked and measured false-alarm rate", r.drawCalibration()},
	}
	for s, name := range r.Scorers {
		all = append(all, Picture{fmt.Sprintf("scores-%d", s), "Scores of " + name, r.drawHistogram(s)})
	}
	all = append(
		all,
		Picture{"sources", "AUC by attack source", r.drawAUC(r.AttackSources, 1056)},
		Picture{"languages", "AUC by language", r.drawAUC(r.Languages, 520)},
		Picture{"lengths", "AUC by length", r.drawAUC(r.Lengths, 520)},
		Picture{"disguises", "AUC by disguise", r.drawAUC(r.Disguises, 520)},
	)
	return slices.DeleteFunc(all, func(p Picture) bool { return p.SVG == "" })
}

// WriteMarkdown writes the report as Markdown that shows its [Report.Pictures]
// as files prefix + name + ".svg"; the caller writes those.
func (r Report) WriteMarkdown(w io.Writer, prefix string) error {
	var b bytes.Buffer
	escape := strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`)
	fmt.Fprintf(&b, "# %s\n\n", escape.Replace(r.Title))
	for _, line := range r.summary() {
		fmt.Fprintf(&b, "%s\n\n", escape.Replace(line))
	}
	for _, p := range r.Pictures() {
		fmt.Fprintf(&b, "![%s](%s%s.svg)\n", escape.Replace(p.Title), prefix, p.Name)
	}
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", escape.Replace(t.Title), escape.Replace(t.Note))
		if len(t.Rows) == 0 {
			fmt.Fprintln(&b, "no rows")
			continue
		}
		line := func(cells []string) {
			for i, c := range cells {
				if strings.ContainsRune(t.Head[i], '@') {
					c, _, _ = strings.Cut(c, " [") // as for a terminal
				}
				fmt.Fprintf(&b, "| %s ", escape.Replace(c))
			}
			fmt.Fprintln(&b, "|")
		}
		line(t.Head)
		fmt.Fprintln(&b, strings.Repeat("|---", len(t.Head))+"|")
		for _, cells := range t.Rows {
			line(cells)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}
