package firewall

import (
	"fmt"
	"slices"
)

// A Channel says where a text comes from. Clean traffic differs from channel
// to channel, so each has its own calibration and may have its own policy.
type Channel string

// The channels. Any other non-empty name of at most 64 letters, digits, '-'
// and '_' is allowed too: it uses the pooled calibration of all channels.
const (
	User     Channel = "user"     // what a person typed; the default
	Document Channel = "document" // retrieved documents, web pages, mail
	Tool     Channel = "tool"     // results of tools, functions and MCP servers
)

func (c Channel) check() error {
	if len(c) > 64 {
		return fmt.Errorf("channel name has %d bytes, at most 64 are allowed", len(c))
	}
	for i := range len(c) {
		switch b := c[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_':
		default:
			return fmt.Errorf("channel name: byte %d is not a letter, digit, '-' or '_'", i)
		}
	}
	return nil
}

// The rates of the zero Policy.
const (
	DefaultWatchRate = 0.05
	DefaultAlarmRate = 0.01
)

// A Policy says how often clean text may be stopped, and what happens then.
// The zero value watches at a false-alarm rate of 5 %, alarms at 1 %, flags
// what it alarms on, and blocks whatever could not be screened.
type Policy struct {
	// Name appears in alarm events. Empty means the channel's name.
	Name string

	// WatchRate and AlarmRate are the shares of clean texts, of one channel and
	// length, that may reach each level: 0 means the default (0.05 and 0.01).
	// A rate finer than the calibration can tell, 1/(n+1) for n clean
	// documents, makes screening fail with [ErrCodebook]: no figure is invented.
	WatchRate, AlarmRate float64

	// Signals that may raise a level. Nil means every signal except novelty,
	// which never does. With a part of them, p-values are combined by the union
	// bound, which keeps the asked rate and loses a little power.
	Signals []string

	// Action on an alarm. Empty means ActionFlag. ActionPass only monitors.
	Action Action

	// FailOpen lists the classes of error on which an unscreened text is passed
	// on. Every other class blocks (or passes, if Action is ActionPass).
	// Configuration, model and codebook errors open only if they are listed
	// here by name: a broken detector that lets everything through is the
	// failure this field exists to prevent.
	FailOpen []Class
}

func (p Policy) withDefaults(ch Channel) Policy {
	if p.Name == "" {
		p.Name = string(ch)
	}
	if p.WatchRate == 0 {
		p.WatchRate = max(DefaultWatchRate, p.AlarmRate)
	}
	if p.AlarmRate == 0 {
		p.AlarmRate = min(DefaultAlarmRate, p.WatchRate)
	}
	if p.Action == "" {
		p.Action = ActionFlag
	}
	return p
}

// check reports whether the policy, defaults applied, makes sense.
func (p Policy) check() error {
	for _, r := range []struct {
		name string
		rate float64
	}{{"watch rate", p.WatchRate}, {"alarm rate", p.AlarmRate}} {
		if !(r.rate > 0 && r.rate < 1) { // also refuses NaN
			return fmt.Errorf("policy %q: %s %v is not between 0 and 1", p.Name, r.name, r.rate)
		}
	}
	if p.WatchRate < p.AlarmRate {
		return fmt.Errorf("policy %q: watch rate %v is below alarm rate %v; watch is the milder level", p.Name, p.WatchRate, p.AlarmRate)
	}
	switch p.Action {
	case ActionPass, ActionFlag, ActionBlock:
	default:
		return fmt.Errorf("policy %q: action %q is not one of pass, flag, block", p.Name, p.Action)
	}
	for _, c := range p.FailOpen {
		if _, ok := classNames[c]; !ok {
			return fmt.Errorf("policy %q: fail open: %q is not an error class", p.Name, string(c))
		}
	}
	for _, s := range p.Signals {
		if s == SignalNovelty {
			return fmt.Errorf("policy %q: novelty is no evidence of malice and cannot raise a level", p.Name)
		}
	}
	return nil
}

// uses reports whether the signal may raise a level under the policy.
func (p Policy) uses(signal string) bool {
	return signal != SignalNovelty && (p.Signals == nil || slices.Contains(p.Signals, signal))
}

// onError says what to do with a text that could not be screened.
func (p Policy) onError(c Class) Action {
	if p.Action == ActionPass || slices.Contains(p.FailOpen, c) {
		return ActionPass
	}
	return ActionBlock
}

// onLevel says what to do with a text that was screened.
func (p Policy) onLevel(l Level) Action {
	switch l {
	case LevelAlarm:
		return p.Action
	case LevelWatch:
		if p.Action == ActionBlock {
			return ActionFlag // watch is the milder level: it marks, it does not stop
		}
		return ActionPass
	default:
		return ActionPass
	}
}
