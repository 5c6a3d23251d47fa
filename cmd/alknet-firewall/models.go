package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/alkimiadev/alknet-firewall/detector"
	"github.com/alkimiadev/alknet-firewall/hub"
)

func modelsCommand(ui *tui, set *settings) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "models",
		Short: "List detector models: the embedded one, the catalogue, the Hub's cache",
		Long: `List the embedded detector, the models of the catalogue, and the other model
revisions in the Hub's cache. A model is ready for screening when its files are
complete and it has a codebook. Nothing is connected to.`,
		Example: `  alknet-firewall models
  alknet-firewall models --json
  alknet-firewall models rm smollm2-135m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := set.load(); err != nil {
				return err
			}
			c, err := set.client(downloadAlways) // it lists, and fetches nothing
			if err != nil {
				return err
			}
			list, err := listModels(cmd.Context(), c)
			if err != nil {
				return err
			}
			return ui.models(list, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(&cobra.Command{
		Use:   "rm MODEL...",
		Short: "Remove a model revision from the Hub's cache",
		Long: `Remove one revision of a model from the Hub's cache, with the files that no other
revision shares. Other programs that use the cache lose it, too. A codebook that
was calibrated for it stays.`,
		Example: `  alknet-firewall models rm smollm2-135m`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := set.load(); err != nil {
				return err
			}
			c, err := set.client(downloadNever)
			if err != nil {
				return err
			}
			for _, name := range args {
				n, err := c.Remove(cmd.Context(), name)
				if errors.Is(err, fs.ErrNotExist) {
					ui.fail(fmt.Errorf("remove %s: it is not in the Hub cache", printable(name)))
					return exitStatus(exitNotFound)
				}
				if err != nil {
					return err
				}
				ui.say("removed %s: %s freed\n", name, size(n))
			}
			return nil
		},
	})
	return cmd
}

// A listedModel is one row of models.
type listedModel struct {
	Name     string     `json:"name"` // as --model takes it
	Repo     string     `json:"repo,omitempty"`
	Revision string     `json:"revision"`
	About    string     `json:"about,omitempty"`
	License  string     `json:"license,omitempty"`
	State    string     `json:"state"` // "embedded", "complete", "incomplete" or "absent"
	Dir      string     `json:"dir,omitempty"`
	Bytes    int64      `json:"bytes"` // on disk; of an absent one its size, -1 if unknown
	Missing  []string   `json:"missing,omitempty"`
	Refs     []string   `json:"refs,omitempty"`
	Codebook string     `json:"codebook,omitempty"` // file; empty: none, or part of the program
	Files    []fileJSON `json:"files,omitempty"`    // that this release vouches for
}

type modelList struct {
	Cache    string        `json:"cache"`
	Endpoint string        `json:"endpoint"`
	Offline  bool          `json:"offline"`
	Models   []listedModel `json:"models"`
}

func listModels(ctx context.Context, c *hub.Client) (modelList, error) {
	at := c.Settings()
	list := modelList{Cache: at.CacheDir, Endpoint: at.Endpoint, Offline: at.Offline, Models: []listedModel{{
		Name: detector.Name, Revision: detector.Revision, State: "embedded",
		Bytes: int64(len(detector.Config()) + len(detector.Tokenizer()) + len(detector.Weights()) + len(detector.Codebook())),
	}}}
	cached, err := c.Cached(ctx)
	if err != nil {
		return list, err
	}
	where := map[string]int{} // repo@commit to its place in the list
	for _, e := range hub.Catalogue() {
		m := listedModel{Name: e.Name, Repo: e.Repo, Revision: e.Commit, About: e.About, License: e.License, State: "absent", Files: filesJSON(e.Files)}
		for _, f := range e.Files {
			if m.Bytes += f.Size; f.Size < 0 {
				m.Bytes = -1 // what one file is not known of, the whole is not
				break
			}
		}
		where[e.Repo+"@"+e.Commit] = len(list.Models)
		list.Models = append(list.Models, m)
	}
	for _, k := range cached {
		key := k.Repo + "@" + k.Commit
		i, known := where[key]
		if !known {
			i = len(list.Models)
			list.Models = append(list.Models, listedModel{Name: key, Repo: k.Repo, Revision: k.Commit})
		}
		m := &list.Models[i]
		m.State, m.Dir, m.Bytes, m.Missing, m.Refs = "complete", k.Dir, k.Bytes, k.Missing, k.Refs
		if len(k.Missing) > 0 {
			m.State = "incomplete"
		}
	}
	for i := range list.Models {
		list.Models[i].Codebook = storedBook(list.Models[i].Name)
	}
	return list, nil
}

// models prints the list.
func (ui *tui) models(list modelList, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(ui.out).Encode(list)
	}
	for _, m := range list.Models {
		state := m.State
		switch {
		case m.State == "complete" && m.Codebook == "":
			state = "complete, no codebook: alknet-firewall calibrate --model " + printable(m.Name)
		case m.State == "complete":
			state = "complete, calibrated"
		case m.State == "incomplete":
			state = fmt.Sprintf("incomplete, %d files missing", len(m.Missing))
		case m.State == "absent":
			state = "not in the cache: alknet-firewall pull " + printable(m.Name)
		}
		revision := m.Revision
		if len(revision) == 40 {
			revision = revision[:8]
		}
		fmt.Fprintf(ui.out, "%-24s %-8s %10s  %s\n", printable(m.Name), revision, size(m.Bytes), state)
	}
	ui.say("cache: %s\n", list.Cache)
	return nil
}
