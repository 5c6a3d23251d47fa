package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/calibration"
	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/detector"
	"github.com/alkimiadev/alknet-firewall/internal/calibrate"
	"github.com/alkimiadev/alknet-firewall/internal/corpus"
	"github.com/alkimiadev/alknet-firewall/internal/reading"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

type calibrateFlags struct {
	out, state, date  string
	leaveOut, fitOnly []string
	benign            bool
	rows              int
	coordinates       int
	perSource         int
	shrink, between   float64
}

func calibrateCommand(ui *tui, set *settings) *cobra.Command {
	var f calibrateFlags
	cmd := &cobra.Command{
		Use:   "calibrate [-o CODEBOOK] [DATA.jsonl...]",
		Short: "Make a codebook for a detector model from labelled texts",
		Long: `Read labelled texts, run them through the detector model and fit a codebook.

A line is {"id","text","label":"attack"|"benign","kind","source","lang"[,"channel"]};
files may be compressed (gzip, bzip2). Whole sources are held out in turn, so the more
sources, the better the thresholds travel. Without files the texts inside this
program are used: a beginning, to be followed by --benign on traffic of yours.

Without -o the codebook goes where screening with the same --model finds it: into
a model's directory, or, for a model of the Hub, among the user's data (on Linux
~/.local/share/alknet-firewall/codebooks).

With --benign no attacks are needed: the thresholds of an existing codebook are
set anew on clean traffic of yours, and what it knows of attacks stays.

The codebook is bound to the arithmetic that it was made with, int8 unless
--arithmetic says f32, and screening runs what its codebook asks for.

A run that is stopped goes on with the same command; with -o only if --state was
given.`,
		Example: `  alknet-firewall calibrate --model smollm2-135m
  alknet-firewall screen --model smollm2-135m "What is the capital of France?"
  alknet-firewall calibrate --model ./model -o codebook.safetensors train/*.jsonl.gz
  alknet-firewall calibrate --benign -o mine.safetensors clean-traffic.jsonl
  alknet-firewall screen --codebook mine.safetensors "What is the capital of France?"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCalibrate(cmd, ui, set, f, args)
		},
	}
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "codebook file to write; required for the embedded detector")
	cmd.Flags().StringVar(&f.state, "state", "", "directory for the progress of a stopped run (default: without -o beside the codebook, else none is kept)")
	cmd.Flags().StringSliceVar(&f.leaveOut, "leave-out", nil, "sources not to read at all, comma-separated")
	cmd.Flags().StringSliceVar(&f.fitOnly, "fit-only", nil, "sources whose clean texts set no thresholds: what the model itself was tuned on")
	cmd.Flags().BoolVar(&f.benign, "benign", false, "only set thresholds anew, from clean texts; needs an existing codebook")
	cmd.Flags().IntVar(&f.rows, "rows", 0, "read only so many rows of each source and label, the first ones; 0: all")
	cmd.Flags().IntVar(&f.coordinates, "coordinates", 0, "coordinates of each signal (default 4)")
	cmd.Flags().IntVar(&f.perSource, "per-source", 0, "documents kept of each source and label (default 400)")
	cmd.Flags().Float64Var(&f.shrink, "shrink", 0, "shrinkage of the covariance, 0 to 1 (default 0.1)")
	cmd.Flags().Float64Var(&f.between, "between", 0, "share of the covariance between clean sources that is added to that within them, up to 1; negative: none (default 1)")
	cmd.Flags().StringVar(&f.date, "date", "", "date to record in the codebook (default today)")
	return cmd
}

// modelFiles opens the files of the model that the settings name.
func modelFiles(cmd *cobra.Command, o firewall.Options) (files *reading.Files, name, revision string, err error) {
	if o.Model == nil {
		w, err := safetensors.Parse(detector.Weights())
		if err != nil {
			return nil, "", "", err
		}
		return &reading.Files{Config: detector.Config(), Tokenizer: detector.Tokenizer(), Weights: w}, detector.Name, detector.Revision, nil
	}
	dir, err := o.Model.Dir(cmd.Context())
	if err != nil {
		return nil, "", "", err
	}
	if files, err = reading.OpenFiles(dir); err != nil {
		return nil, "", "", err
	}
	if r, ok := o.Model.(interface{ Revision() string }); ok {
		return files, fmt.Sprint(o.Model), r.Revision(), nil
	}
	return files, filepath.Base(filepath.Clean(dir)), "", nil
}

func runCalibrate(cmd *cobra.Command, ui *tui, set *settings, f calibrateFlags, args []string) error {
	ctx := cmd.Context()
	o, err := set.options()
	if err != nil {
		return err
	}
	if f.benign && len(args) == 0 {
		return errors.New("--benign sets thresholds on clean texts of yours: name a file of them")
	}
	usual := f.out == ""               // place for the codebook
	ownState := usual && f.state == "" // one that nobody named may be thrown away
	if usual {
		if f.out, err = bookPath(set.values["model"]); err != nil {
			return fmt.Errorf("where to write to? give -o CODEBOOK: %w", err)
		}
	}
	if ownState {
		f.state = f.out + ".state"
	}
	files, name, revision, err := modelFiles(cmd, o)
	if err != nil {
		return err
	}
	defer files.Weights.Close()
	if usual {
		if err := os.MkdirAll(filepath.Dir(f.out), 0o755); err != nil {
			return err
		}
	}
	rows := func() calibrate.Source {
		if len(args) == 0 {
			return firstRows(rowsFrom([]string{calibration.Name}, openOwn, f.leaveOut), f.rows)
		}
		return firstRows(rowsOf(args, f.leaveOut), f.rows)
	}
	total, data, err := survey(rows(), f.fitOnly)
	if err != nil {
		return err
	}
	if f.date == "" {
		f.date = time.Now().UTC().Format(time.DateOnly)
	}
	ui.say("%d texts through %s\n", total, name)
	bar := ui.bar("calibrate", total)
	opt := calibrate.Options{
		Name: name, Revision: revision, FitOnly: f.fitOnly, Arithmetic: o.Arithmetic, Threads: o.Threads, State: f.state, Data: data, Progress: bar.set, Fitting: ui.fitting(),
		Builder: codebook.Options{
			Coordinates: f.coordinates, Documents: f.perSource, Shrink: f.shrink, Between: f.between, Date: f.date,
			Command: "alknet-firewall " + strings.Join(commandLine(args, f, o.Arithmetic), " "),
			Extras:  map[string]codebook.Curve{codebook.Concealment: calibrate.ConcealmentCurve()},
		},
	}
	var book *codebook.Codebook
	if f.benign {
		var data []byte
		if data, err = bookData(ctx, o); err != nil {
			return err
		}
		var base *codebook.Codebook
		if base, err = codebook.Read(data); err != nil {
			return err
		}
		book, err = calibrate.Recalibrate(ctx, files, base, rows(), opt)
	} else {
		book, err = calibrate.Run(ctx, files, rows(), opt)
		if ownState && errors.Is(err, calibrate.ErrState) {
			ui.say("the stopped run in %s was another one; beginning anew\n", f.state)
			if err := os.RemoveAll(f.state); err != nil {
				return err
			}
			book, err = calibrate.Run(ctx, files, rows(), opt)
		}
	}
	bar.done()
	if err != nil {
		return err
	}
	if err := book.WriteFile(f.out); err != nil {
		return err
	}
	ui.say("wrote %s, which reads %s\n", f.out, strings.Join(book.Signals(), ", "))
	if omitted := book.Describe().Origin.Omitted; len(omitted) > 0 {
		ui.warn("too few texts to read %s", strings.Join(omitted, ", "))
	}
	return nil
}

const maxBook = 256 << 20 // 256 MiB, as package firewall has it

// bookData returns the codebook that screening would use.
func bookData(ctx context.Context, o firewall.Options) ([]byte, error) {
	switch {
	case o.Codebook != "":
		return reading.ReadBounded(o.Codebook, maxBook)
	case o.Model == nil:
		return detector.Codebook(), nil
	}
	dir, err := o.Model.Dir(ctx)
	if err != nil {
		return nil, err
	}
	return reading.ReadBounded(filepath.Join(dir, firewall.CodebookFile), maxBook)
}

// commandLine is what the codebook records: base names only, so that it is the
// same wherever the files lie.
func commandLine(args []string, f calibrateFlags, arithmetic string) []string {
	out := []string{"calibrate"}
	if f.benign {
		out = append(out, "--benign")
	}
	if arithmetic != "" {
		out = append(out, "--arithmetic", arithmetic)
	}
	sources := func(flag string, names []string) {
		switch {
		case len(names) > 8:
			out = append(out, flag, fmt.Sprintf("(%d sources)", len(names)))
		case len(names) > 0:
			out = append(out, flag, strings.Join(names, ","))
		}
	}
	sources("--leave-out", f.leaveOut)
	sources("--fit-only", f.fitOnly)
	if f.rows > 0 {
		out = append(out, "--rows", fmt.Sprint(f.rows))
	}
	if len(args) > 8 {
		return append(out, fmt.Sprintf("(%d files)", len(args)))
	}
	for _, a := range args {
		out = append(out, filepath.Base(a))
	}
	return out
}

// rowsOf hands out the rows of files one after another, without the sources
// that are left out. A row without a source gets the name of its file.
func rowsOf(names, leaveOut []string) calibrate.Source {
	return rowsFrom(names, func(name string) (io.ReadCloser, error) { return os.Open(name) }, leaveOut)
}

// openOwn opens the texts inside this program, whatever the name.
func openOwn(string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(calibration.Set())), nil
}

func rowsFrom(names []string, open func(name string) (io.ReadCloser, error), leaveOut []string) calibrate.Source {
	var file io.ReadCloser
	var r *corpus.Reader
	skip := map[string]bool{}
	for _, s := range leaveOut {
		skip[s] = true
	}
	return func() (corpus.Row, error) {
		for {
			if r == nil {
				if len(names) == 0 {
					return corpus.Row{}, io.EOF
				}
				var err error
				if file, err = open(names[0]); err != nil {
					return corpus.Row{}, err
				}
				if r, err = corpus.NewReader(names[0], file); err != nil {
					return corpus.Row{}, err
				}
			}
			row, err := r.Next()
			if errors.Is(err, io.EOF) {
				if err := file.Close(); err != nil {
					return corpus.Row{}, err
				}
				names, r = names[1:], nil
				continue
			}
			if err != nil {
				return corpus.Row{}, err
			}
			if row.Source == "" {
				row.Source, _, _ = strings.Cut(filepath.Base(names[0]), ".")
			}
			if !skip[row.Source] {
				return row, nil
			}
		}
	}
}

// firstRows hands out the first n rows of each source and label; all if n is 0.
func firstRows(rows calibrate.Source, n int) calibrate.Source {
	if n == 0 {
		return rows
	}
	seen := map[[2]string]int{}
	return func() (corpus.Row, error) {
		for {
			row, err := rows()
			if err != nil {
				return row, err
			}
			key := [2]string{row.Source, row.Label}
			if seen[key]++; seen[key] <= n {
				return row, nil
			}
		}
	}
}

// survey reads all rows, and returns their number and a digest of what
// calibration takes from them.
func survey(rows calibrate.Source, fitOnly []string) (n int, digest string, err error) {
	h := sha256.New()
	write := func(s ...string) {
		for _, s := range s { // the length first: no two sequences of rows look alike
			fmt.Fprintf(h, "%d ", len(s))
			io.WriteString(h, s)
		}
	}
	write(fmt.Sprint(len(fitOnly)))
	write(fitOnly...)
	for {
		row, err := rows()
		if errors.Is(err, io.EOF) {
			return n, hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return 0, "", err
		}
		write(row.Source, row.ID, row.Label, row.Kind, row.Channel, row.Text)
		n++
	}
}

func countRows(names, leaveOut []string) (int, error) {
	n, _, err := survey(rowsOf(names, leaveOut), nil)
	return n, err
}
