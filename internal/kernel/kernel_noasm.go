//go:build (!amd64 && !arm64) || purego

package kernel

func detect() []variant { return []variant{{"generic", generic, false}} }
