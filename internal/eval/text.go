package eval

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// A table of the report: the same cells for the terminal and the page.
type table struct {
	Title string
	Note  string
	Head  []string
	Rows  [][]string
}

// show prints a share or an AUC; what is not a number is a dash.
func show(n Number) string {
	if math.IsNaN(float64(n)) {
		return "–"
	}
	return strconv.FormatFloat(float64(n), 'f', 3, 64)
}

// showSmall prints a rate with enough digits for small ones.
func showSmall(n Number) string {
	if math.IsNaN(float64(n)) {
		return "–"
	}
	return strconv.FormatFloat(float64(n), 'f', 4, 64)
}

func showScore(n Number) string {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return "–"
	}
	return strconv.FormatFloat(float64(n), 'f', 2, 64)
}

func percent(n Number) string { return strconv.FormatFloat(float64(n)*100, 'g', 4, 64) + " %" }

func interval(low, high Number, show func(Number) string) string {
	if math.IsNaN(float64(low)) {
		return ""
	}
	return " [" + show(low) + "–" + show(high) + "]"
}

func (e Estimate) String() string { return show(e.Value) + interval(e.Low, e.High, show) }

// String returns the share with its interval, or a dash when there are no rows.
func (r Rate) String() string {
	if r.N == 0 {
		return "–"
	}
	return showSmall(r.Value) + interval(r.Low, r.High, showSmall)
}

func (r Report) summary() []string {
	c := r.Rows
	lines := []string{
		fmt.Sprintf("Main figures: %d attacks, %d benign rows. Reported apart: %d attacks, %d benign.", c.Attack, c.Benign, c.ApartAttack, c.ApartBenign),
		"One threshold a detector and false-alarm rate, from the pooled benign rows. A text alarms when it scores above it.",
	}
	if c.Disguised > 0 {
		lines = append(lines, fmt.Sprintf("Beside them: %d attacks again, in disguise.", c.Disguised))
	}
	if c.Unlabelled > 0 {
		lines = append(lines, fmt.Sprintf("Left out: %d rows without a label.", c.Unlabelled))
	}
	if c.Unscored > 0 {
		lines = append(lines, fmt.Sprintf("Left out: %d rows that some detector could not score. An unscored row is not a clear one.", c.Unscored))
	}
	if r.Command != "" {
		lines = append(lines, "Made by: "+clean(r.Command))
	}
	return lines
}

// tables returns what the report says in numbers, in reading order.
func (r Report) tables() []table {
	pooled := table{
		Title: "Pooled",
		Note:  "95 % intervals. Bootstrap: rows drawn within each source, the threshold drawn with them; Clopper–Pearson: the threshold as given.",
		Head:  []string{"detector", "AUC (bootstrap)", "asked FPR", "threshold", "FPR", "TPR (Clopper–Pearson)", "TPR (bootstrap)"},
	}
	for s, name := range r.Scorers {
		f := r.Pooled.Figures[s]
		a := f.AUC.String()
		for k, rate := range r.Rates {
			pooled.Rows = append(pooled.Rows, []string{
				name, a, percent(rate), showScore(r.Thresholds[s][k]),
				fmt.Sprintf("%s (%d)", showSmall(f.FPR[k].Value), f.FPR[k].K), f.TPR[k].String(), r.PooledTPR[s][k].String(),
			})
			name, a = "", ""
		}
	}
	const against = "AUC: the group's attacks against all benign rows; own: against the group's own benign rows. TPR and FPR at the global thresholds."
	tables := []table{
		pooled,
		r.groups("Attack sources", against, r.AttackSources),
		r.groups("Benign sources", "Share of benign rows above the global thresholds.", r.BenignSources),
		r.groups("Hard negatives", "Benign rows with the words of attacks.", []Group{r.HardNegatives}),
		r.groups("Kinds", against, r.Kinds),
		r.groups("Languages", against, r.Languages),
		r.groups("Lengths", against, r.Lengths),
		r.groups("Channels", against, r.Channels),
	}
	if len(r.Disguises) > 0 {
		tables = append(tables, r.groups("Disguises", "Attacks again, each in one disguise, against all benign rows as they are. They count in no other table.", r.Disguises))
	}
	tables = append(tables, r.groups("Apart: not in the main figures", against, r.Apart))

	calibration := table{
		Title: "Calibration: asked against measured false-alarm rate of " + r.Scorers[0],
		Note:  "Share of benign rows whose p-value is at most the asked rate, with its 95 % Clopper–Pearson interval. It passes when the asked rate is in the interval or above it.",
		Head:  []string{"group", "asked", "measured", "alarms", "n", ""},
	}
	last := ""
	for _, c := range r.Calibration {
		name := c.Group
		if name == last {
			name = ""
		}
		last = c.Group
		verdict := "pass"
		if !c.Pass {
			verdict = "FAIL"
		}
		calibration.Rows = append(calibration.Rows, []string{name, percent(c.Asked), c.Measured.String(), strconv.Itoa(c.Measured.K), strconv.Itoa(c.Measured.N), verdict})
	}
	worst := func(title string, rows []Worst) table {
		t := table{
			Title: title, Note: "By id; texts are not part of a report.",
			Head: []string{"id", "source", "kind", "language", "channel", "tokens", "score", "p-value"},
		}
		for _, w := range rows {
			p := "–"
			if !math.IsNaN(float64(w.PValue)) {
				p = strconv.FormatFloat(float64(w.PValue), 'g', 3, 64)
			}
			t.Rows = append(t.Rows, []string{w.ID, w.Source, w.Kind, w.Lang, w.Channel, strconv.Itoa(w.Tokens), showScore(w.Score), p})
		}
		return t
	}
	return append(
		tables, calibration,
		worst("Worst errors: benign rows that score highest", r.WorstBenign),
		worst("Worst errors: attacks that score lowest", r.WorstAttack),
	)
}

// groups tables groups, one line a scorer, without the columns that no group fills.
func (r Report) groups(title, note string, groups []Group) table {
	attacks, benign, both := false, false, false
	for _, g := range groups {
		attacks = attacks || g.Attack > 0
		benign = benign || g.Benign > 0
		both = both || (g.Attack > 0 && g.Benign > 0)
	}
	t := table{Title: title, Note: note, Head: []string{"group"}}
	add := func(want bool, heads ...string) {
		if want {
			t.Head = append(t.Head, heads...)
		}
	}
	add(attacks, "attacks")
	add(benign, "benign")
	add(true, "detector")
	add(attacks, "AUC")
	add(both, "own")
	for _, rate := range r.Rates {
		add(attacks, "TPR@"+percent(rate))
	}
	for _, rate := range r.Rates {
		add(benign, "FPR@"+percent(rate))
	}
	for _, g := range groups {
		for s, name := range r.Scorers {
			f := g.Figures[s]
			var row []string
			cell := func(want bool, c string) {
				if want {
					row = append(row, c)
				}
			}
			first := func(c string) string {
				if s > 0 {
					return ""
				}
				return c
			}
			cell(true, first(g.Name))
			cell(attacks, first(strconv.Itoa(g.Attack)))
			cell(benign, first(strconv.Itoa(g.Benign)))
			cell(true, name)
			cell(attacks, f.AUC.String())
			cell(both, show(f.Within))
			for _, x := range f.TPR {
				cell(attacks, x.String())
			}
			for _, x := range f.FPR {
				cell(benign, x.String())
			}
			t.Rows = append(t.Rows, row)
		}
	}
	return t
}

// WriteText writes the report for a terminal. The intervals of rates in groups
// are left to [Report.WriteHTML] and the data: a line would not fit a screen.
func (r Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%s\n\n", r.Title, strings.Repeat("=", utf8.RuneCountInString(r.Title)))
	for _, line := range r.summary() {
		fmt.Fprintln(&b, line)
	}
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "\n%s\n%s\n", t.Title, t.Note)
		if len(t.Rows) == 0 {
			fmt.Fprintln(&b, "  no rows")
			continue
		}
		tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
		for _, row := range append([][]string{t.Head}, t.Rows...) {
			fmt.Fprint(tw, "  ")
			for i, cell := range row {
				if strings.ContainsRune(t.Head[i], '@') {
					cell, _, _ = strings.Cut(cell, " [")
				}
				cell = cmp.Or(cell, " ")
				if i < len(row)-1 {
					cell += "\t"
				}
				fmt.Fprint(tw, cell)
			}
			fmt.Fprintln(tw)
		}
		tw.Flush()
	}
	// The padding of a table's last column is not worth a byte.
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
