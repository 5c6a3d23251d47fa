package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/alkimiadev/alknet-firewall/codebook"
	"github.com/alkimiadev/alknet-firewall/detector"
	"github.com/alkimiadev/alknet-firewall/internal/kernel"
)

func versionCommand(ui *tui) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of program, detector and formats",
		Example: "  alknet-firewall version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version
			if info, ok := debug.ReadBuildInfo(); ok && v == "devel" && info.Main.Version != "" {
				v = info.Main.Version
			}
			fmt.Fprintf(ui.out, "alknet-firewall %s\n%s %s/%s, kernel %s\ndetector %s %s\ncodebook format %d\n",
				v, runtime.Version(), runtime.GOOS, runtime.GOARCH, kernel.Implementation(),
				detector.Name, detector.Revision, codebook.FormatVersion)
			return nil
		},
	}
}
