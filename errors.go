package firewall

import (
	"context"
	"errors"
	"fmt"
)

// A Class sorts errors by what can be done about them. Policies name classes
// to say on which of them a text is passed on unscreened.
type Class string

// The classes of error.
const (
	ClassInput     Class = "input"     // the text or its description is not acceptable: too long, bad channel
	ClassConfig    Class = "config"    // options or a policy make no sense
	ClassModel     Class = "model"     // the detector model is missing, unreadable or wrong
	ClassCodebook  Class = "codebook"  // the codebook is missing, unreadable, of another model, or cannot tell the asked rate
	ClassResources Class = "resources" // memory, or the firewall is closed or overloaded
	ClassCancelled Class = "cancelled" // the caller's context ended
)

var classNames = map[Class]string{
	ClassInput:     "input",
	ClassConfig:    "config",
	ClassModel:     "model",
	ClassCodebook:  "codebook",
	ClassResources: "resources",
	ClassCancelled: "cancelled",
}

// Sentinels, one a class, for errors.Is.
var (
	ErrInput     = &Error{Class: ClassInput}
	ErrConfig    = &Error{Class: ClassConfig}
	ErrModel     = &Error{Class: ClassModel}
	ErrCodebook  = &Error{Class: ClassCodebook}
	ErrResources = &Error{Class: ClassResources}
	ErrCancelled = &Error{Class: ClassCancelled}
)

// An Error is a failure to screen, or to get ready for it. It never contains
// any of the screened text.
type Error struct {
	Class Class
	Op    string // what was being done, such as "load model"
	Err   error  // the cause
}

// Error returns "what was being done: cause".
func (e *Error) Error() string {
	switch {
	case e.Err == nil && e.Op == "":
		return string(e.Class) + " error"
	case e.Err == nil:
		return e.Op
	case e.Op == "":
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrModel) true for every error of that class.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Op == "" && t.Err == nil && t.Class == e.Class
}

// failure wraps err as an Error of the class, unless the cause is the end of a
// context or already has a class of its own.
func failure(class Class, op string, err error) *Error {
	var e *Error
	if errors.As(err, &e) && e.Class != "" {
		class = e.Class
	} else if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		class = ClassCancelled
	}
	return &Error{Class: class, Op: op, Err: err}
}

func failuref(class Class, op, format string, args ...any) *Error {
	return failure(class, op, fmt.Errorf(format, args...))
}
