// Package kernel holds the arithmetic that a forward pass spends its time in:
// the product of activations with packed weights ([Matrix]), and the few vector
// operations of a Llama block ([RMSNorm], [Softmax], [SwiGLU], [Rope], [Dot]).
//
// Most callers need two calls: [Pack] (or [PackBF16]) once for each weight, and
// [Matrix.Mul] for each product. In eight bits these are [PackInt8] and
// [Int8Matrix.Mul], with the activations in [Int8Rows].
//
// The generic Go code is the definition. Assembly for AVX-512 and for AVX2 with
// FMA is an optimisation, chosen once at start from what the processor and the
// operating system offer; the build tag purego leaves it out. The two assembly
// implementations agree with each other to the last bit, and a product's rows and
// columns do not depend on what else is in the call: cutting a call in pieces, or
// batching several, changes nothing. Generic code does not ask for fused
// multiplications and agrees within the bounds that the tests state. Products in
// eight bits agree to the last bit in all of them.
//
// The package starts no goroutine. It allocates in Pack and in Reset, and once
// a scratch of 96 KiB, pooled, for each goroutine that multiplies many rows by a
// bfloat16 matrix; nothing else. It checks lengths, not values: NaN and infinities go through as
// IEEE 754 has them. Everything may be called from several goroutines at once as
// long as what one writes nobody else touches; [Use] is the exception, and is for
// tests. A wrong length is the caller's bug and panics.
package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run . matrix > ../matrix_amd64.s && go run . vector > ../vector_amd64.s && go run . int8 > ../int8_amd64.s"

// implementation names one way to run this package's float32 arithmetic, in order of
// preference: a higher one is faster.
type implementation uint8

const (
	generic implementation = iota
	avx2
	avx512
)

// variant is an implementation with or without instructions for dot products of
// eight-bit integers.
type variant struct {
	name       string
	level      implementation
	dotProduct bool
}

var (
	variants = detect() // that this machine can run, the best last
	current  = variants[len(variants)-1]

	// What current is made of.
	active     = current.level
	dotProduct = current.dotProduct
)

// Implementation returns the name of the implementation in use: "avx512-vnni", "avx512",
// "avx2-vnni", "avx2" or "generic". Those with VNNI differ from those without in
// products with an [Int8Matrix] only.
func Implementation() string { return current.name }

// Implementations returns the names of all implementations that this machine can
// run, the definition ("generic") first and the fastest last.
func Implementations() []string {
	var names []string
	for _, v := range variants {
		names = append(names, v.name)
	}
	return names
}

// Use switches the package to the named implementation until restore is called.
// It is for tests and benchmarks: nothing else of this package may run meanwhile.
// Matrices stay valid, whichever implementation was in use when they were packed.
func Use(name string) (restore func(), err error) {
	for _, v := range variants {
		if v.name == name {
			before := current
			use(v)
			return func() { use(before) }, nil
		}
	}
	return nil, fmt.Errorf("kernel: implementation %q is not available here (%v)", name, Implementations())
}

func use(v variant) { current, active, dotProduct = v, v.level, v.dotProduct }
