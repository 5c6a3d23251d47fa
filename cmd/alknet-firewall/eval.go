package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/internal/calibrate"
	"github.com/alkimiadev/alknet-firewall/internal/corpus"
	"github.com/alkimiadev/alknet-firewall/internal/eval"
)

type evalFlags struct {
	html, scores string
	markdown     string
	train        []string
	leaveOut     []string
	asJSON       bool
	disguise     bool
	perSource    int
}

func evalCommand(ui *tui, set *settings) *cobra.Command {
	var f evalFlags
	cmd := &cobra.Command{
		Use:   "eval DATA.jsonl...",
		Short: "Measure detection on labelled texts",
		Long: `Screen labelled texts and report how well attacks are told from clean text:
AUC and the share of attacks found at false-alarm rates of 5, 1 and 0.1 %, with
intervals, at one threshold for everything, by source, kind, language and length;
the false alarms on hard negatives; and asked against measured false-alarm rates.

With --train two controls that only count words (naive Bayes; TF-IDF with
logistic regression) are trained on those rows and stand beside the detector. A
detector that does not beat them is not a detector.

Harmful requests and texts that quote attacks are reported apart.`,
		Example: `  alknet-firewall eval labelled.jsonl
  alknet-firewall eval dev/*.jsonl.gz --train train/*.jsonl.gz --html report.html`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runEval(cmd, ui, set, f, args)
		},
	}
	cmd.Flags().StringVar(&f.html, "html", "", "write a page with pictures to this file, too")
	cmd.Flags().StringVar(&f.markdown, "markdown", "", "write the report as Markdown to this file and its pictures beside it, too")
	cmd.Flags().StringVar(&f.scores, "scores", "", "write one line of JSON a row (id, source, label, score, p-value) to this file, too")
	cmd.Flags().StringSliceVar(&f.train, "train", nil, "files to train the controls on; a pattern in quotes may stand for many")
	cmd.Flags().StringSliceVar(&f.leaveOut, "leave-out", nil, "sources not to read, comma-separated")
	cmd.Flags().IntVar(&f.perSource, "per-source", 0, "take at most this many rows of each source and label, chosen by a hash of their ids; 0: all")
	cmd.Flags().BoolVar(&f.disguise, "disguise", false, "screen every attack a second time, in one of nine disguises, for a table of their own")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print the report as JSON")
	return cmd
}

func runEval(cmd *cobra.Command, ui *tui, set *settings, f evalFlags, args []string) error {
	ctx := cmd.Context()
	next, total, err := sample(args, f.leaveOut, f.perSource)
	if err != nil {
		return err
	}
	controls, err := trainControls(ui, f)
	if err != nil {
		return err
	}
	fw, closeAll, err := set.open(ui)
	if err != nil {
		return err
	}
	defer closeAll()

	opt := eval.Options{Command: "alknet-firewall eval", Controls: map[string][]float64{}}
	var scored []eval.Scored
	bar := ui.bar("eval", total)
	unscored, done := 0, 0
	for end := false; !end; {
		var rows []corpus.Row
		var disguises []string
		var ins []firewall.Input
		for size := 0; len(rows) < chunk && size < 8<<20; {
			row, err := next()
			if errors.Is(err, io.EOF) {
				end = true
				break
			}
			if err != nil {
				return err
			}
			add := func(row corpus.Row, disguise string) {
				rows, disguises = append(rows, row), append(disguises, disguise)
				size += len(row.Text)
				ins = append(ins, firewall.Input{ID: row.ID, Text: row.Text, Channel: firewall.Channel(row.ChannelOrGuess())})
			}
			add(row, "")
			done++
			if f.disguise && row.Label == corpus.Attack && !row.Apart() {
				d := eval.DisguiseOf(row.ID)
				row.Channel = row.ChannelOrGuess() // whatever the disguise does to the length
				row.Text = d.Apply(row.ID, row.Text)
				add(row, d.Name)
			}
		}
		for i, res := range fw.ScreenBatch(ctx, ins) {
			r := rows[i]
			s := eval.Scored{
				ID: r.ID, Label: r.Label, Kind: r.Kind, Source: r.Source, Lang: r.Lang, Channel: r.ChannelOrGuess(), Apart: r.Apart(), Disguise: disguises[i],
				Score: res.Verdict.LogOdds, PValue: res.Verdict.PValue, Tokens: res.Verdict.Coverage.Tokens,
			}
			if res.Err != nil {
				if errors.Is(res.Err, firewall.ErrCancelled) || !errors.Is(res.Err, firewall.ErrInput) {
					return res.Err // the detector is broken, not one row
				}
				s.Score, s.PValue = math.NaN(), math.NaN()
				unscored++
			}
			scored = append(scored, s)
			for _, c := range controls {
				opt.Controls[c.Name()] = append(opt.Controls[c.Name()], c.Score(r.Text))
			}
		}
		bar.set(done)
	}
	bar.done()
	if unscored > 0 {
		ui.warn("%d of %d rows could not be screened and are left out", unscored, len(scored))
	}
	if f.scores != "" {
		if err := writeScores(f.scores, scored); err != nil {
			return err
		}
	}
	report := eval.Evaluate(scored, opt)
	if f.html != "" {
		file, err := os.Create(f.html)
		if err != nil {
			return err
		}
		if err := errors.Join(report.WriteHTML(file), file.Close()); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		ui.say("wrote %s\n", f.html)
	}
	if f.markdown != "" {
		if err := writeMarkdown(f.markdown, report); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		ui.say("wrote %s\n", f.markdown)
	}
	if f.asJSON {
		return json.NewEncoder(ui.out).Encode(report)
	}
	return report.WriteText(ui.out)
}

// sample hands out the rows of files, at most perSource of each source and
// label (0: all): those whose ids' hashes are lowest. It also returns their number.
func sample(names, leaveOut []string, perSource int) (calibrate.Source, int, error) {
	if perSource <= 0 {
		n, err := countRows(names, leaveOut)
		return rowsOf(names, leaveOut), n, err
	}
	type group struct{ source, label string }
	key := func(r corpus.Row) [32]byte { return sha256.Sum256([]byte(r.ID)) }
	less := func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }
	lowest := map[group][][32]byte{} // sorted
	total := 0
	next := rowsOf(names, leaveOut)
	for {
		r, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		g, k := group{r.Source, r.Label}, key(r)
		i, twice := slices.BinarySearchFunc(lowest[g], k, less)
		if i >= perSource || twice {
			continue
		}
		lowest[g] = slices.Insert(lowest[g], i, k)
		if total++; len(lowest[g]) > perSource {
			lowest[g] = lowest[g][:perSource]
			total--
		}
	}
	next = rowsOf(names, leaveOut)
	return func() (corpus.Row, error) {
		for {
			r, err := next()
			if err != nil {
				return r, err
			}
			g := group{r.Source, r.Label}
			i, ok := slices.BinarySearchFunc(lowest[g], key(r), less)
			if ok { // once: a second row of that id is not of the sample
				lowest[g] = slices.Delete(lowest[g], i, i+1)
				return r, nil
			}
		}
	}, total, nil
}

// writeMarkdown writes FILE.md, and FILE-roc.svg and so on beside it.
func writeMarkdown(name string, report eval.Report) error {
	base := strings.TrimSuffix(name, filepath.Ext(name)) + "-"
	var b bytes.Buffer
	if err := report.WriteMarkdown(&b, filepath.Base(base)); err != nil {
		return err
	}
	for _, p := range report.Pictures() {
		if err := os.WriteFile(base+p.Name+".svg", []byte(p.SVG), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// trainControls trains the two controls on what the main figures would count.
func trainControls(ui *tui, f evalFlags) ([]eval.Control, error) {
	var names []string
	for _, pattern := range f.train {
		match, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		if len(match) == 0 {
			match = []string{pattern} // opening it will say what is wrong
		}
		names = append(names, match...)
	}
	if len(names) == 0 {
		return nil, nil
	}
	var texts []eval.Text
	next := rowsOf(names, f.leaveOut)
	for {
		row, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if row.Label != "" && !row.Apart() {
			texts = append(texts, eval.Text{Text: row.Text, Attack: row.Label == corpus.Attack})
		}
	}
	ui.say("training the controls on %d rows\n", len(texts))
	bayes, err := eval.TrainNaiveBayes(texts)
	if err != nil {
		return nil, err
	}
	regression, err := eval.TrainTFIDF(texts)
	if err != nil {
		return nil, err
	}
	return []eval.Control{regression, bayes}, nil
}

// writeScores writes what another program needs to draw figures of its own.
func writeScores(name string, scored []eval.Scored) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, s := range scored {
		if s.Disguise != "" {
			continue
		}
		row := map[string]any{"id": s.ID, "source": s.Source, "label": s.Label, "kind": s.Kind, "lang": s.Lang, "channel": s.Channel, "tokens": s.Tokens}
		if !math.IsNaN(s.Score) {
			row["score"], row["p_value"] = s.Score, s.PValue
		}
		if err := enc.Encode(row); err != nil {
			return err
		}
	}
	return os.WriteFile(name, []byte(b.String()), 0o644)
}
