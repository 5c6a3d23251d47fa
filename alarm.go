package firewall

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"
)

// Signals of the built-in alarms.
const (
	SignalOverride    = "override"    // orders to the reading model: injection, instruction override
	SignalJailbreak   = "jailbreak"   // talking the model out of its rules
	SignalExtraction  = "extraction"  // asking for the system prompt or secrets
	SignalConcealment = "concealment" // hidden, disguised or encoded payloads
	SignalNovelty     = "novelty"     // unlike anything calibrated; never raises a level
)

// An Alarm turns the activations of one text into a reading with a p-value.
// The built-in alarms read the codebook; others are given in Options.Alarms.
type Alarm interface {
	// Watch starts on one text and returns what will see its activations. It
	// is called from many goroutines at once.
	Watch(ch Channel) Watcher
}

// A Watcher follows one text. Its methods are called by one goroutine.
type Watcher interface {
	// Observe sees the activations of the next span. It must not keep a.Vector.
	Observe(a Activations)
	// Reading says what was seen so far. It is called after the last span,
	// and on a stream also in between.
	Reading() Reading
}

// Activations are the hidden states over one span of tokens.
type Activations struct {
	Start, End int // bytes of the original text, half open
	Lane       int // 0: the text as written; others: second looks at undone or decoded text
	// Vector holds the codebook's sites one after another, each Dim values:
	// (sites, dim). It is overwritten after the call.
	Vector []float32
}

// A Reading is what an alarm makes of one text.
type Reading struct {
	Name   string  // of the signal; must not be one of the built-in names
	Score  float64 // log-odds or any other rising figure
	PValue float64 // P(clean text scores at least this high), in (0, 1]
	Spans  []Span
}

func (r Reading) check() error {
	switch r.Name {
	case "", SignalOverride, SignalJailbreak, SignalExtraction, SignalConcealment, SignalNovelty:
		return fmt.Errorf("an alarm's reading is named %q, which is empty or built in", r.Name)
	}
	if math.IsNaN(r.Score) || math.IsInf(r.Score, 0) {
		return fmt.Errorf("alarm %q: score %v is not finite", r.Name, r.Score)
	}
	if !(r.PValue > 0 && r.PValue <= 1) {
		return fmt.Errorf("alarm %q: p-value %v is outside (0, 1]", r.Name, r.PValue)
	}
	return nil
}

// unionP combines p-values of which some may be dependent in any way: the
// chance that one of n is as small as the smallest is at most n times it
// (Bonferroni's inequality), so the asked false-alarm rate is kept.
func unionP(smallest float64, n int) float64 { return min(1, smallest*float64(n)) }

// An Event is raised when a text crosses a policy's limit, or could not be
// screened. It never contains the text.
type Event struct {
	Schema   int       `json:"schema"`
	ID       string    `json:"id"` // random, 32 hex digits
	Time     time.Time `json:"time"`
	Input    string    `json:"input"` // the caller's id of the text
	Channel  Channel   `json:"channel"`
	Policy   string    `json:"policy"`
	Level    Level     `json:"level"`
	Action   Action    `json:"action"`
	Signal   string    `json:"signal,omitempty"` // the strongest
	LogOdds  float64   `json:"log_odds"`
	PValue   float64   `json:"p_value"`
	Spans    []Span    `json:"spans"`
	Detector Detector  `json:"detector"`
	Error    Class     `json:"error,omitempty"` // why an unscreened text is unscreened
	Early    bool      `json:"early,omitempty"` // raised before the end of a stream
}

// A Sink receives events. It is called from many goroutines at once, before
// the call that screened the text returns; a slow sink slows screening down.
// Its error is reported to Options.SinkError and changes no verdict.
type Sink interface {
	Event(ctx context.Context, e Event) error
}

// SinkFunc makes a function a Sink.
type SinkFunc func(ctx context.Context, e Event) error

// Event calls f.
func (f SinkFunc) Event(ctx context.Context, e Event) error { return f(ctx, e) }

// JSONLines returns a Sink that writes one line of JSON an event to w.
func JSONLines(w io.Writer) Sink {
	var mu sync.Mutex
	return SinkFunc(func(_ context.Context, e Event) error {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("encode alarm event: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if _, err := w.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("write alarm event: %w", err)
		}
		return nil
	})
}

// Slog returns a Sink that logs events: alarms as warnings, watches as
// information, unscreened texts as errors.
func Slog(l *slog.Logger) Sink {
	return SinkFunc(func(ctx context.Context, e Event) error {
		level := slog.LevelInfo
		switch e.Level {
		case LevelAlarm:
			level = slog.LevelWarn
		case LevelUnscreened:
			level = slog.LevelError
		}
		l.LogAttrs(ctx, level, "firewall "+e.Level.String(),
			slog.String("event", e.ID), slog.String("input", e.Input), slog.String("channel", string(e.Channel)),
			slog.String("policy", e.Policy), slog.String("action", string(e.Action)), slog.String("signal", e.Signal),
			slog.Float64("log_odds", e.LogOdds), slog.Float64("p_value", e.PValue), slog.Any("spans", e.Spans),
			slog.String("model", e.Detector.Model), slog.String("codebook", e.Detector.Codebook), slog.String("error", string(e.Error)))
		return nil
	})
}

func eventID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}
