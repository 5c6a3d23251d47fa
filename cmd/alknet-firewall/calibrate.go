package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	firewall "github.com/alkimiadev/alknet-firewall"
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
	coordinates       int
	perSource         int
	shrink, between   float64
}

func calibrateCommand(ui *tui, set *settings) *cobra.Command {
	var f calibrateFlags
	cmd := &cobra.Command{
		Use:   "calibrate -o CODEBOOK DATA.jsonl...",
		Short: "Make a codebook for a detector model from labelled texts",
		Long: `Read labelled texts, run them through the detector model and fit a codebook.

A line is {"id","text","label":"attack"|"benign","kind","source","lang"[,"channel"]};
files may be gzip-compressed. Whole sources are held out in turn, so the more
sources, the better the thresholds travel.

With --benign no attacks are needed: the thresholds of an existing codebook are
set anew on clean traffic of yours, and what it knows of attacks stays.

The codebook is bound to the arithmetic that it was made with, int8 unless
--arithmetic says f32, and screening runs what its codebook asks for.

A run that is stopped goes on with the same command if --state was given.`,
		Example: `  alknet-firewall calibrate --model ./model -o codebook.safetensors train/*.jsonl.gz
  alknet-firewall calibrate --benign -o mine.safetensors clean-traffic.jsonl
  alknet-firewall screen --codebook mine.safetensors "What is the capital of France?"`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCalibrate(cmd, ui, set, f, args)
		},
	}
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "codebook file to write (required)")
	cmd.Flags().StringVar(&f.state, "state", "", "directory for the progress of a stopped run; empty: none is kept")
	cmd.Flags().StringSliceVar(&f.leaveOut, "leave-out", nil, "sources not to read at all, comma-separated")
	cmd.Flags().StringSliceVar(&f.fitOnly, "fit-only", nil, "sources whose clean texts set no thresholds: what the model itself was tuned on")
	cmd.Flags().BoolVar(&f.benign, "benign", false, "only set thresholds anew, from clean texts; needs an existing codebook")
	cmd.Flags().IntVar(&f.coordinates, "coordinates", 0, "coordinates of each signal (default 4)")
	cmd.Flags().IntVar(&f.perSource, "per-source", 0, "documents kept of each source and label (default 400)")
	cmd.Flags().Float64Var(&f.shrink, "shrink", 0, "shrinkage of the covariance, 0 to 1 (default 0.1)")
	cmd.Flags().Float64Var(&f.between, "between", 0, "share of the covariance between clean sources that is added to that within them, up to 1; negative: none (default 1)")
	cmd.Flags().StringVar(&f.date, "date", "", "date to record in the codebook (default today)")
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err)
	}
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
	return files, filepath.Base(filepath.Clean(dir)), "", nil
}

func runCalibrate(cmd *cobra.Command, ui *tui, set *settings, f calibrateFlags, args []string) error {
	ctx := cmd.Context()
	o, err := set.options()
	if err != nil {
		return err
	}
	files, name, revision, err := modelFiles(cmd, o)
	if err != nil {
		return err
	}
	defer files.Weights.Close()
	total, err := countRows(args, f.leaveOut)
	if err != nil {
		return err
	}
	if f.date == "" {
		f.date = time.Now().UTC().Format(time.DateOnly)
	}
	bar := ui.bar("calibrate", total)
	opt := calibrate.Options{
		Name: name, Revision: revision, FitOnly: f.fitOnly, Arithmetic: o.Arithmetic, Threads: o.Threads, State: f.state, Progress: bar.set,
		Builder: codebook.Options{
			Coordinates: f.coordinates, Documents: f.perSource, Shrink: f.shrink, Between: f.between, Date: f.date,
			Command: "alknet-firewall " + strings.Join(commandLine(args, f, o.Arithmetic), " "),
			Extras:  map[string]codebook.Curve{codebook.Concealment: calibrate.ConcealmentCurve()},
		},
	}
	var book *codebook.Codebook
	rows := rowsOf(args, f.leaveOut)
	if f.benign {
		old := detector.Codebook()
		if o.Codebook != "" {
			if old, err = os.ReadFile(o.Codebook); err != nil {
				return err
			}
		} else if dir, ok := o.Model.(firewall.Dir); ok {
			if old, err = os.ReadFile(filepath.Join(string(dir), firewall.CodebookFile)); err != nil {
				return err
			}
		}
		var base *codebook.Codebook
		if base, err = codebook.Read(old); err != nil {
			return err
		}
		book, err = calibrate.Recalibrate(ctx, files, base, rows, opt)
	} else {
		book, err = calibrate.Run(ctx, files, rows, opt)
	}
	bar.done()
	if err != nil {
		return err
	}
	if err := book.WriteFile(f.out); err != nil {
		return err
	}
	ui.say("wrote %s\n", f.out)
	return nil
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
	var file *os.File
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
				if file, err = os.Open(names[0]); err != nil {
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

func countRows(names, leaveOut []string) (int, error) {
	next, n := rowsOf(names, leaveOut), 0
	for {
		_, err := next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		n++
	}
}
