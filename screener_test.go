package firewall

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/alkimiadev/alknet-firewall/codebook"
)

// TestWorse: a second look with higher log-odds but a commoner score must not
// displace a rarer first look, or a decoy could talk an alarm down.
func TestWorse(t *testing.T) {
	rare := codebook.Assessment{LogOdds: 5.0, PValue: 0.002}
	decoy := codebook.Assessment{LogOdds: 5.2, PValue: 0.012}
	if worse(&decoy, &rare) || !worse(&rare, &decoy) {
		t.Error("the commoner score counts as the worse one")
	}
	higher := codebook.Assessment{LogOdds: 6, PValue: 0.002}
	if !worse(&higher, &rare) || worse(&rare, &higher) {
		t.Error("among equal p-values the higher log-odds must decide")
	}
}

// TestTrim: what a long text needed is given back with its slot.
func TestTrim(t *testing.T) {
	fw, err := Open(Options{Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer fw.Close()
	text := strings.Repeat("The committee met on Tuesday and agreed on the budget for the new library building.\n", 1100)
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	// Enough for full passes: the arena does not grow any more.
	if _, err = fw.Screen(context.Background(), Input{Text: text[:20000]}); err != nil {
		t.Fatal(err)
	}
	before := heap()
	v, err := fw.Screen(context.Background(), Input{Text: text})
	if err != nil {
		t.Fatal(err)
	}
	if spans := v.Coverage.Tokens / 16; spans < keepSpans*11/10 {
		t.Fatalf("a text of %d spans does not show what is given back", spans)
	}
	s := <-fw.slots
	if cap(s.raw.evidence) > keepSpans {
		t.Errorf("an idle slot has room for %d spans, want at most %d", cap(s.raw.evidence), keepSpans)
	}
	fw.slots <- s
	grown := heap() - before
	t.Logf("after %d bytes of text the heap has grown by %d", len(text), grown)
	if grown > 64<<10 {
		t.Errorf("after %d bytes of text the heap has grown by %d, want at most 64 KiB", len(text), grown)
	}
}
