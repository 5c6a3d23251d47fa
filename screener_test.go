package firewall

import (
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
