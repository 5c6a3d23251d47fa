package firewall

import (
	"encoding/json"
	"fmt"
	"time"
)

// Schema is the version of the JSON that a [Verdict] and an [Event] marshal to.
// It grows when a key changes its meaning; new keys do not change it.
// The keys are described in docs/formats/verdict.md.
const Schema = 1

// A Level says what a policy makes of one text.
//
// Clear, watch and alarm are ordered. Unscreened, the zero value, is not a
// level of danger: it says that no verdict exists, so a comparison such as
// v.Level >= LevelAlarm is meaningful only once the error of the call was
// looked at.
type Level int8

// The levels. A zero Verdict reads "unscreened".
const (
	LevelUnscreened Level = iota
	LevelClear
	LevelWatch
	LevelAlarm
)

var levelNames = [...]string{"unscreened", "clear", "watch", "alarm"}

// String returns the name used in JSON: "unscreened", "clear", "watch" or "alarm".
func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return fmt.Sprintf("Level(%d)", int8(l))
	}
	return levelNames[l]
}

// MarshalText writes the level's name. A value outside the four levels is an error.
func (l Level) MarshalText() ([]byte, error) {
	if l < 0 || int(l) >= len(levelNames) {
		return nil, fmt.Errorf("marshal level: %d is not a level", int8(l))
	}
	return []byte(levelNames[l]), nil
}

// UnmarshalText reads what MarshalText wrote.
func (l *Level) UnmarshalText(b []byte) error {
	for i, name := range levelNames {
		if name == string(b) {
			*l = Level(i)
			return nil
		}
	}
	return fmt.Errorf("unmarshal level: unknown name of %d bytes", len(b))
}

// An Action is what the caller should do with the text.
type Action string

// The actions, from harmless to strict. A verdict carries one; the firewall
// itself never withholds a text.
const (
	ActionPass  Action = "pass"  // hand the text on
	ActionFlag  Action = "flag"  // hand it on, marked
	ActionBlock Action = "block" // do not hand it on
)

// A Verdict is the outcome of screening one text. It never contains any of
// the text: spans are byte offsets into what the caller passed in.
type Verdict struct {
	ID     string
	Level  Level
	Action Action

	// LogOdds is the composed evidence, natural log, unbounded. It ranks texts
	// of any length against each other. Score is the same squeezed into (0, 1)
	// by the logistic function; it is not a probability of anything.
	LogOdds float64
	Score   float64

	// PValue is the probability that clean text of the same channel and length
	// scores at least this high, counted over Calibration clean documents. It
	// is never smaller than 1/(Calibration+1).
	PValue      float64
	Calibration int

	// Threshold is the log-odds from which the policy raises an alarm on a
	// text of this channel and length. It decides alone when there was no second
	// look, no alarm of the user's and every signal counts; otherwise the p-value
	// does, which then is a union bound.
	Threshold float64

	Signals  []Signal
	Spans    []Span
	Findings []Finding
	Why      *Explanation
	Coverage Coverage
	Detector Detector
	Elapsed  time.Duration
}

// A Signal is one named behaviour and how strongly a text shows it.
type Signal struct {
	Name   string  `json:"name"`
	Score  float64 `json:"score"`   // log-odds, natural log
	PValue float64 `json:"p_value"` // over clean documents of the same channel and length
	Level  Level   `json:"level"`
}

// A Span is a byte range of the original text, half open, that carried evidence.
type Span struct {
	Start  int     `json:"start"`
	End    int     `json:"end"`
	Signal string  `json:"signal"`
	Score  float64 `json:"score"` // log-odds of the strongest reading inside
}

// A Finding is a run of hidden or deceptive characters.
type Finding struct {
	Kind  string `json:"kind"`
	Start int    `json:"start"`
	End   int    `json:"end"`
	Count int    `json:"count"` // characters concerned
}

// An Explanation is the arithmetic behind a verdict's strongest signal:
// Bias plus the sum of all contributions equals the signal's score.
type Explanation struct {
	Signal        string         `json:"signal"`
	Bias          float64        `json:"bias"`
	Contributions []Contribution `json:"contributions"`
	// Exemplars are ids of the calibration documents nearest to the deciding
	// span, nearest first.
	Exemplars []string `json:"exemplars,omitempty"`
}

// A Contribution is one term of an explanation.
type Contribution struct {
	Coordinate string  `json:"coordinate"`
	Value      float64 `json:"value"` // log-odds added
	// Tail is the probability that a clean span lies at least this far out on
	// the coordinate. It is 1 for terms that are not coordinates.
	Tail float64 `json:"tail"`
}

// Coverage says which bytes were in fact screened.
type Coverage struct {
	Bytes    int  `json:"bytes"`   // length of the text
	Tokens   int  `json:"tokens"`  // of the text as written
	Windows  int  `json:"windows"` // forward passes, second looks included
	Lost     int  `json:"lost"`    // bytes that the tokenizer has no entry for
	Complete bool `json:"complete"`
}

// Detector names what produced a verdict, so that it can be reproduced.
type Detector struct {
	Name     string `json:"name"`
	Model    string `json:"model"`    // sha256 of configuration and weights, hex
	Revision string `json:"revision"` // commit or version of the weights
	Codebook string `json:"codebook"` // sha256 of the codebook file, hex
}

type verdictJSON struct {
	Schema      int          `json:"schema"`
	ID          string       `json:"id"`
	Level       Level        `json:"level"`
	Action      Action       `json:"action"`
	LogOdds     *float64     `json:"log_odds"`
	Score       *float64     `json:"score"`
	PValue      *float64     `json:"p_value"`
	Calibration int          `json:"calibration"`
	Threshold   *float64     `json:"threshold"`
	Signals     []Signal     `json:"signals"`
	Spans       []Span       `json:"spans"`
	Findings    []Finding    `json:"findings"`
	Why         *Explanation `json:"why,omitempty"`
	Coverage    Coverage     `json:"coverage"`
	Detector    Detector     `json:"detector"`
	ElapsedMS   float64      `json:"elapsed_ms"`
}

// MarshalJSON writes the form of docs/formats/verdict.md. The figures of an
// unscreened verdict are null: there are none.
func (v Verdict) MarshalJSON() ([]byte, error) {
	j := verdictJSON{
		Schema: Schema, ID: v.ID, Level: v.Level, Action: v.Action, Calibration: v.Calibration,
		Signals: v.Signals, Spans: v.Spans, Findings: v.Findings, Why: v.Why,
		Coverage: v.Coverage, Detector: v.Detector,
		ElapsedMS: float64(v.Elapsed.Microseconds()) / 1000,
	}
	if v.Level != LevelUnscreened {
		j.LogOdds, j.Score, j.PValue, j.Threshold = &v.LogOdds, &v.Score, &v.PValue, &v.Threshold
	}
	if j.Signals == nil {
		j.Signals = []Signal{}
	}
	if j.Spans == nil {
		j.Spans = []Span{}
	}
	if j.Findings == nil {
		j.Findings = []Finding{}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote. An unknown schema is an error.
func (v *Verdict) UnmarshalJSON(b []byte) error {
	var j verdictJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.Schema != Schema {
		return fmt.Errorf("unmarshal verdict: schema %d, this build reads %d", j.Schema, Schema)
	}
	figure := func(p *float64) float64 {
		if p == nil {
			return 0
		}
		return *p
	}
	*v = Verdict{
		ID: j.ID, Level: j.Level, Action: j.Action, Calibration: j.Calibration,
		LogOdds: figure(j.LogOdds), Score: figure(j.Score), PValue: figure(j.PValue), Threshold: figure(j.Threshold),
		Signals: j.Signals, Spans: j.Spans, Findings: j.Findings, Why: j.Why,
		Coverage: j.Coverage, Detector: j.Detector,
		Elapsed: time.Duration(j.ElapsedMS * float64(time.Millisecond)),
	}
	return nil
}
