//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

// detect returns what processor and operating system support, the best last.
func detect() []variant {
	x := cpu.X86
	list := []variant{{"generic", generic, false}}
	if !x.HasAVX2 || !x.HasFMA {
		return list
	}
	list = append(list, variant{"avx2", avx2, false})
	if x.HasAVXVNNI {
		list = append(list, variant{"avx2-vnni", avx2, true})
	}
	if !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512DQ || !x.HasAVX512VL {
		return list
	}
	list = append(list, variant{"avx512", avx512, false})
	if x.HasAVX512VNNI {
		list = append(list, variant{"avx512-vnni", avx512, true})
	}
	return list
}
