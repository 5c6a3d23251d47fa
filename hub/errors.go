package hub

import "errors"

// What can go wrong, for errors.Is. A command maps them to exit codes.
var (
	ErrName         = errors.New("not a model name")
	ErrNotFound     = errors.New("no such model, or it is private")
	ErrRevision     = errors.New("no such revision")
	ErrEntry        = errors.New("no such file")
	ErrGated        = errors.New("access must be requested")
	ErrUnauthorised = errors.New("the token is not valid")
	ErrDisabled     = errors.New("the model is disabled")
	ErrOffline      = errors.New("offline, and not complete in the cache")
	ErrUnavailable  = errors.New("the Hub cannot be reached")
	ErrNotHub       = errors.New("not an answer of a Hub")
	ErrCorrupt      = errors.New("content does not match its hash")
	ErrNoSpace      = errors.New("not enough space")
	ErrReadOnly     = errors.New("the cache cannot be written")
	ErrLocked       = errors.New("another program holds the lock")
	ErrMoving       = errors.New("a branch or tag can change")
)
