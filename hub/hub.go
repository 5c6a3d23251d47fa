// Package hub fetches detector models from the Hugging Face Hub into the
// standard Hub cache, and finds them there again without a network.
//
// [Model] is all that most programs need: a source for firewall.Options that
// downloads a model on first use. A [Client] does the same with [Options], and
// what commands need besides: [Client.Pull], [Client.Verify], [Client.Cached],
// [Client.Remove], [Client.Export], [Client.Import].
//
// The cache is the one that Python and JavaScript clients use, and files in it
// are shared both ways. This client is stricter than they are: a file becomes
// visible only after its hash was checked, a pinned commit is enforced, hashes
// of the models in the [Catalogue] are part of the program, nothing that a
// server or the cache says is trusted as a path, every wait is bounded, and a
// download continues at the exact byte where it stopped, in another process
// too.
//
// What it will not do: it never runs anything of a model repository, fetches no
// pickles, and connects to nothing but the endpoint, where the endpoint
// redirects to, and a proxy that the environment names. A token goes to the
// endpoint's own scheme, host and port and nowhere else. Offline, nothing is
// dialled and no name is looked up.
//
// Layout, rules and what was tried against 45 faults: docs/formats/hub-cache.md.
package hub

import (
	"context"
	"time"
)

// Options say how a [Client] works. The zero value takes everything from the
// environment, as the Hub's other clients do, and is what most programs want.
type Options struct {
	// CacheDir is the Hub cache. Default: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE,
	// HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub; the
	// first that is set.
	CacheDir string

	// Endpoint is the address of the Hub or of a mirror. Default: HF_ENDPOINT,
	// else https://huggingface.co. The token goes to whatever it names.
	Endpoint string

	// Token authenticates to the endpoint. Default: HF_TOKEN,
	// HUGGING_FACE_HUB_TOKEN, the file HF_TOKEN_PATH, HF_HOME/token; the first
	// that is not empty, unless HF_HUB_DISABLE_IMPLICIT_TOKEN is set.
	Token string

	// NoToken sends no token, whatever the environment holds.
	NoToken bool

	// Offline forbids every connection and every name lookup. HF_HUB_OFFLINE or
	// TRANSFORMERS_OFFLINE in the environment do the same.
	Offline bool

	// AcceptMoving lets a [Source] screen with a branch or tag, whose content
	// can change under the codebook. Default: only commits.
	AcceptMoving bool

	// Files are the files to fetch, as patterns in the Hub's form: * and ? match
	// any characters, "/" too. Default: [DetectorFiles].
	Files []string

	// NoSymlinks puts regular files into snapshots, as if the file system had
	// no symbolic links. HF_HUB_DISABLE_SYMLINKS does the same.
	NoSymlinks bool

	// Approve is asked before bytes are fetched, with what would be. An error
	// stops the download and is returned wrapped. Default: go ahead.
	Approve func(ctx context.Context, p Plan) error

	// Progress is told how a call advances: at most some ten times a second, and
	// at every change of phase. Calls do not overlap. It must not block.
	Progress func(Progress)

	// Warn is told what did not stop a call but should be known, such as that
	// the Hub could not be reached and a cached copy is used. Default: silence.
	Warn func(error)

	// HeaderTimeout bounds the wait for a connection, and then for an answer's
	// header. Default: HF_HUB_ETAG_TIMEOUT seconds, else 10 s.
	HeaderTimeout time.Duration

	// StallTimeout bounds the time without a single byte inside an answer.
	// There is no bound on the whole. Default: HF_HUB_DOWNLOAD_TIMEOUT seconds,
	// else 10 s.
	StallTimeout time.Duration

	// LockTimeout bounds the wait for another program that holds the lock of a
	// file, counted since its partial file last grew. Default: 1 minute.
	LockTimeout time.Duration
}

// DetectorFiles are the files that a detector needs, and all that is fetched
// unless Options.Files says otherwise: configuration, tokenizer and weights in
// safetensors form. Weights in other forms (ONNX, GGUF, pickles) would be
// dead weight, and pickles run code. Do not change it; Options.Files is for that.
var DetectorFiles = []string{
	"config.json",
	"tokenizer.json",
	"tokenizer_config.json",   // not read by the engine; other programs on the same cache want it
	"special_tokens_map.json", // the same
	"model.safetensors",
	"model.safetensors.index.json",
	"model-?????-of-?????.safetensors",
}

// A Ref is a model at a revision.
type Ref struct {
	Name     string // as asked for: "smollm2-135m", "org/name@revision"
	Repo     string // "HuggingFaceTB/SmolLM2-135M"
	Revision string // as asked for: commit, branch or tag; "main" if none was given
	Commit   string // 40 hex digits; empty while Revision is a branch or tag that was not resolved
}

// A File is one file of a model.
type File struct {
	Path   string // in the repository, slash-separated
	Size   int64  // bytes; -1 if not known before the Hub is asked
	SHA256 string // 64 hex digits; empty if not known
	Git    string // git's blob hash, 40 hex digits, of the content; empty if not known or if the file is kept in LFS
}

// An Entry is a model of the catalogue: what this release knows and vouches for.
type Entry struct {
	Name    string // short name
	Repo    string // "HuggingFaceTB/SmolLM2-135M"
	Commit  string // 40 hex digits
	About   string // one line for people
	License string // SPDX identifier
	Files   []File // what a detector needs of it; hashes where this release knows them
}

// A Snapshot is a model in the cache, complete and verified.
type Snapshot struct {
	Ref
	Dir     string // the directory to load: config.json, tokenizer.json, model.safetensors
	Files   []File // sorted by path, with sizes and the hashes they were checked against
	Bytes   int64  // of all Files
	Fetched int64  // bytes that this call received; 0 if everything was there
}

// A Plan is what a download would do.
type Plan struct {
	Ref
	Files   []File // all files of the model
	Bytes   int64  // of all Files
	Missing int64  // bytes that would be fetched; what a partial file holds is not counted
}

// A Cached is a model revision in the cache, complete or not.
type Cached struct {
	Repo, Commit string
	Name         string   // the catalogue's, if it is in it
	Refs         []string // branches and tags that point to it
	Dir          string   // its snapshot
	Bytes        int64    // on disk; files that revisions share count for each
	Missing      []string // files of a detector that are not there or not usable; empty: complete
}

// A Phase is what a call is doing.
type Phase string

// The phases, in order. Not every call has all of them.
const (
	PhaseResolve  Phase = "resolve"  // asking for commit and list of files
	PhaseWait     Phase = "wait"     // another program holds the lock, or the server asked for patience
	PhaseVerify   Phase = "verify"   // hashing what is there
	PhaseDownload Phase = "download" // receiving
	PhaseDone     Phase = "done"
)

// Progress says how far a call is.
type Progress struct {
	Phase   Phase
	Ref     Ref
	File    string // the file that this report is about; empty: all
	Done    int64  // bytes of all files that are there: found, resumed or received
	Total   int64  // bytes of all files; 0 while unknown
	Resumed int64  // the part of Done that this call did not receive
}
