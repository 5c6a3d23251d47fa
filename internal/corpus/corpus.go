// Package corpus reads labelled and unlabelled texts from JSON Lines files,
// plain or gzip-compressed: what calibration, evaluation and batch screening
// are fed with.
//
// A line is one object; "text" is required, every other field is optional. The
// package knows which kinds of row speak for which signal and come through
// which channel, and nothing of models.
package corpus

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// MaxLine bounds one line, in bytes: 64 MiB holds the largest text the firewall
// accepts by default (16 MiB) with every byte escaped as \u00XX but its quotes.
const MaxLine = 64 << 20

// A Row is one text.
type Row struct {
	ID      string `json:"id"`
	Text    string `json:"text"`
	Label   string `json:"label"`   // Attack, Benign or empty
	Kind    string `json:"kind"`    // such as "indirect_injection" or "benign_document"
	Source  string `json:"source"`  // data set; whole sources are held out together
	Lang    string `json:"lang"`    // ISO 639 code, or "code", "log"
	Channel string `json:"channel"` // user, document or tool; empty: see [Row.ChannelOrGuess]
}

// Labels.
const (
	Attack = "attack"
	Benign = "benign"
)

// Kinds that the main figures leave out: harmful questions are no injections,
// and texts that quote attacks are benign by their role only.
const (
	HarmfulRequest = "harmful_request"
	QuotesAttacks  = "quotes_attacks"
)

// Apart reports whether rows of this kind are reported apart from the main figures.
func (r Row) Apart() bool { return r.Kind == HarmfulRequest || r.Kind == QuotesAttacks }

// Signals returns the signals that an attack of this kind speaks for; none for
// benign rows and for harmful requests, which are no attack on the reader.
func (r Row) Signals() []string {
	if r.Label != Attack {
		return nil
	}
	switch r.Kind {
	case "jailbreak":
		return []string{"jailbreak"}
	case "extraction":
		return []string{"extraction"}
	case HarmfulRequest:
		return nil
	}
	return []string{"override"}
}

// ChannelOrGuess returns the row's channel, or the one that its kind suggests.
func (r Row) ChannelOrGuess() string {
	switch {
	case r.Channel != "":
		return r.Channel
	case strings.Contains(r.Kind, "tool"):
		return "tool"
	case strings.Contains(r.Kind, "document"), r.Kind == "indirect_injection":
		return "document"
	case r.Kind == "hard_negative" && len(r.Text) > 600, r.Kind == QuotesAttacks:
		return "document" // long hard negatives are articles, manuals and pages
	}
	return "user"
}

// A Reader reads rows one by one. It is used by one goroutine.
type Reader struct {
	name string
	in   *bufio.Reader
	line int
	buf  []byte
}

// NewReader reads rows from r; name appears in errors. Gzip and bzip2 are
// recognised by their first bytes.
func NewReader(name string, r io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	magic, _ := in.Peek(3) // fewer bytes are no compressed file
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		in = bufio.NewReaderSize(z, 1<<16)
	case bytes.HasPrefix(magic, []byte("BZh")):
		in = bufio.NewReaderSize(bzip2.NewReader(in), 1<<16)
	}
	return &Reader{name: name, in: in}, nil
}

// A LineError is a line that is no row. Reading can go on after it.
type LineError struct {
	Name string
	Line int // from 1
	Err  error
}

// Error names the file and the line, never what stands in it.
func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.Name, e.Line, e.Err) }

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// Errors of a line.
var (
	ErrTooLong = errors.New("line is too long")
	ErrSyntax  = errors.New("line is not a JSON object of the expected form")
	ErrNoText  = errors.New(`line has no "text"`)
	ErrLabel   = errors.New(`"label" is neither "attack" nor "benign"`)
)

// Line returns the number of the line that was read last, from 1.
func (r *Reader) Line() int { return r.line }

// Next returns the next row, [io.EOF] after the last, or a *[LineError], after
// which reading can go on. Empty lines are skipped. A row without an id is
// named after its file and line.
func (r *Reader) Next() (Row, error) {
	for {
		line, tooLong, err := r.readLine()
		if err != nil {
			return Row{}, err
		}
		if tooLong {
			return Row{}, r.fail(fmt.Errorf("%w: more than %d bytes", ErrTooLong, MaxLine))
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var row struct {
			Row
			Text *string `json:"text"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			// The decoder's own message may quote the text.
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				return Row{}, r.fail(fmt.Errorf("%w: syntax error at byte %d", ErrSyntax, syntax.Offset))
			}
			return Row{}, r.fail(ErrSyntax)
		}
		if row.Text == nil {
			return Row{}, r.fail(ErrNoText)
		}
		row.Row.Text = *row.Text
		switch row.Label {
		case "", Attack, Benign:
		default:
			return Row{}, r.fail(ErrLabel)
		}
		if row.ID == "" {
			row.ID = fmt.Sprintf("%s:%d", r.name, r.line)
		}
		return row.Row, nil
	}
}

func (r *Reader) fail(err error) error { return &LineError{Name: r.name, Line: r.line, Err: err} }

// readLine returns the next line without its end; a line over MaxLine is
// skipped to its end without being kept.
func (r *Reader) readLine() (line []byte, tooLong bool, err error) {
	r.buf = r.buf[:0]
	r.line++
	for {
		part, err := r.in.ReadSlice('\n')
		if len(r.buf)+len(part) > MaxLine {
			tooLong = true
			r.buf = r.buf[:0]
		}
		if !tooLong {
			r.buf = append(r.buf, part...)
		}
		switch {
		case err == nil:
			return r.buf, tooLong, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			if len(r.buf) > 0 || tooLong {
				return r.buf, tooLong, nil
			}
			return nil, false, io.EOF
		default:
			return nil, false, fmt.Errorf("read %s near line %d: %w", r.name, r.line, err)
		}
	}
}

// ReadFile reads all rows of a file. The first bad line ends it.
func ReadFile(path string) ([]Row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := NewReader(path, f)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
}
