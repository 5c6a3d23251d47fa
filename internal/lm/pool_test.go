package lm

import (
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// BenchmarkBusyNeighbour runs SmolLM2-135M's shape, six layers of it, with two
// threads while a loop that is nobody's business keeps processor 1 busy at the same
// priority, and in turn while it is stopped. It reports how much longer a pass took.
// Two processors are meant; on a larger machine run it under taskset -c 0,1.
func BenchmarkBusyNeighbour(b *testing.B) {
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		b.Skip("needs taskset")
	}
	c := smolConfig(b)
	c.Layers = 6
	m := load(b, c, memory(b, quickCheckpoint(c)), Options{Threads: 2})
	taps := []Tap{{c.Layers, Residual}}
	for _, n := range []int{32, 64, 512} {
		b.Run(fmt.Sprintf("tokens=%d", n), func(b *testing.B) {
			r, ids := m.NewRun(), randomIDs(n, c.Vocab, 1)
			passes := func(d time.Duration) (mean time.Duration) {
				forward(b, r, nil, ids, []int{n}, taps)
				start, k := time.Now(), 0
				for ; time.Since(start) < d; k++ {
					forward(b, r, nil, ids, []int{n}, taps)
				}
				return time.Since(start) / time.Duration(k)
			}
			var quiet, busy time.Duration
			for b.Loop() {
				quiet += passes(time.Second / 2)
				loop := exec.Command(taskset, "-c", "1", "sh", "-c", "while :; do :; done")
				if err := loop.Start(); err != nil {
					b.Fatal(err)
				}
				busy += passes(time.Second)
				loop.Process.Kill()
				_ = loop.Wait() // it was killed
			}
			b.ReportMetric(float64(quiet.Microseconds())/1000/float64(b.N), "quiet-ms")
			b.ReportMetric(float64(busy.Microseconds())/1000/float64(b.N), "busy-ms")
			b.ReportMetric(float64(busy)/float64(quiet), "ratio")
		})
	}
}
