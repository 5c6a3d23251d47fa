package codebook

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
)

// drawnRates are the false-alarm rates whose thresholds are listed.
var drawnRates = []float64{0.1, 0.05, 0.01, 0.001}

// threshold returns the lowest log-odds at which a cell's rate is at most r.
func (c Cell) threshold(r float64) (float64, bool) {
	if r < 1/float64(c.N+1) {
		return 0, false
	}
	for i, rate := range c.Rates {
		if rate <= r {
			return c.Scores[i], true
		}
	}
	return c.Scores[len(c.Scores)-1], true // just above the highest clean score
}

func (c Cell) name() string {
	channel := c.Channel
	if channel == "" {
		channel = "all channels"
	}
	if c.Stratum == anyStratum {
		return channel + ", any length"
	}
	return channel + ", " + StratumName(c.Stratum) + " tokens"
}

// of returns the cells of one score.
func (d *Description) of(score string) (cells []Cell) {
	for _, c := range d.Cells {
		if c.Score == score {
			cells = append(cells, c)
		}
	}
	return cells
}

// heading returns the facts of the first lines, by name.
func (d *Description) heading() [][2]string {
	s := d.Spec
	var sites []string
	for _, site := range s.Sites {
		sites = append(sites, site.String())
	}
	var documents, sampled int64
	for _, c := range d.Origin.Sources {
		documents += c.Documents
		sampled += c.Sampled
	}
	rows := [][2]string{
		{"model", fmt.Sprintf("%s @ %s, %s", s.Model, s.Revision, s.DType)},
		{"model digest", s.ModelDigest},
		{"tokenizer digest", s.TokenizerDigest},
		{"sites", fmt.Sprintf("%s, %d floats each", strings.Join(sites, " "), s.Dim)},
		{"spans", fmt.Sprintf("%d tokens every %d, in windows of %d every %d", s.Span, s.Step, s.Window, s.Stride)},
		{"corpus", fmt.Sprintf("%d documents, %d sampled, %d sources and labels", documents, sampled, len(d.Origin.Sources))},
		{"corpus digest", d.Origin.Corpus},
	}
	if len(d.Origin.Omitted) > 0 {
		rows = append(rows, [2]string{"left out", strings.Join(d.Origin.Omitted, ", ") + ": too few attack documents"})
	}
	rows = append(rows, [2]string{"made", strings.TrimSpace(d.Origin.Date + "  " + d.Origin.Command)})
	for _, u := range d.Origin.Updates {
		rows = append(rows, [2]string{"recalibrated", fmt.Sprintf("%s  %s: %d documents  %s", u.Date, strings.Join(u.Channels, ", "), u.Documents, u.Command)})
	}
	for i := range rows { // of a file from somebody else: no control characters on a terminal
		rows[i][1] = strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				return '·'
			}
			return r
		}, rows[i][1])
	}
	return rows
}

// Text draws the description for a terminal of about 80 columns.
func (d Description) Text(w io.Writer) error {
	var b strings.Builder
	for _, row := range d.heading() {
		fmt.Fprintf(&b, "%-17s %s\n", row[0], row[1])
	}
	for _, s := range d.Signals {
		fmt.Fprintf(&b, "\n%s  (%d attack sources)\n", s.Name, s.Sources)
		fmt.Fprintf(&b, "  log-odds = %.2f + %.2f·evidence - %.2f·ln(spans)\n", s.Bias, s.Slope, s.Length)
		fmt.Fprintf(&b, "  singular values  %s  %s\n", spark(s.Spectrum, 40), list(s.Spectrum, 6))
		for k, c := range s.Curves {
			fmt.Fprintf(&b, "  coordinate %d, weight %.2f, from %.1f to %.1f\n", k, s.Weights[k], c.X[0], c.X[len(c.X)-1])
			fmt.Fprintf(&b, "    clean   %s\n    attack  %s\n    ratio   %s\n", spark(c.Benign, 60), spark(c.Attack, 60), signs(c.LLR, 60))
		}
	}
	for _, e := range d.Extras {
		n := len(e.Curve.X) - 1
		fmt.Fprintf(&b, "\n%s  (read from the text)\n  log-odds from %.2f at %.3g to %.2f at %.3g\n", e.Name, e.Curve.Y[0], e.Curve.X[0], e.Curve.Y[n], e.Curve.X[n])
	}
	fmt.Fprintf(&b, "\n%s  (energy outside the coordinates; never blocks)\n    clean   %s\n", Novelty, spark(d.Novelty.Benign, 60))

	fmt.Fprintf(&b, "\nthresholds in composite log-odds, by false-alarm rate (– = too few documents to promise)\n")
	fmt.Fprintf(&b, "  %-36s %7s", "cell", "n")
	for _, r := range drawnRates {
		fmt.Fprintf(&b, " %8s", percent(r))
	}
	b.WriteByte('\n')
	for _, c := range d.of(Composite) {
		fmt.Fprintf(&b, "  %-36s %7d", c.name(), c.N)
		for _, r := range drawnRates {
			if v, ok := c.threshold(r); ok {
				fmt.Fprintf(&b, " %8.2f", v)
			} else {
				fmt.Fprintf(&b, " %8s", "–")
			}
		}
		b.WriteByte('\n')
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("codebook: draw: %w", err)
	}
	return nil
}

func percent(r float64) string { return fmt.Sprintf("%g %%", r*100) }

func list(v []float64, n int) string {
	var s []string
	for _, x := range v[:min(n, len(v))] {
		s = append(s, fmt.Sprintf("%.1f", x))
	}
	if len(v) > n {
		s = append(s, "…")
	}
	return strings.Join(s, " ")
}

// spark draws non-negative values as blocks, in at most n columns.
func spark(v []float64, n int) string {
	const blocks = " ▁▂▃▄▅▆▇█"
	levels := []rune(blocks)
	v = columns(v, n)
	top := slices.Max(append(v, 0))
	var b strings.Builder
	for _, x := range v {
		i := 0
		if top > 0 {
			i = int(math.Ceil(x / top * float64(len(levels)-1) * (1 - 1e-9)))
			if x < top/200 {
				i = 0
			}
		}
		b.WriteRune(levels[max(0, min(i, len(levels)-1))])
	}
	return b.String()
}

// signs draws ratios: blocks where they speak for an attack, dots where against.
func signs(v []float64, n int) string {
	levels := []rune("▂▄▆█")
	var b strings.Builder
	for _, x := range columns(v, n) {
		switch {
		case x >= 0.25:
			b.WriteRune(levels[min(3, int(x/maxRatio*4))])
		case x <= -0.25:
			b.WriteRune('·')
		default:
			b.WriteRune(' ')
		}
	}
	return b.String()
}

// columns averages v into at most n columns.
func columns(v []float64, n int) []float64 {
	if len(v) <= n {
		return slices.Clone(v)
	}
	out := make([]float64, n)
	for i := range out {
		lo, hi := i*len(v)/n, (i+1)*len(v)/n
		for _, x := range v[lo:hi] {
			out[i] += x / float64(hi-lo)
		}
	}
	return out
}

// HTML draws the description as one page with inline SVG: no script, nothing
// loaded from elsewhere.
func (d Description) HTML(w io.Writer) error {
	var b strings.Builder
	b.WriteString(pageHead)
	b.WriteString("<h1>Codebook</h1>\n<table class=facts>\n")
	for _, row := range d.heading() {
		fmt.Fprintf(&b, "<tr><th>%s<td>%s\n", row[0], html.EscapeString(row[1]))
	}
	b.WriteString("</table>\n")
	for _, s := range d.Signals {
		fmt.Fprintf(&b, "<section><h2>%s</h2>\n<p>From %d attack sources. log-odds = %.2f + %.2f·evidence − %.2f·ln(spans).</p>\n<div class=row>\n",
			html.EscapeString(s.Name), s.Sources, s.Bias, s.Slope, s.Length)
		spectrumSVG(&b, s.Spectrum, len(s.Curves))
		for k, c := range s.Curves {
			curveSVG(&b, fmt.Sprintf("coordinate %d, weight %.2f", k, s.Weights[k]), c)
		}
		b.WriteString("</div></section>\n")
	}
	b.WriteString("<section><h2>" + Novelty + "</h2>\n<p>ln of the energy outside the coordinates, of clean readings. Reported, never part of the composite.</p>\n<div class=row>\n")
	curveSVG(&b, "energy", d.Novelty)
	b.WriteString("</div></section>\n")
	for _, e := range d.Extras {
		fmt.Fprintf(&b, "<section><h2>%s</h2>\n<p>Read from the text, not from the states.</p>\n<table>\n<tr><th>reading<th>log-odds\n", html.EscapeString(e.Name))
		for i := range e.Curve.X {
			fmt.Fprintf(&b, "<tr><td>%.3g<td>%.2f\n", e.Curve.X[i], e.Curve.Y[i])
		}
		b.WriteString("</table></section>\n")
	}
	b.WriteString("<section><h2>Calibration</h2>\n<p>Share of clean documents at or above a log-odds, by score and cell. A curve ends at its finest rate, 1/(n+1). Point at a curve for its name.</p>\n<div class=row>\n")
	var scores []string
	for _, c := range d.Cells {
		if !slices.Contains(scores, c.Score) {
			scores = append(scores, c.Score)
		}
	}
	for i := len(scores) - 1; i >= 0; i-- { // composite first
		calibrationSVG(&b, scores[i], d.of(scores[i]))
	}
	b.WriteString("</div>\n<h3>Thresholds in composite log-odds</h3>\n<table>\n<tr><th>cell<th>n")
	for _, r := range drawnRates {
		fmt.Fprintf(&b, "<th>%s", percent(r))
	}
	for _, c := range d.of(Composite) {
		fmt.Fprintf(&b, "\n<tr><td>%s<td>%d", html.EscapeString(c.name()), c.N)
		for _, r := range drawnRates {
			if v, ok := c.threshold(r); ok {
				fmt.Fprintf(&b, "<td>%.2f", v)
			} else {
				b.WriteString("<td>–")
			}
		}
	}
	b.WriteString("\n</table></section>\n<section><h2>Sources</h2>\n<table>\n<tr><th>source<th>signals<th>documents<th>readings<th>sampled")
	for _, s := range d.Origin.Sources {
		label := strings.Join(s.Signals, " ")
		if label == "" {
			label = "clean"
		}
		fmt.Fprintf(&b, "\n<tr><td>%s<td>%s<td>%d<td>%d<td>%d", html.EscapeString(s.Source), html.EscapeString(label), s.Documents, s.Readings, s.Sampled)
	}
	b.WriteString("\n</table></section>\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("codebook: draw: %w", err)
	}
	return nil
}

const pageHead = `<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'">
<title>Codebook</title>
<style>
:root { --ink: #1c1c1e; --faint: #8a8a90; --line: #dcdce0; --back: #fff; --clean: #2f6fb0; --attack: #c2452d; --ratio: #5b4a9c }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6ea; --faint: #90909a; --line: #3a3a40; --back: #151517; --clean: #6fb0f0; --attack: #f08a70; --ratio: #b3a4f5 } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 1400px; margin: 2em auto; padding: 0 1em }
h2 { margin: 1.6em 0 .2em; border-top: 1px solid var(--line); padding-top: .8em }
p { margin: .2em 0 .8em }
.row { display: flex; flex-wrap: wrap; gap: 12px }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: 2px 14px 2px 0; text-align: right; font-weight: normal; vertical-align: top }
td:first-child, th:first-child, .facts td { text-align: left; overflow-wrap: anywhere }
th { color: var(--faint) }
svg { font: 11px system-ui, sans-serif }
svg text { fill: var(--faint) } svg .title { fill: var(--ink); font-size: 12px }
.axis { stroke: var(--line) } path { fill: none; stroke-width: 1.6 }
.clean { stroke: var(--clean) } .attack { stroke: var(--attack) } .ratio { stroke: var(--ratio) }
.fill-clean { fill: var(--clean); opacity: .35; stroke: none } .fill-attack { fill: var(--attack); opacity: .3; stroke: none }
text.t-clean { fill: var(--clean) } text.t-attack { fill: var(--attack) } text.t-ratio { fill: var(--ratio) }
.cell { stroke: var(--faint); stroke-width: 1; opacity: .55 } .cell:hover { stroke: var(--attack); stroke-width: 2.5; opacity: 1 } .all { stroke: var(--clean); stroke-width: 2.2 }
</style>
`

// Every plot is a box of 260×170 with this frame inside.
const (
	plotW, plotH          = 260, 170
	left, right, top, low = 34, 250, 24, 148
)

// frame maps values into a plot.
type frame struct{ x0, x1, y0, y1 float64 }

func (f frame) at(x, y float64) (float64, float64) {
	return left + (x-f.x0)/(f.x1-f.x0)*(right-left), low - (y-f.y0)/(f.y1-f.y0)*(low-top)
}

func open(b *strings.Builder, title string) {
	fmt.Fprintf(b, "<svg width=%d height=%d viewBox=\"0 0 %d %d\" role=img><title>%s</title><text class=title x=%d y=14>%s</text>\n",
		plotW, plotH, plotW, plotH, html.EscapeString(title), left, html.EscapeString(title))
}

func (f frame) axes(b *strings.Builder, x0, x1, y0, y1 string) {
	fmt.Fprintf(b, "<line class=axis x1=%d y1=%d x2=%d y2=%d /><line class=axis x1=%d y1=%d x2=%d y2=%d />\n", left, low, right, low, left, top, left, low)
	fmt.Fprintf(b, "<text x=%d y=%d>%s</text><text x=%d y=%d text-anchor=end>%s</text>", left, low+14, x0, right, low+14, x1)
	fmt.Fprintf(b, "<text x=%d y=%d text-anchor=end>%s</text><text x=%d y=%d text-anchor=end>%s</text>\n", left-4, low, y0, left-4, top+8, y1)
}

// path draws a line through points; fill closes it to the bottom.
func (f frame) path(b *strings.Builder, class string, xs, ys []float64, fill bool) {
	fmt.Fprintf(b, "<path class=\"%s\" d=\"", class)
	for i := range xs {
		x, y := f.at(xs[i], ys[i])
		fmt.Fprintf(b, "%c%.1f %.1f", "ML"[min(i, 1)], x, y)
	}
	if fill {
		x0, y := f.at(xs[0], f.y0)
		x1, _ := f.at(xs[len(xs)-1], f.y0)
		fmt.Fprintf(b, "L%.1f %.1fL%.1f %.1fZ", x1, y, x0, y)
	}
	b.WriteString("\"/>\n")
}

func spectrumSVG(b *strings.Builder, v []float64, kept int) {
	open(b, fmt.Sprintf("singular values, %d kept", kept))
	if len(v) == 0 {
		b.WriteString("</svg>\n")
		return
	}
	f := frame{0, float64(len(v)), 0, max(v[0], 1e-9)}
	f.axes(b, "1", fmt.Sprint(len(v)), "0", fmt.Sprintf("%.3g", v[0]))
	width := float64(right-left) / float64(len(v))
	for i, s := range v {
		x, y := f.at(float64(i), s)
		class := "fill-clean"
		if i < kept {
			class = "fill-attack"
		}
		fmt.Fprintf(b, "<rect class=%s x=%.1f y=%.1f width=%.1f height=%.1f />", class, x+width/10, y, width*0.8, low-y)
	}
	b.WriteString("</svg>\n")
}

func curveSVG(b *strings.Builder, title string, c CurveDescription) {
	open(b, title)
	n := len(c.X) - 1
	f := frame{c.X[0], c.X[n], 0, max(1e-9, slices.Max(append(c.Attack, c.Benign...)))}
	f.axes(b, fmt.Sprintf("%.1f", c.X[0]), fmt.Sprintf("%.1f", c.X[n]), "", "")
	f.path(b, "fill-clean", c.X, c.Benign, true)
	f.path(b, "clean", c.X, c.Benign, false)
	fmt.Fprintf(b, "<text class=t-clean x=%d y=%d>clean</text>", left+42, low+14)
	if c.Attack != nil {
		f.path(b, "fill-attack", c.X, c.Attack, true)
		f.path(b, "attack", c.X, c.Attack, false)
		g := frame{c.X[0], c.X[n], -maxRatio, maxRatio}
		_, zero := g.at(0, 0)
		fmt.Fprintf(b, "<line class=axis x1=%d y1=%.1f x2=%d y2=%.1f stroke-dasharray=3 />", left, zero, right, zero)
		g.path(b, "ratio", c.X, c.LLR, false)
		fmt.Fprintf(b, "<text class=t-attack x=%d y=%d>attack</text><text class=t-ratio x=%d y=%d>ratio ±%d</text>", left+74, low+14, left+110, low+14, maxRatio)
	}
	b.WriteString("</svg>\n")
}

func calibrationSVG(b *strings.Builder, score string, cells []Cell) {
	lo, hi, finest := math.Inf(1), math.Inf(-1), 0.0
	for _, c := range cells {
		lo, hi = min(lo, c.Scores[0]), max(hi, c.Scores[len(c.Scores)-1])
		finest = min(finest, -math.Log10(float64(c.N+1)))
	}
	if hi <= lo {
		hi = lo + 1
	}
	open(b, score+": false-alarm rate")
	f := frame{lo, hi, finest, 0}
	f.axes(b, fmt.Sprintf("%.1f", lo), fmt.Sprintf("%.1f", hi), fmt.Sprintf("%.0e", math.Pow(10, finest)), "1")
	for decade := -1.0; decade > finest; decade-- {
		_, y := f.at(0, decade)
		fmt.Fprintf(b, "<line class=axis x1=%d y1=%.1f x2=%d y2=%.1f stroke-dasharray=2 />", left, y, right, y)
	}
	for i := len(cells) - 1; i >= 0; i-- { // the cell of everything is first in order: drawn last, on top
		c := cells[i]
		class := "cell"
		if c.Channel == "" && c.Stratum == anyStratum {
			class = "all"
		}
		// A stair would be exact; every tenth point of a thousand is what a screen shows.
		step := max(1, len(c.Scores)/120)
		var xs, ys []float64
		for j := 0; j < len(c.Scores); j++ {
			if j%step == 0 || j > len(c.Scores)-20 {
				xs, ys = append(xs, c.Scores[j]), append(ys, math.Log10(c.Rates[j]))
			}
		}
		fmt.Fprintf(b, "<g><title>%s, n = %d</title>", html.EscapeString(c.name()), c.N)
		f.path(b, class, xs, ys, false)
		b.WriteString("</g>")
	}
	b.WriteString("</svg>\n")
}
