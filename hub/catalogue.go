package hub

import "slices"

// catalogue is the manifest in the binary: what this release vouches for. A
// size of -1 and an empty hash mean that the file could not be had where this
// was written; they are taken from the Hub's list of the pinned commit. What is
// written here wins over the Hub: a difference is an error.
//
// Sources: commits and sha256 of model.safetensors from the Hub's pages; the
// rest by sha256sum and git hash-object of copies of the files, each of which
// matches the sha256 that is published for it.
var catalogue = entries{
	{
		Name:    "smollm2-135m",
		Repo:    "HuggingFaceTB/SmolLM2-135M",
		Commit:  "93efa2f097d58c2a74874c7e644dbc9b0cee75a2",
		About:   "SmolLM2, 135 million parameters, base model",
		License: "Apache-2.0",
		Files: []File{
			{Path: "config.json", Size: -1},
			{Path: "model.safetensors", Size: -1, SHA256: "80521b40281d6ce74e35c9282c22539e75aa0ac8578892b2a59955ef78d55da1"},
			{
				Path: "tokenizer.json", Size: 2104556,
				SHA256: "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c",
				Git:    "f922b1797f0c88e71addc8393787831f2477a4bd",
			},
		},
	},
	{
		Name:    "smollm2-135m-instruct",
		Repo:    "HuggingFaceTB/SmolLM2-135M-Instruct",
		Commit:  "12fd25f77366fa6b3b4b768ec3050bf629380bac",
		About:   "SmolLM2, 135 million parameters, trained to follow instructions",
		License: "Apache-2.0",
		Files: []File{
			{
				Path: "config.json", Size: 861,
				SHA256: "8eb740e8bbe4cff95ea7b4588d17a2432deb16e8075bc5828ff7ba9be94d982a",
				Git:    "36293b6099200eb8aeb55ae2c01bca2ba46d80d0",
			},
			{Path: "model.safetensors", Size: -1, SHA256: "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"},
			{Path: "tokenizer.json", Size: -1},
		},
	},
}

// Catalogue returns the models that this release knows by name, with what it
// vouches for.
func Catalogue() []Entry {
	out := slices.Clone([]Entry(catalogue))
	for i := range out {
		out[i].Files = slices.Clone(out[i].Files)
	}
	return out
}
