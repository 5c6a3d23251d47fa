package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/internal/corpus"
)

type screenFlags struct {
	files   []string
	jsonl   string
	channel string
	json    bool
}

func screenCommand(ui *tui, set *settings) *cobra.Command {
	var f screenFlags
	cmd := &cobra.Command{
		Use:   "screen [TEXT | -f FILE... | - | --jsonl FILE|-]",
		Short: "Screen a text, files, standard input or a file of texts",
		Long: `Screen one text and print the verdict.

With --jsonl every line {"id","text"[,"channel"]} gives one line with a verdict
as JSON, in the order of the input; a line that cannot be screened gives a
verdict of level "unscreened" and a message on standard error.

Exit code 0: clear or watch (with --jsonl: every line was screened), 1: alarm,
2: a text was not screened.`,
		Example: `  alknet-firewall screen "What is the capital of France?"
  alknet-firewall screen --channel document -f page.html --json
  alknet-firewall screen --jsonl requests.jsonl > verdicts.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("file") { // "-f a b c" reads naturally
				f.files = append(f.files, args...)
				args = nil
			}
			err := screen(cmd.Context(), ui, set, f, args, cmd.Flags().Changed("jsonl"))
			if err != nil && !errors.As(err, new(exitStatus)) {
				ui.fail(err) // whatever it was: to a caller the text is unscreened
				return errReported
			}
			return err
		},
	}
	cmd.Flags().StringArrayVarP(&f.files, "file", "f", nil, "file to screen; more may follow")
	cmd.Flags().StringVar(&f.jsonl, "jsonl", "", "file of JSON lines to screen; - is standard input")
	cmd.Flags().StringVar(&f.channel, "channel", "user", "where the text comes from: user, document, tool or a name of yours")
	cmd.Flags().BoolVar(&f.json, "json", false, "print verdicts as JSON")
	return cmd
}

func screen(ctx context.Context, ui *tui, set *settings, f screenFlags, args []string, jsonl bool) error {
	ways := 0
	for _, used := range []bool{len(args) > 0, len(f.files) > 0, jsonl} {
		if used {
			ways++
		}
	}
	if ways != 1 || len(args) > 1 {
		return errors.New("screen what? give one TEXT in quotes, or -f FILE..., or - for standard input, or --jsonl FILE")
	}
	fw, closeAll, err := set.open(ui)
	if err != nil {
		return err
	}
	defer closeAll()
	if jsonl {
		return screenLines(ctx, ui, fw, f)
	}
	one := func(name, text string) (firewall.Level, error) {
		v, err := fw.Screen(ctx, firewall.Input{ID: name, Text: text, Channel: firewall.Channel(f.channel)})
		if f.json {
			if err := json.NewEncoder(ui.out).Encode(v); err != nil {
				return v.Level, fmt.Errorf("write verdict: %w", err)
			}
		} else if err == nil {
			ui.verdict(name, text, v)
		}
		return v.Level, err
	}
	if len(args) == 1 && args[0] != "-" {
		level, err := one("", args[0])
		return outcome(level, err)
	}
	limit := int64(firewall.DefaultMaxBytes)
	if o, err := set.options(); err == nil && o.MaxBytes > 0 {
		limit = int64(o.MaxBytes)
	}
	if len(args) == 1 {
		text, err := readAll(ui.in, limit)
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		level, err := one("", text)
		return outcome(level, err)
	}
	worst, failed := firewall.LevelUnscreened, false
	for _, name := range f.files {
		text, err := readFile(name, limit)
		var level firewall.Level
		if err == nil {
			level, err = one(name, text)
		}
		if err != nil {
			ui.fail(fmt.Errorf("%s: %w", name, err))
			failed = true
		}
		worst = max(worst, level)
	}
	if failed {
		return errReported
	}
	return outcome(worst, nil)
}

func outcome(l firewall.Level, err error) error {
	if err == nil && l == firewall.LevelAlarm {
		return errAlarm
	}
	return err
}

func readFile(name string, limit int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readAll(f, limit)
}

// readAll reads up to one byte more than the limit, so that what is too long is
// refused by the firewall with its own error.
func readAll(r io.Reader, limit int64) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	return string(b), err
}

// chunk is how many lines are screened together.
const chunk = 256

// screenLines screens JSON lines in order, a chunk at a time.
func screenLines(ctx context.Context, ui *tui, fw *firewall.Firewall, f screenFlags) error {
	name, in := "standard input", ui.in
	if f.jsonl != "-" {
		file, err := os.Open(f.jsonl)
		if err != nil {
			return err
		}
		defer file.Close()
		name, in = f.jsonl, file
	}
	r, err := corpus.NewReader(name, in)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(ui.out)
	enc := json.NewEncoder(out)
	bar := ui.bar("screen", 0)
	defer bar.done()
	unscreened, n := 0, 0
	var ins []firewall.Input
	var bad []error // by position in ins; nil where the line could be read
	for end := false; !end; {
		ins, bad = ins[:0], bad[:0]
		bytes := 0
		for len(ins) < chunk && bytes < 8<<20 {
			row, err := r.Next()
			var line *corpus.LineError
			switch {
			case errors.Is(err, io.EOF):
				end = true
			case errors.As(err, &line):
				ins = append(ins, firewall.Input{ID: fmt.Sprintf("%s:%d", name, line.Line)})
				bad = append(bad, err)
				continue
			case err != nil:
				return errors.Join(err, out.Flush())
			}
			if end {
				break
			}
			ch := row.Channel
			if ch == "" {
				ch = f.channel
			}
			ins = append(ins, firewall.Input{ID: row.ID, Text: row.Text, Channel: firewall.Channel(ch)})
			bad = append(bad, nil)
			bytes += len(row.Text)
		}
		for i, res := range fw.ScreenBatch(ctx, ins) {
			if bad[i] != nil {
				// Not even a text: nothing that a policy could pass on.
				res = firewall.Result{Verdict: firewall.Verdict{ID: ins[i].ID, Action: firewall.ActionBlock}, Err: bad[i]}
			}
			if res.Err != nil {
				unscreened++
				ui.fail(fmt.Errorf("%s: %w", printable(ins[i].ID), res.Err))
			}
			if err := enc.Encode(res.Verdict); err != nil {
				return fmt.Errorf("write verdict: %w", err)
			}
		}
		n += len(ins)
		bar.set(n)
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write verdicts: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("screen %s: stopped after %d lines: %w", name, n, err)
		}
	}
	if unscreened > 0 {
		ui.say("alknet-firewall: %d of %d lines were not screened\n", unscreened, n)
		return errReported
	}
	return nil
}
