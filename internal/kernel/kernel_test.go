package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// eachImplementation runs f as a subtest under every implementation of this
// machine, and says which ones it has not.
func eachImplementation(t *testing.T, f func(t *testing.T)) {
	names := Implementations()
	if len(names) < 2 {
		t.Logf("only %v can be tested on this machine", names)
	}
	for _, name := range names {
		restore, err := Use(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, f)
		restore()
	}
}

func TestUse(t *testing.T) {
	before := Implementation()
	if names := Implementations(); names[0] != "generic" || !slices.Contains(names, before) {
		t.Errorf("Implementations() = %v, want generic first and %s among them", names, before)
	}
	restore, err := Use("generic")
	if err != nil {
		t.Fatal(err)
	}
	if got := Implementation(); got != "generic" {
		t.Errorf("Implementation() = %s after Use(generic)", got)
	}
	restore()
	if got := Implementation(); got != before {
		t.Errorf("Implementation() = %s after restore, want %s", got, before)
	}
	if _, err := Use("abacus"); err == nil {
		t.Error("Use(abacus) = nil error")
	}
}

// canary is a NaN that no arithmetic makes: written over it shows, and read into a
// sum it shows too.
var canary = math.Float32frombits(0x7fc0dead)

// margin is the number of canaries on either side of a guarded slice: two tiles.
const margin = 64

// guarded returns a slice of n values that begins at the given offset from a
// multiple of 64 bytes, with canaries on both sides, and a function that tells
// whether they still sing.
func guarded(n, offset int) (x []float32, intact func() bool) {
	buf := make([]float32, n+2*margin+32)
	for i := range buf {
		buf[i] = canary
	}
	begin := margin
	for uintptr(unsafe.Pointer(&buf[begin]))%64 != 0 {
		begin++
	}
	begin += offset
	return buf[begin:][:n:n], func() bool {
		for i, v := range buf {
			if (i < begin || i >= begin+n) && math.Float32bits(v) != math.Float32bits(canary) {
				return false
			}
		}
		return true
	}
}

// fill writes random values of both signs and of magnitudes around scale.
func fill(r *rand.Rand, x []float32, scale float64) {
	for i := range x {
		x[i] = float32(r.NormFloat64() * scale)
	}
}

func newRand(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

// nmse compares as style.md asks: a NaN or an infinity must stand where it stands in
// want, and if they do, what remains is Σ(got-want)²/Σsize², where size is want
// itself or, for sums that may cancel, the sum of the absolute terms.
func nmse(got []float32, want, size []float64) float64 {
	var num, den float64
	for i, w := range want {
		g := float64(got[i])
		if math.IsNaN(w) || math.IsInf(w, 0) || math.IsNaN(g) || math.IsInf(g, 0) {
			if math.IsNaN(w) && math.IsNaN(g) || g == w {
				continue
			}
			return math.Inf(1)
		}
		num += (g - w) * (g - w)
		den += size[i] * size[i]
	}
	if num == 0 {
		return 0
	}
	return num / den // +Inf where zeros were wanted
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool {
		return math.Float32bits(x) == math.Float32bits(y) || x != x && y != y
	})
}

// panics reports whether f panics with a message of this package.
func panics(f func()) (yes bool) {
	defer func() {
		s, ok := recover().(string)
		yes = ok && len(s) > 8 && s[:8] == "kernel: "
	}()
	f()
	return false
}
