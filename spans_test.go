package firewall_test

import (
	"cmp"
	"errors"
	"flag"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/internal/corpus"
)

var assembled = flag.Int("assembled", 80, "documents that TestSpansOnSharedData assembles")

// TestSpansOnSharedData puts short attacks into clean documents, both from
// sources that nothing was trained or calibrated on, and looks where an alarm
// points, at an alarm rate of 5 %. By default it takes a sample, to be quick. The published figures:
//
//	go test . -run SpansOnSharedData -v -assembled 600
func TestSpansOnSharedData(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	dir := filepath.Join("..", "shared", "data", "dev")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no labelled data: %v", err)
	}
	payloads := rowsOf(t, dir, func(r corpus.Row) bool {
		return r.Kind == "direct_injection" && len(r.Text) >= 60 && len(r.Text) <= 300
	}, "tasktracker_triggers", "piguard_valid", "spikee")
	carriers := rowsOf(t, dir, func(r corpus.Row) bool {
		return r.Label == corpus.Benign && !r.Apart() && len(r.Text) >= 1500
	}, "rust_book", "html_trafilatura", "pishield_qa")

	// At 5 %: at 1 % most of these alarm no more, and there is nothing to look at.
	fw := open(t, firewall.Options{Policy: firewall.Policy{AlarmRate: 0.05, WatchRate: 0.05}})
	alarms, hit, quiet := 0, 0, 0
	var shares []float64
	n := min(*assembled, len(payloads))
	for i := range n {
		carrier, payload := carriers[i%len(carriers)].Text[:1500], payloads[i].Text
		carrier = strings.ToValidUTF8(carrier, "")
		// The first line or sentence end behind a place that the payload's id chooses.
		at := int(order(payloads[i].ID) % uint64(len(carrier)))
		if k := strings.IndexAny(carrier[at:], ".\n"); k >= 0 {
			at += k + 1
		} else {
			at = len(carrier)
		}
		text := carrier[:at] + "\n" + payload + "\n" + carrier[at:]
		start, end := at+1, at+1+len(payload)
		v := screen(t, fw, firewall.Input{Text: text, Channel: firewall.Document})
		if screen(t, fw, firewall.Input{Text: carrier, Channel: firewall.Document}).Level < firewall.LevelAlarm {
			quiet++
		}
		if v.Level < firewall.LevelAlarm || len(v.Spans) == 0 {
			continue
		}
		alarms++
		inside, all := 0, 0
		for k, s := range v.Spans {
			both := max(0, min(s.End, end)-max(s.Start, start))
			if k == 0 && both > 0 {
				hit++
			}
			inside, all = inside+both, all+s.End-s.Start
		}
		shares = append(shares, float64(inside)/float64(max(all, 1)))
	}
	if alarms == 0 {
		t.Fatalf("no alarm on %d documents with an attack in them", n)
	}
	slices.Sort(shares)
	found := float64(hit) / float64(alarms)
	t.Logf("%d documents: %d alarm with the attack, %d of %d carriers do not without; the first span meets the attack in %.1f %% of alarms; the attack's share of the bytes of all spans: median %.2f, quartiles %.2f and %.2f",
		n, alarms, quiet, n, 100*found, shares[len(shares)/2], shares[len(shares)/4], shares[len(shares)*3/4])
	if found < 0.5 { // pointed at by chance, an attack would be met in a fifth of alarms
		t.Errorf("the first span meets the attack in %.1f %% of alarms, want 50 %%", 100*found)
	}
}

// rowsOf returns the rows of some sources that want holds for, in an order
// that depends on their ids only.
func rowsOf(t *testing.T, dir string, want func(corpus.Row) bool, sources ...string) []corpus.Row {
	t.Helper()
	var rows []corpus.Row
	for _, s := range sources {
		f, err := os.Open(filepath.Join(dir, s+".jsonl.gz"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := corpus.NewReader(s, f)
		if err != nil {
			t.Fatal(err)
		}
		for {
			row, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if want(row) {
				rows = append(rows, row)
			}
		}
		f.Close()
	}
	slices.SortFunc(rows, func(a, b corpus.Row) int {
		return cmp.Or(cmp.Compare(order(a.ID), order(b.ID)), strings.Compare(a.ID, b.ID))
	})
	if len(rows) == 0 {
		t.Fatalf("no rows of %v", sources)
	}
	return rows
}

func order(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return h.Sum64() * 0x9e3779b97f4a7c15
}
