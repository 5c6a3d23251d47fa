package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/internal/reading"
)

func inspectCommand(ui *tui, set *settings) *cobra.Command {
	var page string
	cmd := &cobra.Command{
		Use:   "inspect [CODEBOOK]",
		Short: "Draw what is in a codebook",
		Long: `Draw what is in a codebook: where it reads the model, the spectrum of each
signal, the clean and hostile densities of every coordinate, the weights, the
calibration and what it was made from. Without a name: the codebook that
screening would use.`,
		Example: `  alknet-firewall inspect
  alknet-firewall inspect codebook.safetensors --html codebook.html`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := set.options()
			if err != nil {
				return err
			}
			var data []byte
			if len(args) == 1 {
				data, err = reading.ReadBounded(args[0], maxBook)
			} else {
				data, err = bookData(cmd.Context(), o)
			}
			if err != nil {
				return err
			}
			book, err := codebook.Read(data)
			if err != nil {
				return err
			}
			d := book.Describe()
			if err := d.Text(ui.out); err != nil {
				return fmt.Errorf("draw codebook: %w", err)
			}
			if page == "" {
				return nil
			}
			f, err := os.Create(page)
			if err != nil {
				return err
			}
			if err := d.HTML(f); err != nil {
				f.Close()
				return fmt.Errorf("draw codebook to %s: %w", page, err)
			}
			if err := f.Close(); err != nil {
				return err
			}
			ui.say("wrote %s\n", page)
			return nil
		},
	}
	cmd.Flags().StringVar(&page, "html", "", "write a page with pictures to this file, too")
	return cmd
}
