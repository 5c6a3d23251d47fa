// Command asm writes the amd64 assembly of package kernel:
//
//	go run . matrix > ../matrix_amd64.s
//	go run . vector > ../vector_amd64.s
//	go run . int8 > ../int8_amd64.s
//
// It has a module of its own so that avo never reaches the users of the
// firewall. A test of package kernel runs it and compares.
package main

import (
	"fmt"
	"os"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: asm matrix|vector|int8")
		os.Exit(2)
	}
	file := os.Args[1]
	os.Args = os.Args[:1] // avo reads flags of its own, and must see none

	ConstraintExpr("!purego")
	switch file {
	case "matrix":
		matrix()
	case "vector":
		vector()
	case "int8":
		int8Products()
	default:
		fmt.Fprintf(os.Stderr, "asm: unknown file %q\n", file)
		os.Exit(2)
	}
	Generate()
}
