//go:build !purego

package kernel

// detect returns the implementations that the processor supports: NEON is part of
// every 64-bit Arm.
func detect() []implementation { return []implementation{generic, neon} }
