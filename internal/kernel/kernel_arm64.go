//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

// detect returns what the processor supports, the best last. NEON is part of every
// 64-bit Arm.
func detect() []variant {
	list := []variant{{"generic", generic, false}, {"neon", neon, false}}
	if cpu.ARM64.HasASIMDDP {
		list = append(list, variant{"neon-dotprod", neon, true})
	}
	return list
}
