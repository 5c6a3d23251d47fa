//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

// detect returns the implementations that processor and operating system support.
func detect() []implementation {
	x := cpu.X86
	all := []implementation{generic}
	if x.HasAVX2 && x.HasFMA {
		all = append(all, avx2)
		if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL {
			all = append(all, avx512)
		}
	}
	return all
}
