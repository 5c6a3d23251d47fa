// Package detector holds nano, the detector that needs no network: the weights
// of a small language model, its tokenizer and its codebook, embedded in the
// binary.
//
// The files are in Hugging Face layout and are loaded by the same code as any
// other model. What nano was trained on, its licences and figures stand in
// MODEL_CARD.md beside this file. The package hands out bytes; it loads and
// scores nothing.
package detector

import (
	_ "embed" // the files below
)

// Name and Revision appear in every verdict of the embedded detector. The
// revision changes with the weights.
const (
	Name     = "nano"
	Revision = "nano-3"
)

var (
	//go:embed config.json
	config []byte
	//go:embed tokenizer.json
	tokenizer []byte
	//go:embed model.safetensors
	weights []byte
	//go:embed codebook.safetensors
	codebook []byte
	//go:embed testdata/goldens.json
	goldens []byte
)

// Config returns config.json. Callers must not change the bytes; so for all of
// this package.
func Config() []byte { return config }

// Tokenizer returns tokenizer.json.
func Tokenizer() []byte { return tokenizer }

// Weights returns model.safetensors.
func Weights() []byte { return weights }

// Codebook returns the codebook that was calibrated for the weights.
func Codebook() []byte { return codebook }

// Goldens returns what an independent implementation computes with the weights, in
// float64, for doctor and for tests: {"texts":[{"text","ids","layers"}]}, ids with
// <|endoftext|> before and <|close|> after the text, and of the last position the
// embedding and the state after each block.
func Goldens() []byte { return goldens }
