//go:build !purego

package kernel

import (
	"testing"

	"golang.org/x/sys/cpu"
)

// TestPeakLoops counts with every loop that this machine can run, those that
// dispatch would pass over included.
func TestPeakLoops(t *testing.T) {
	const turns = 1001
	for _, x := range []struct {
		name string
		can  bool
		f    func(int) int32
		want int32
	}{
		{"peakInt8VNNI", best == avx512 && cpu.X86.HasAVX512VNNI, peakInt8VNNI, 4 * peakSums * turns},
		{"peakInt8AVX512", best == avx512, peakInt8AVX512, 4 * peakSums * turns},
		{"peakInt8AVX2", best >= avx2, peakInt8AVX2, 4 * peakSums * turns},
	} {
		if !x.can {
			t.Logf("%s cannot run here", x.name)
		} else if got := x.f(turns); got != x.want {
			t.Errorf("%s(%d) = %d, want %d", x.name, turns, got, x.want)
		}
	}
}
