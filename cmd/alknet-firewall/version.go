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
			fmt.Fprintf(ui.out, "alknet-firewall %s\n%s %s/%s, kernel %s\ndetector %s %s\ncodebook format %d\n",
				versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH, kernel.Implementation(),
				detector.Name, detector.Revision, codebook.FormatVersion)
			return nil
		},
	}
}

// versionText is the release, or what the build knows of itself.
func versionText() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "devel" && info.Main.Version != "" {
		return info.Main.Version
	}
	return version
}
