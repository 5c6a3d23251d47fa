package hub

import (
	"errors"
	"fmt"
	"strings"
)

// What can go wrong, for errors.Is. A command maps them to exit codes. No error
// contains a token or the query of a signed address.
var (
	// ErrName: the name can be no model's.
	ErrName = errors.New("not a model name")
	// ErrNotFound: the Hub has no such model, or hides it from this token.
	ErrNotFound = errors.New("no such model, or it is private")
	// ErrRevision: the model has no such commit, branch or tag.
	ErrRevision = errors.New("no such revision")
	// ErrEntry: the commit lacks a file, or is no model that this program reads.
	ErrEntry = errors.New("no such file")
	// ErrGated: the model's owner must let the token's owner in; the error names the page.
	ErrGated = errors.New("access must be requested")
	// ErrUnauthorised: the Hub does not accept the token; the error says where it came from.
	ErrUnauthorised = errors.New("the token is not valid")
	// ErrDisabled: the Hub has withdrawn the model.
	ErrDisabled = errors.New("the model is disabled")
	// ErrOffline: see [IncompleteError].
	ErrOffline = errors.New("offline, and not complete in the cache")
	// ErrUnavailable: no answer, or none that helps, after all tries.
	ErrUnavailable = errors.New("the Hub cannot be reached")
	// ErrNotHub: somebody answers, but not as a Hub does: a login page, a wrong commit, hostile names.
	ErrNotHub = errors.New("not an answer of a Hub")
	// ErrCorrupt: see [MismatchError].
	ErrCorrupt = errors.New("content does not match")
	// ErrNoSpace: disk, quota or inodes; the error says how much is needed if that is known.
	ErrNoSpace = errors.New("not enough space")
	// ErrReadOnly: something is missing in a cache that cannot be written.
	ErrReadOnly = errors.New("the cache cannot be written")
	// ErrLocked: another program kept a lock for Options.LockTimeout without advancing.
	ErrLocked = errors.New("another program holds the lock")
	// ErrMoving: a [Source] was asked for a branch or tag; the error names its commit.
	ErrMoving = errors.New("a branch or tag can change")
)

// An IncompleteError says what the cache lacks. It is ErrOffline.
type IncompleteError struct {
	Ref
	Cache   string   // the cache's directory
	Missing []string // files; empty if not even their names are known
}

// Error names what is missing and the command that fetches it.
func (e *IncompleteError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s ", e.Repo)
	if e.Commit != "" {
		fmt.Fprintf(&b, "at commit %s", e.Commit)
	} else {
		fmt.Fprintf(&b, "at revision %s", e.Revision)
	}
	fmt.Fprintf(&b, " is not complete in the Hub cache %s", e.Cache)
	if n := len(e.Missing); n > 0 {
		show := e.Missing[:min(n, 8)]
		fmt.Fprintf(&b, " (missing: %s", strings.Join(show, ", "))
		if n > len(show) {
			fmt.Fprintf(&b, " and %d more", n-len(show))
		}
		b.WriteString(")")
	}
	fmt.Fprintf(&b, "; fetch it online with: alknet-firewall pull %s", e.Name)
	return b.String()
}

// Is makes it ErrOffline.
func (e *IncompleteError) Is(target error) bool { return target == ErrOffline }

// A MismatchError says that content is not what it should be. It is ErrCorrupt.
type MismatchError struct {
	Path   string // the file
	Kind   string // what was compared: "sha256", "git blob hash", "size", "X-Linked-Etag", or "file" for whether it is there
	Pinned bool   // the expectation is part of this release, not of a server
	Want   string
	Got    string
}

// Error names both.
func (e *MismatchError) Error() string {
	by := ""
	if e.Pinned {
		by = " (pinned by this release)"
	}
	return fmt.Sprintf("%s: %s is %s, want %s%s", e.Path, e.Kind, e.Got, e.Want, by)
}

// Is makes it ErrCorrupt.
func (e *MismatchError) Is(target error) bool { return target == ErrCorrupt }

// A WaitError says that a server asked for more patience than this client has.
// It is ErrUnavailable.
type WaitError struct {
	Host string
	Wait string // what was asked for, such as "100000 seconds"
}

// Error names both.
func (e *WaitError) Error() string {
	return fmt.Sprintf("%s asks to wait %s before the next request, which is longer than %v", e.Host, e.Wait, maxServerWait)
}

// Is makes it ErrUnavailable.
func (e *WaitError) Is(target error) bool { return target == ErrUnavailable }

// transient marks an error after which the same request may be tried again.
type transient struct {
	error
	after int // seconds that the server asked for; 0: none
}

func (t *transient) Unwrap() error { return t.error }

func retryable(err error) error { return &transient{error: err} }
