package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	firewall "github.com/alkimiadev/alknet-firewall"
)

// tui holds every line that a person reads. Data goes to standard output, words
// to standard error.
type tui struct {
	in       io.Reader
	out, err io.Writer
	color    bool // standard output is a terminal, and NO_COLOR is not set
	bars     bool // standard error is a terminal
	// interactive: a question can be asked and answered, on standard error and
	// standard input.
	interactive bool
	sparse      time.Duration // between progress lines where there is no terminal
	progress    *mpb.Progress
}

func newTUI(in io.Reader, out, err io.Writer) *tui {
	return &tui{
		in: in, out: out, err: err,
		color: isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		bars:  isTerminal(err),

		interactive: isTerminal(err) && isTerminal(in),
		sparse:      15 * time.Second,
	}
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (ui *tui) close() {
	if ui.progress != nil {
		ui.progress.Shutdown()
	}
}

// data prints to standard output.
func (ui *tui) data(s string) { io.WriteString(ui.out, s) }

// say prints words to standard error.
func (ui *tui) say(format string, args ...any) {
	if len(args) == 0 {
		io.WriteString(ui.err, format)
		return
	}
	fmt.Fprintf(ui.err, format, args...)
}

// fail prints an error and, where there is one, a hint.
func (ui *tui) fail(err error) {
	fmt.Fprintf(ui.err, "alknet-firewall: error: %v\n", err)
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(ui.err, "alknet-firewall: hint: %s\n", hint)
	}
}

func (ui *tui) warn(format string, args ...any) {
	fmt.Fprintf(ui.err, "alknet-firewall: warning: "+format+"\n", args...)
}

// A bar shows how far something long has come: a bar with rate and remaining
// time on a terminal, a line now and then in a log file.
type bar struct {
	ui     *tui
	name   string
	bytes  bool  // counts bytes, not texts
	before int64 // was there when it began: no part of the rate
	total  int64 // 0: unknown
	begun  time.Time
	shown  time.Time
	mpb    *mpb.Bar
}

// bar begins a progress bar over texts. total 0 means unknown.
func (ui *tui) bar(name string, total int) *bar {
	return ui.newBar(&bar{name: name, total: int64(total)})
}

// byteBar begins a progress bar over bytes, of which some were there before.
func (ui *tui) byteBar(name string, total, before int64) *bar {
	return ui.newBar(&bar{name: name, total: total, before: before, bytes: true})
}

func (ui *tui) newBar(b *bar) *bar {
	b.ui, b.begun, b.shown = ui, time.Now(), time.Now()
	if ui.bars {
		if ui.progress == nil {
			ui.progress = mpb.New(mpb.WithOutput(ui.err), mpb.WithWidth(48))
		}
		b.mpb = ui.progress.AddBar(b.total,
			mpb.PrependDecorators(decor.Any(func(s decor.Statistics) string { return b.name + " " + b.count(s.Current) + " " })),
			mpb.AppendDecorators(decor.Percentage(), decor.Any(func(s decor.Statistics) string { return "  " + b.rate(s.Current) })),
			mpb.BarRemoveOnComplete())
	}
	return b
}

func (b *bar) set(n int) { b.at(int64(n)) }

func (b *bar) at(n int64) {
	if b.mpb != nil {
		b.mpb.SetCurrent(n)
		return
	}
	if now := time.Now(); now.Sub(b.shown) >= b.ui.sparse {
		b.shown = now
		b.ui.say("%s: %s, %s\n", b.name, b.count(n), b.rate(n))
	}
}

func (b *bar) done() {
	if b.mpb != nil {
		b.mpb.SetTotal(-1, true)
		b.mpb.Wait()
	}
}

// fitting shows the steps of a fit; the number of steps of a stage may be 1.
func (ui *tui) fitting() func(stage string, done, total int) {
	var b *bar
	name := ""
	return func(stage string, done, total int) {
		if stage != name {
			if b != nil {
				b.done()
			}
			name, b = stage, ui.bar("fit: "+stage, total)
		}
		if b.set(done); done == total {
			b.done()
		}
	}
}

func (b *bar) count(n int64) string {
	write := func(n int64) string { return fmt.Sprint(n) }
	if b.bytes {
		write = size
	}
	if b.total == 0 {
		return write(n)
	}
	return write(n) + " of " + write(b.total)
}

// rate says how fast it goes and how long it will take at that.
func (b *bar) rate(n int64) string {
	took := time.Since(b.begun)
	if n <= b.before || took < time.Second/10 {
		return ""
	}
	perSecond := float64(n-b.before) / took.Seconds()
	s := fmt.Sprintf("%.1f/s", perSecond)
	if b.bytes {
		s = size(int64(perSecond)) + "/s"
	}
	if b.total > n {
		s += fmt.Sprintf(", %s left", time.Duration(float64(b.total-n)/perSecond*float64(time.Second)).Round(time.Second))
	}
	return s
}

// size writes bytes as people read them.
func size(n int64) string {
	switch {
	case n < 0:
		return "unknown size"
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

// Colours of the levels, as ANSI SGR parameters.
var levelColor = map[firewall.Level]string{
	firewall.LevelClear: "32", // green
	firewall.LevelWatch: "33", // yellow
	firewall.LevelAlarm: "1;31",
}

func (ui *tui) paint(sgr, s string) string {
	if !ui.color || sgr == "" {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// verdict prints a verdict for a person: the line that matters, what led to it
// and, on a terminal, the text around the spans with the spans underlined.
// Piped output never contains the text.
func (ui *tui) verdict(name, text string, v firewall.Verdict) {
	if name != "" {
		fmt.Fprintf(ui.out, "%s: ", printable(name))
	}
	fmt.Fprintf(ui.out, "%s  log-odds %+.2f, p-value %s (share of %d comparable clean texts that score as high)\n",
		ui.paint(levelColor[v.Level], v.Level.String()), v.LogOdds, pValue(v), v.Calibration)
	for _, s := range v.Signals {
		fmt.Fprintf(ui.out, "  %-12s %s  log-odds %+6.2f  p-value %.4f\n", s.Name, ui.paint(levelColor[s.Level], fmt.Sprintf("%-6s", s.Level)), s.Score, s.PValue)
	}
	if v.Why != nil && v.Level >= firewall.LevelWatch {
		fmt.Fprintf(ui.out, "  why: %s = %+.2f", v.Why.Signal, v.Why.Bias)
		for _, c := range v.Why.Contributions {
			fmt.Fprintf(ui.out, " %+.2f (%s)", c.Value, c.Coordinate)
		}
		fmt.Fprintln(ui.out)
		if len(v.Why.Exemplars) > 0 {
			fmt.Fprintf(ui.out, "  nearest calibration texts: %s\n", printable(strings.Join(v.Why.Exemplars, ", ")))
		}
	}
	for _, f := range v.Findings {
		fmt.Fprintf(ui.out, "  found: %s at bytes %d to %d (%d)\n", f.Kind, f.Start, f.End, f.Count)
	}
	for _, s := range v.Spans {
		fmt.Fprintf(ui.out, "  bytes %d to %d: %s %+.2f\n", s.Start, s.End, s.Signal, s.Score)
		if ui.color {
			ui.excerpt(text, s)
		}
	}
	if !v.Coverage.Complete {
		fmt.Fprintf(ui.out, "  not all of it was screened: %d of %d bytes have no entry in the tokenizer\n", v.Coverage.Lost, v.Coverage.Bytes)
	}
}

func pValue(v firewall.Verdict) string {
	if v.PValue <= 1/float64(v.Calibration+1) {
		return fmt.Sprintf("≤ %.4f", v.PValue)
	}
	return fmt.Sprintf("%.4f", v.PValue)
}

// excerpt prints a span with some bytes around it; the span is underlined.
func (ui *tui) excerpt(text string, s firewall.Span) {
	const around = 40 // bytes
	from, to := max(0, s.Start-around), min(len(text), s.End+around)
	for from > 0 && text[from]&0xc0 == 0x80 { // not into the middle of a character
		from--
	}
	for to < len(text) && text[to]&0xc0 == 0x80 {
		to++
	}
	fmt.Fprintf(ui.out, "    … %s%s%s …\n", printable(text[from:s.Start]), ui.paint("4;31", printable(text[s.Start:s.End])), printable(text[s.End:to]))
}

// bench prints a report of the bench command.
func (ui *tui) bench(threads int, r *benchReport) {
	fmt.Fprintf(ui.out, "%s, %s, %s, %d threads, loaded in %.0f ms", printable(r.Model), cmp.Or(r.Arithmetic, "arithmetic of the codebook"), r.Kernel, threads, r.LoadMs)
	if r.PeakRSSMB > 0 {
		fmt.Fprintf(ui.out, ", %.0f MB resident, %.0f MB at most", r.RSSMB, r.PeakRSSMB)
	}
	if r.Peak.F32GOps > 0 {
		fmt.Fprintf(ui.out, "\nthis machine can do %.0f GFLOP/s in float32 and %.0f GOP/s in int8 with %d threads", r.Peak.F32GOps, r.Peak.Int8GOps, threads)
	}
	fmt.Fprint(ui.out, "\n\n")
	if len(r.Runs) > 0 {
		fmt.Fprintf(ui.out, "%7s  %6s  %10s  %10s  %10s  %10s  %8s  %7s\n", "tokens", "layers", "ms median", "fastest", "slowest", "tokens/s", "GOP/s", "of peak")
	}
	for _, x := range r.Runs {
		of := "?"
		if x.PeakShare > 0 {
			of = fmt.Sprintf("%.0f %%", 100*x.PeakShare)
		}
		fmt.Fprintf(ui.out, "%7d  %6d  %10.2f  %10.2f  %10.2f  %10.0f  %8.1f  %7s\n", x.Tokens, x.Layers, x.MsMedian, x.MsMin, x.MsMax, x.TokensPerSec, x.GOps, of)
	}
	if len(r.Screens) > 0 {
		fmt.Fprintf(ui.out, "%7s  %7s  %7s  %10s  %10s  %10s  %10s\n", "tokens", "bytes", "callers", "ms median", "fastest", "slowest", "requests/s")
	}
	for _, x := range r.Screens {
		fmt.Fprintf(ui.out, "%7d  %7d  %7d  %10.2f  %10.2f  %10.2f  %10.0f\n", x.Tokens, x.Bytes, x.Callers, x.MsMedian, x.MsMin, x.MsMax, x.RequestsPerSec)
	}
}

// printable replaces what could steer a terminal: control characters, and
// format characters such as bidi overrides, by a middle dot; line ends by ␤.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return '␤'
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return '·'
		}
		return r
	}, s)
}
