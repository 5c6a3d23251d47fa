package eval

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
)

// Colours of the scorers: the detector, then the controls. Distinct in
// brightness too, for print and for eyes that see few colours.
var colours = []string{"#0b5cad", "#d9822b", "#6b7f3a", "#9b4f96", "#777777"}

func colour(scorer int) string { return colours[min(scorer, len(colours)-1)] }

var page = template.Must(template.New("report").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/><title>{{.Title}}</title>
<style>
body{font:15px/1.45 system-ui,sans-serif;color:#1b1f24;background:#fff;max-width:1120px;margin:24px auto;padding:0 16px}
h1{font-size:26px;margin:0 0 8px}h2{font-size:18px;margin:32px 0 4px}p{margin:4px 0}.note{color:#59636e;font-size:13px}
.pictures{display:flex;flex-wrap:wrap;gap:16px;margin-top:16px}figure{margin:0;border:1px solid #dde2e7;border-radius:6px;padding:8px}
figcaption{font-weight:600;font-size:14px;margin:0 0 4px 4px}svg{display:block;max-width:100%;height:auto;font:12px system-ui,sans-serif}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin-top:8px}
th,td{padding:3px 10px 3px 0;text-align:left;white-space:nowrap;vertical-align:top}th{border-bottom:1px solid #1b1f24;font-weight:600}
tr.first td{border-top:1px solid #dde2e7}.i{color:#7a858f;font-size:11px}.fail{color:#b3261e;font-weight:700}
</style></head><body>
<h1>{{.Title}}</h1>
{{range .Summary}}<p class="note">{{.}}</p>
{{end}}<div class="pictures">
{{range .Pictures}}<figure><figcaption>{{.Title}}</figcaption>{{.SVG}}</figure>
{{end}}</div>
{{range .Tables}}<h2>{{.Title}}</h2><p class="note">{{.Note}}</p>
{{if .Rows}}<div class="scroll"><table><thead><tr>{{range .Head}}<th>{{.}}</th>{{end}}</tr></thead><tbody>
{{range .Rows}}<tr{{if .First}} class="first"{{end}}>{{range .Cells}}<td{{if eq .Value "FAIL"}} class="fail"{{end}}>{{.Value}}{{with .Interval}} <span class="i">{{.}}</span>{{end}}</td>{{end}}</tr>
{{end}}</tbody></table></div>{{else}}<p>no rows</p>{{end}}
{{end}}</body></html>
`))

// WriteHTML writes the report as one page that needs nothing else: no script,
// no style sheet, no font, no network. The page is also well-formed XML.
func (r Report) WriteHTML(w io.Writer) error {
	type cell struct{ Value, Interval string }
	type row struct {
		First bool // of its group
		Cells []cell
	}
	type rows struct {
		Title, Note string
		Head        []string
		Rows        []row
	}
	type picture struct {
		Title string
		SVG   template.HTML // of numbers and escaped names
	}
	data := struct {
		Title    string
		Summary  []string
		Pictures []picture
		Tables   []rows
	}{Title: r.Title, Summary: r.summary()}
	for _, p := range r.Pictures() {
		data.Pictures = append(data.Pictures, picture{p.Title, template.HTML(p.SVG)})
	}
	for _, t := range r.tables() {
		out := rows{Title: t.Title, Note: t.Note, Head: t.Head}
		for _, cells := range t.Rows {
			x := row{First: cells[0] != ""}
			for _, c := range cells {
				value, rest, ok := strings.Cut(c, " [")
				if !ok || !strings.HasSuffix(rest, "]") {
					x.Cells = append(x.Cells, cell{Value: c})
					continue
				}
				x.Cells = append(x.Cells, cell{value, strings.TrimSuffix(rest, "]")})
			}
			out.Rows = append(out.Rows, x)
		}
		data.Tables = append(data.Tables, out)
	}
	var b bytes.Buffer // a page appears whole or not at all
	if err := page.Execute(&b, data); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// A plot maps data to the pixels of an SVG picture and collects its elements.
type plot struct {
	b                        strings.Builder
	width, height            float64
	left, right, top, bottom float64 // margins
	x, y                     func(float64) float64
}

// newPlot starts a picture whose axes run over [x0, x1] and [y0, y1].
func newPlot(width, height, left, x0, x1, y0, y1 float64, logX, logY bool) *plot {
	p := &plot{width: width, height: height, left: left, right: 16, top: 10, bottom: 42}
	axis := func(from, to, a, b float64, log bool) func(float64) float64 {
		if log {
			return func(v float64) float64 {
				return from + (to-from)*(math.Log(math.Max(v, a))-math.Log(a))/(math.Log(b)-math.Log(a))
			}
		}
		return func(v float64) float64 { return from + (to-from)*(v-a)/(b-a) }
	}
	p.x = axis(left, width-p.right, x0, x1, logX)
	p.y = axis(height-p.bottom, p.top, y0, y1, logY)
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img">`, width, height, width, height)
	return p
}

func (p *plot) line(x1, y1, x2, y2 float64, style string) {
	fmt.Fprintf(&p.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`, x1, y1, x2, y2, style)
}

func (p *plot) text(x, y float64, anchor, style, s string) {
	fmt.Fprintf(&p.b, `<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>`, x, y, anchor, style, html.EscapeString(s))
}

const (
	grid  = `stroke="#e4e8ec"`
	faint = `fill="#59636e"`
	guide = `stroke="#9aa4ae" stroke-dasharray="4 4"`
)

// ticks draws grid lines and their labels.
func (p *plot) ticks(xs, ys []float64, label func(float64) string) {
	for _, v := range xs {
		p.line(p.x(v), p.top, p.x(v), p.height-p.bottom, grid)
		p.text(p.x(v), p.height-p.bottom+16, "middle", faint, label(v))
	}
	for _, v := range ys {
		p.line(p.left, p.y(v), p.width-p.right, p.y(v), grid)
		p.text(p.left-6, p.y(v)+4, "end", faint, label(v))
	}
}

func (p *plot) titles(x, y string) {
	p.text((p.left+p.width-p.right)/2, p.height-8, "middle", "", x)
	if y != "" {
		cy := (p.top + p.height - p.bottom) / 2
		fmt.Fprintf(&p.b, `<text x="14" y="%.1f" text-anchor="middle" transform="rotate(-90 14 %.1f)">%s</text>`, cy, cy, html.EscapeString(y))
	}
}

func (p *plot) polyline(points [][2]float64, style string) {
	p.b.WriteString(`<polyline fill="none" points="`)
	for _, q := range points {
		fmt.Fprintf(&p.b, "%.1f,%.1f ", p.x(q[0]), p.y(q[1]))
	}
	fmt.Fprintf(&p.b, `" %s/>`, style)
}

// legend names the scorers, from (x, y) down.
func (p *plot) legend(x, y float64, names []string) {
	for s, name := range names {
		at := y + float64(s)*18
		fmt.Fprintf(&p.b, `<rect x="%.1f" y="%.1f" width="14" height="4" fill="%s"/>`, x, at-6, colour(s))
		p.text(x+20, at, "start", "", name)
	}
}

func (p *plot) done() string { return p.b.String() + "</svg>" }

func shortNumber(v float64) string { return fmt.Sprintf("%.3g", v) }

var (
	fifths  = []float64{0, 0.2, 0.4, 0.6, 0.8, 1}
	decades = []float64{0.0001, 0.001, 0.01, 0.1, 1}
)

// drawROC draws a curve a scorer; the curves are staircases.
func (r Report) drawROC(logX bool) string {
	if r.Rows.Attack == 0 || r.Rows.Benign == 0 {
		return ""
	}
	x0, xs := 0.0, fifths
	if logX {
		x0, xs = decades[0], decades
	}
	p := newPlot(520, 440, 52, x0, 1, 0, 1, logX, false)
	p.ticks(xs, fifths, shortNumber)
	p.titles("false-alarm rate", "attacks found")
	var chance [][2]float64
	for i := range 101 {
		v := float64(i) / 100
		if logX {
			v = math.Pow(10, 4*(v-1))
		}
		chance = append(chance, [2]float64{v, v})
	}
	p.polyline(chance, guide)
	for s := len(r.Scorers) - 1; s >= 0; s-- { // the detector on top
		var points [][2]float64
		last := 0.0
		for _, q := range r.ROC[s] {
			if f := float64(q.FPR); f > last {
				points = append(points, [2]float64{f, lastY(points)})
				last = f
			}
			points = append(points, [2]float64{float64(q.FPR), float64(q.TPR)})
		}
		p.polyline(points, fmt.Sprintf(`stroke="%s" stroke-width="2"`, colour(s)))
	}
	if logX {
		p.legend(p.left+14, p.top+22, r.Scorers)
	} else {
		p.legend(p.width-170, p.height-p.bottom-16-18*float64(len(r.Scorers)-1), r.Scorers)
	}
	return p.done()
}

func lastY(points [][2]float64) float64 {
	if len(points) == 0 {
		return 0
	}
	return points[len(points)-1][1]
}

// drawCalibration draws the curve over all benign rows, and the checked rates
// of each group with their intervals.
func (r Report) drawCalibration() string {
	if len(r.Curve) == 0 {
		return ""
	}
	p := newPlot(520, 440, 60, decades[0], 1, decades[0], 1, true, true)
	p.ticks(decades, decades, shortNumber)
	p.titles("asked false-alarm rate", "measured")
	p.polyline([][2]float64{{decades[0], decades[0]}, {1, 1}}, guide)
	var curve [][2]float64
	for _, q := range r.Curve {
		curve = append(curve, [2]float64{float64(q.Asked), float64(q.Measured)})
	}
	p.polyline(curve, fmt.Sprintf(`stroke="%s" stroke-width="2"`, colour(0)))
	seen := map[Number]int{} // groups drawn at a rate: they stand side by side
	for _, c := range r.Calibration {
		x := p.x(float64(c.Asked)) + 5*float64(seen[c.Asked])
		seen[c.Asked]++
		style := "#3a4149"
		if !c.Pass {
			style = "#b3261e"
		}
		p.line(x, p.y(float64(c.Measured.Low)), x, p.y(float64(c.Measured.High)), fmt.Sprintf(`stroke="%s"`, style))
		fmt.Fprintf(&p.b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"><title>%s: %s asked, %s</title></circle>`,
			x, p.y(float64(c.Measured.Value)), style, html.EscapeString(c.Group), percent(c.Asked), c.Measured)
	}
	p.text(p.left+12, p.top+18, "start", faint, "above the line: more alarms than asked (red: beyond chance)")
	p.text(p.left+12, p.top+34, "start", faint, "bars: all, channels, lengths, in the order of the table")
	return p.done()
}

// drawHistogram draws a scorer's scores: benign upwards, attacks downwards,
// each as a share of its class.
func (r Report) drawHistogram(s int) string {
	h := r.Histograms[s]
	if r.Rows.Attack+r.Rows.Benign == 0 {
		return ""
	}
	low, width := float64(h.Low), float64(h.Width)
	high := low + width*float64(len(h.Benign))
	top := 0.0
	share := func(k, n int) float64 { return float64(k) / float64(max(n, 1)) }
	for i := range h.Benign {
		top = max(top, share(h.Benign[i], r.Rows.Benign), share(h.Attack[i], r.Rows.Attack))
	}
	p := newPlot(520, 260, 40, low, high, -top, top, false, false)
	for i := range h.Benign {
		x0, x1 := p.x(low+width*float64(i)), p.x(low+width*float64(i+1))
		bar := func(share float64, fill string) {
			y0, y1 := p.y(0), p.y(share)
			fmt.Fprintf(&p.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, x0+0.5, min(y0, y1), max(x1-x0-1, 0.5), math.Abs(y1-y0), fill)
		}
		bar(share(h.Benign[i], r.Rows.Benign), "#4c8f6b")
		bar(-share(h.Attack[i], r.Rows.Attack), "#b8433a")
	}
	p.line(p.left, p.y(0), p.width-p.right, p.y(0), `stroke="#1b1f24"`)
	for i := range 5 {
		v := low + (high-low)*float64(i)/4
		p.text(p.x(v), p.height-p.bottom+16, "middle", faint, shortNumber(v))
	}
	for k, t := range r.Thresholds[s] {
		if x := float64(t); x > low && x < high {
			p.line(p.x(x), p.top, p.x(x), p.height-p.bottom, guide)
			at, anchor := p.x(x)+3, "start"
			if at > p.width-60 {
				at, anchor = at-6, "end"
			}
			p.text(at, p.top+10+12*float64(k), anchor, faint, percent(r.Rates[k]))
		}
	}
	p.titles("score (log-odds)", "")
	p.text(p.left, p.top+10, "start", `fill="#2f6b4c"`, "benign")
	p.text(p.left, p.height-p.bottom-4, "start", `fill="#b8433a"`, "attacks")
	return p.done()
}

// drawAUC draws a line a group with attacks: each scorer's AUC, the detector
// with its interval.
func (r Report) drawAUC(groups []Group, width float64) string {
	groups = slices.DeleteFunc(slices.Clone(groups), func(g Group) bool {
		return g.Attack == 0 || math.IsNaN(float64(g.Figures[0].AUC.Value))
	})
	if len(groups) == 0 {
		return ""
	}
	low := 0.5 // a figure below chance widens the axis
	for _, g := range groups {
		for _, f := range g.Figures {
			low = min(low, math.Floor(float64(f.AUC.Value)*10)/10)
		}
		if l := float64(g.Figures[0].AUC.Low); !math.IsNaN(l) {
			low = min(low, math.Floor(l*10)/10)
		}
	}
	const lineHeight = 20
	head := 18.0
	p := newPlot(width, head+lineHeight*float64(len(groups))+52, 230, low, 1, 0, 1, false, false)
	var xs []float64
	for v := low; v < 1.001; v += 0.1 {
		xs = append(xs, v)
	}
	p.ticks(xs, nil, func(v float64) string { return fmt.Sprintf("%.1f", v) })
	p.titles("AUC", "")
	for i, g := range groups {
		y := p.top + head + lineHeight*(float64(i)+0.5)
		p.text(p.left-8, y+4, "end", "", fmt.Sprintf("%s (%d)", shorten(g.Name, 24), g.Attack))
		if e := g.Figures[0].AUC; !math.IsNaN(float64(e.Low)) {
			p.line(p.x(float64(e.Low)), y, p.x(float64(e.High)), y, fmt.Sprintf(`stroke="%s"`, colour(0)))
		}
		for s := len(g.Figures) - 1; s >= 0; s-- {
			radius := 3.5
			if s == 0 {
				radius = 5
			}
			fmt.Fprintf(&p.b, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s"><title>%s: %s</title></circle>`,
				p.x(float64(g.Figures[s].AUC.Value)), y, radius, colour(s), html.EscapeString(r.Scorers[s]), g.Figures[s].AUC)
		}
	}
	x := p.left
	for s, name := range r.Scorers {
		fmt.Fprintf(&p.b, `<rect x="%.1f" y="%.1f" width="14" height="4" fill="%s"/>`, x, p.top+2, colour(s))
		p.text(x+20, p.top+8, "start", "", name)
		x += 40 + 7*float64(len(name))
	}
	return p.done()
}

func shorten(s string, n int) string {
	if c := []rune(s); len(c) > n {
		return string(c[:n-1]) + "…"
	}
	return s
}
