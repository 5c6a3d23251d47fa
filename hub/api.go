package hub

import (
	"context"
	"errors"
)

var errSkeleton = errors.New("hub: not built yet")

// Catalogue returns the models that this release knows by name.
func Catalogue() []Entry { return nil }

// A Client fetches and finds models. It is safe for concurrent use.
type Client struct{}

// New returns a Client. It connects to nothing and touches no file.
func New(opt Options) (*Client, error) { return nil, errSkeleton }

// Settings are what a Client took from its Options and the environment.
type Settings struct {
	CacheDir  string // absolute
	Endpoint  string
	Offline   bool
	TokenFrom string // where the token comes from, such as "HF_TOKEN" or a file; empty: none. Never the token
	Bars      string // HF_HUB_DISABLE_PROGRESS_BARS: "off", "on", or "" for as the program likes
}

// Settings returns what the client works with.
func (c *Client) Settings() Settings { return Settings{} }

// Resolve finds out what a name stands for. A name is a catalogue name, or
// "org/name@commit"; instead of a commit it may be a branch or tag, for which
// the Hub is asked, or the cache if offline.
func (c *Client) Resolve(ctx context.Context, name string) (Ref, error) { return Ref{}, errSkeleton }

// Plan says what Pull would fetch. It may ask the Hub for a list of files; it
// fetches none and writes nothing.
func (c *Client) Plan(ctx context.Context, name string) (Plan, error) { return Plan{}, errSkeleton }

// Pull makes the model complete in the cache and returns it. If a commit is
// complete already nothing is sent, online too.
func (c *Client) Pull(ctx context.Context, name string) (Snapshot, error) {
	return Snapshot{}, errSkeleton
}

// Find returns the model if it is complete in the cache and nothing of it
// changed since it was verified. It sends nothing. The error of an incomplete
// one is an [*IncompleteError], which is ErrOffline.
func (c *Client) Find(ctx context.Context, name string) (Snapshot, error) {
	return Snapshot{}, errSkeleton
}

// Verify reads every byte of the model in the cache again and compares hashes.
// It sends nothing and repairs nothing; Pull does.
func (c *Client) Verify(ctx context.Context, name string) (Snapshot, error) {
	return Snapshot{}, errSkeleton
}

// Cached lists the model revisions in the cache.
func (c *Client) Cached(ctx context.Context) ([]Cached, error) { return nil, errSkeleton }

// Remove deletes one revision of a model from the cache, with the files that no
// other revision uses, and returns how many bytes that freed.
func (c *Client) Remove(ctx context.Context, name string) (int64, error) { return 0, errSkeleton }

// Export copies a complete model out of the cache, verified on the way: to a
// directory, or to one file if path ends in ".tar". The directory can be
// loaded as it is; both can be imported on a machine without a network.
func (c *Client) Export(ctx context.Context, name, path string) (Snapshot, error) {
	return Snapshot{}, errSkeleton
}

// Import puts an exported directory or .tar file into the cache, verified on
// the way.
func (c *Client) Import(ctx context.Context, path string) (Snapshot, error) {
	return Snapshot{}, errSkeleton
}

// Model returns a source for firewall.Options that takes the model from the
// cache, or fetches it on first use.
func (c *Client) Model(name string) *Source { return nil }

// Model is [Client.Model] of a client with the zero Options.
func Model(name string) *Source { return nil }

// A Source is a model by name. It is a firewall.Source.
type Source struct{}

// Dir returns the model's directory, complete and verified. See [Client.Pull].
// A branch or tag is refused with ErrMoving unless Options.AcceptMoving is set.
func (s *Source) Dir(ctx context.Context) (string, error) { return "", errSkeleton }

// Revision returns the commit; empty while a branch or tag was not resolved.
func (s *Source) Revision() string { return "" }

// String returns the name.
func (s *Source) String() string { return "" }

// An IncompleteError says what the cache lacks. It is ErrOffline.
type IncompleteError struct {
	Ref
	Cache   string   // the cache's directory
	Missing []string // files; empty if not even their names are known
}

// Error names what is missing and the command that fetches it.
func (e *IncompleteError) Error() string { return "" }

// A MismatchError says that content is not what it should be. It is ErrCorrupt.
type MismatchError struct {
	Path   string // the file
	Kind   string // "sha256", "git blob hash" or "size"
	Pinned bool   // the expectation is part of this release, not of a server
	Want   string
	Got    string
}

// Error names both.
func (e *MismatchError) Error() string { return "" }

// A WaitError says that a server asked for more patience than this client has.
// It is ErrUnavailable.
type WaitError struct {
	Host string
	Wait string // what was asked for
}

// Error names both.
func (e *WaitError) Error() string { return "" }
