package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/alkimiadev/alknet-firewall/hub"
)

type pullFlags struct {
	list, verify, offline, json bool
	exportTo, importFrom        string
}

func pullCommand(ui *tui, set *settings) *cobra.Command {
	var f pullFlags
	cmd := &cobra.Command{
		Use:   "pull MODEL... | --import PATH",
		Short: "Download models from the Hugging Face Hub and verify them",
		Long: `Fetch what a detector needs of a model into the Hub's standard cache, where other
programs find it, too, check every file's hash, and print the directory. What is
there already is not fetched again; a download that was stopped goes on where it
was.

MODEL is a name of the catalogue (see 'alknet-firewall models') or
owner/name[@revision]. A branch or tag is resolved to a commit, which is printed:
screening wants the commit.

Where to: HF_HUB_CACHE, HF_HOME. From where: HF_ENDPOINT. As whom: HF_TOKEN.

Exit code 0: complete and verified; 2: the command failed; 3: no such model or
revision; 4: access must be requested; 5: the token is not valid; 6: with
--offline or --verify, not complete in the cache; 7: content does not match its
hash; 8: no space; 9: the Hub cannot be reached.`,
		Example: `  alknet-firewall pull smollm2-135m --list
  alknet-firewall pull smollm2-135m
  alknet-firewall pull smollm2-135m --export smollm2-135m.tar   # here
  alknet-firewall pull --import smollm2-135m.tar                # on a machine without a network
  alknet-firewall calibrate --model smollm2-135m
  alknet-firewall screen --model smollm2-135m "What is the capital of France?"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return pull(cmd.Context(), ui, set, f, args)
		},
	}
	cmd.Flags().BoolVar(&f.list, "list", false, "print the files and fetch nothing")
	cmd.Flags().BoolVar(&f.verify, "verify", false, "read every byte in the cache again, fetch nothing")
	cmd.Flags().BoolVar(&f.offline, "offline", false, "only check that the cache is complete, connect to nothing")
	cmd.Flags().StringVar(&f.exportTo, "export", "", "copy the model to this directory, or to one file if the name ends in .tar")
	cmd.Flags().StringVar(&f.importFrom, "import", "", "put an exported directory or .tar file into the cache")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object a model")
	for _, pair := range [][2]string{{"list", "verify"}, {"list", "export"}, {"import", "list"}, {"import", "verify"}, {"import", "export"}} {
		cmd.MarkFlagsMutuallyExclusive(pair[0], pair[1])
	}
	return cmd
}

func pull(ctx context.Context, ui *tui, set *settings, f pullFlags, args []string) error {
	if err := set.load(); err != nil {
		return err
	}
	switch {
	case f.importFrom != "" && len(args) > 0:
		return errors.New("--import takes the model's name from its file: give no MODEL beside it")
	case f.importFrom == "" && len(args) == 0:
		return errors.New("pull what? give a MODEL, such as smollm2-135m, or --import PATH")
	case f.exportTo != "" && len(args) > 1:
		return errors.New("--export writes one model: give one MODEL")
	}
	policy := downloadAlways // who pulls has decided
	if f.offline {
		policy = downloadNever
	}
	c, err := set.client(policy)
	if err != nil {
		return err
	}
	if f.importFrom != "" {
		s, err := c.Import(ctx, f.importFrom)
		if err != nil {
			return err
		}
		return ui.pulled(s, f.json)
	}
	var first error
	for _, name := range args {
		err := pullOne(ctx, ui, c, f, name)
		if err != nil {
			ui.fail(err)
			if first == nil {
				first = err
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	if first != nil {
		return exitStatus(exitCode(first))
	}
	return nil
}

func pullOne(ctx context.Context, ui *tui, c *hub.Client, f pullFlags, name string) error {
	if f.list {
		p, err := c.Plan(ctx, name)
		if err != nil {
			return err
		}
		return ui.plan(p, f.json)
	}
	get := c.Pull
	switch {
	case f.verify:
		get = c.Verify
	case f.offline:
		get = c.Find
	}
	s, err := get(ctx, name)
	if err == nil && f.exportTo != "" {
		_, err = c.Export(ctx, name, f.exportTo)
	}
	if err != nil {
		return err
	}
	if f.exportTo != "" {
		ui.say("exported %s to %s\n", name, f.exportTo)
	}
	return ui.pulled(s, f.json)
}

// The JSON of pull and models is described in docs/formats/cli.md.

type fileJSON struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"` // -1 if unknown
	SHA256 string `json:"sha256,omitempty"`
	Git    string `json:"git,omitempty"`
}

func filesJSON(files []hub.File) []fileJSON {
	out := []fileJSON{}
	for _, f := range files {
		out = append(out, fileJSON{f.Path, f.Size, f.SHA256, f.Git})
	}
	return out
}

// pulled prints a model that is complete: its directory, or JSON, to standard
// output; what else a person may want to know to standard error.
func (ui *tui) pulled(s hub.Snapshot, asJSON bool) error {
	if s.Revision != s.Commit {
		ui.say("%s is %s@%s now\n", s.Name, s.Repo, s.Commit)
	}
	ui.say("%s: %d files, %s, verified; %s fetched\n", s.Name, len(s.Files), size(s.Bytes), size(s.Fetched))
	if !asJSON {
		fmt.Fprintln(ui.out, s.Dir)
		return nil
	}
	return json.NewEncoder(ui.out).Encode(struct {
		Model   string     `json:"model"`
		Repo    string     `json:"repo"`
		Commit  string     `json:"commit"`
		Dir     string     `json:"dir"`
		Bytes   int64      `json:"bytes"`
		Fetched int64      `json:"fetched"`
		Files   []fileJSON `json:"files"`
	}{s.Name, s.Repo, s.Commit, s.Dir, s.Bytes, s.Fetched, filesJSON(s.Files)})
}

// plan prints the files of a model.
func (ui *tui) plan(p hub.Plan, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(ui.out).Encode(struct {
			Model   string     `json:"model"`
			Repo    string     `json:"repo"`
			Commit  string     `json:"commit"`
			Bytes   int64      `json:"bytes"`
			Missing int64      `json:"missing"`
			Files   []fileJSON `json:"files"`
		}{p.Name, p.Repo, p.Commit, p.Bytes, p.Missing, filesJSON(p.Files)})
	}
	ui.say("%s: %s@%s, %s, of which %s are to be fetched\n", p.Name, p.Repo, p.Commit, size(p.Bytes), size(p.Missing))
	for _, f := range p.Files {
		digest := "-"
		switch {
		case f.SHA256 != "":
			digest = "sha256:" + f.SHA256
		case f.Git != "":
			digest = "git:" + f.Git
		}
		fmt.Fprintf(ui.out, "%12d  %-28s  %s\n", f.Size, f.Path, digest)
	}
	return nil
}
