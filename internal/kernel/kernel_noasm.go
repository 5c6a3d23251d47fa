//go:build !amd64 || purego

package kernel

func detect() []variant { return []variant{{"generic", generic, false}} }
