//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

// detect returns the fastest implementation that processor and operating system
// support.
func detect() implementation {
	x := cpu.X86
	switch {
	case x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX2 && x.HasFMA:
		return avx512
	case x.HasAVX2 && x.HasFMA:
		return avx2
	}
	return generic
}
