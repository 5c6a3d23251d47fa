// Package calibration holds the texts that ship for calibrating a detector model:
// attacks, hard negatives and ordinary texts written by hand for this project,
// embedded in the binary.
//
// They are the rows of attacks-*.jsonl and benign-*.jsonl beside this file, in
// the order of the files' names; the parts-*.jsonl, which are no texts of their
// own, are left out. The package hands out bytes; it reads no rows and fits
// nothing.
package calibration

import (
	_ "embed" // the file below
)

//go:generate go test -run TestSet -update .

//go:embed set.jsonl.bz2
var set []byte

// Name stands for the set where a file's name would stand.
const Name = "calibration/set.jsonl.bz2"

// Set returns the rows, JSON Lines compressed with bzip2, in the form of
// docs/formats/corpus.md. Callers must not change the bytes.
func Set() []byte { return set }
