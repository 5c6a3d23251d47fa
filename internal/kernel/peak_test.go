package kernel

import "testing"

// TestPeak: the operations that are reported are those that were done. Every loop
// counts what it adds up.
func TestPeak(t *testing.T) {
	eachImplementation(t, func(t *testing.T) {
		for _, turns := range []int{0, 1, 2, 1000, MaxPeakTurns} {
			// Two operations for each product; the lanes that the type has.
			lanes := map[implementation]int{avx512: 16, avx2: 8, generic: 1}[active]
			four := 4
			if lanes == 1 {
				four = 1
			}
			if got, want := PeakF32(turns), 2*lanes*peakSums*turns; got != want {
				t.Errorf("PeakF32(%d) = %d, want %d", turns, got, want)
			}
			if got, want := PeakInt8(turns), 2*four*lanes*peakSums*turns; got != want {
				t.Errorf("PeakInt8(%d) = %d, want %d", turns, got, want)
			}
		}
		if !panics(func() { PeakF32(MaxPeakTurns + 1) }) || !panics(func() { PeakInt8(-1) }) {
			t.Error("a number of turns that cannot be counted was accepted")
		}
	})
}

func BenchmarkPeak(b *testing.B) {
	for _, name := range Implementations() {
		restore, err := Use(name)
		if err != nil {
			b.Fatal(err)
		}
		for _, x := range []struct {
			name string
			f    func(int) int
		}{{"f32", PeakF32}, {"int8", PeakInt8}} {
			b.Run(name+"/"+x.name, func(b *testing.B) {
				operations := 0
				for b.Loop() {
					operations += x.f(1 << 16)
				}
				b.ReportMetric(float64(operations)/b.Elapsed().Seconds()/1e9, "GOP/s")
			})
		}
		restore()
	}
}
