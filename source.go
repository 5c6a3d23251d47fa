package firewall

import "context"

// A Source finds the detector model. hub.Model is one that downloads; [Dir] is
// a plain directory; no source at all means the embedded detector.
//
// A Source may have more methods. String() string names it in verdicts and
// errors. Revision() string, asked after Dir, is the commit or version that
// verdicts carry. Progress() (done, total int64) tells, at any time and from any
// goroutine, how many bytes of the model are there and how many there will be.
type Source interface {
	// Dir returns a directory that holds config.json, tokenizer.json and
	// model.safetensors (or its shards) in Hugging Face layout, complete and
	// verified, and that stays as it is until the process ends. It may take
	// long and must stop when ctx ends, which is when the Firewall is closed and
	// not when the caller that wanted the model has gone. It is called again
	// after a failure, and never by two goroutines of one Firewall at once.
	Dir(ctx context.Context) (string, error)
}

// Dir is a Source: a directory on disk.
type Dir string

// Dir returns the directory's name.
func (d Dir) Dir(context.Context) (string, error) { return string(d), nil }

// String names the source in verdicts.
func (d Dir) String() string { return string(d) }
