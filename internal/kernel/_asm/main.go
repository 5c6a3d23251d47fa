// Command asm writes the assembly of package kernel:
//
//	go run . matrix_amd64 > ../matrix_amd64.s
//
// and so on for all its files.
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
		fmt.Fprintln(os.Stderr, "usage: asm FILE, without its .s")
		os.Exit(2)
	}
	file := os.Args[1]
	if body, ok := armFiles[file]; ok {
		if err := armFile(os.Stdout, file, body); err != nil {
			fmt.Fprintln(os.Stderr, "asm:", err)
			os.Exit(1)
		}
		return
	}
	os.Args = os.Args[:1] // avo reads flags of its own, and must see none

	ConstraintExpr("!purego")
	switch file {
	case "matrix_amd64":
		matrix()
	case "vector_amd64":
		vector()
	case "attention_amd64":
		attention()
	case "int8_amd64":
		int8Products()
	case "peak_amd64":
		peak()
	default:
		fmt.Fprintf(os.Stderr, "asm: unknown file %q\n", file)
		os.Exit(2)
	}
	Generate()
}
