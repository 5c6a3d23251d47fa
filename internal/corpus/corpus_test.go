package corpus

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestNext(t *testing.T) {
	const in = `{"id":"a","text":"x","label":"attack","kind":"extraction"}

{"text":""}
not json
{"id":"b"}
{"text":"x","label":"maybe"}
{"text":"last line without a newline"}`
	r, err := NewReader("f", strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	row, err := r.Next()
	if err != nil || row.ID != "a" || row.Signals()[0] != "extraction" {
		t.Fatalf("first row = %+v, %v", row, err)
	}
	row, err = r.Next()
	if err != nil || row.ID != "f:3" {
		t.Fatalf("row without id = %+v, %v, want id f:3", row, err)
	}
	for _, want := range []error{ErrSyntax, ErrNoText, ErrLabel} {
		_, err := r.Next()
		if !errors.Is(err, want) {
			t.Fatalf("Next() = %v, want %v", err, want)
		}
		if strings.Contains(err.Error(), "not json") {
			t.Errorf("the error quotes the line: %v", err)
		}
	}
	if row, err = r.Next(); err != nil || row.ID != "f:7" {
		t.Fatalf("last row = %+v, %v", row, err)
	}
	if _, err = r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the last row: %v, want EOF", err)
	}
}

func TestGzip(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, `{"text":"x"}`+"\n")
	z.Close()
	r, err := NewReader("f.gz", &b)
	if err != nil {
		t.Fatal(err)
	}
	if row, err := r.Next(); err != nil || row.Text != "x" {
		t.Fatalf("Next() = %+v, %v", row, err)
	}
}

// TestBzip2: the bytes are what bzip2 1.0.8 makes of the row. A file that was cut
// off is an error, not an early end.
func TestBzip2(t *testing.T) {
	packed, err := hex.DecodeString("425a683931415926535960ca62e4000005d9800010100000100200044a2000220d327a8430208439a540bc5dc914e1424183298b90")
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader("f.bz2", bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if row, err := r.Next(); err != nil || row.Text != "x" {
		t.Fatalf("Next() = %+v, %v", row, err)
	}
	if r, err = NewReader("f.bz2", bytes.NewReader(packed[:len(packed)-6])); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = r.Next()
	}
	if errors.Is(err, io.EOF) {
		t.Errorf("a file that was cut off ends with %v, want another error", err)
	}
}

// TestTooLong: an endless line costs bounded memory and does not end the file.
func TestTooLong(t *testing.T) {
	long := io.LimitReader(zeros{}, MaxLine+10)
	r, err := NewReader("f", io.MultiReader(long, strings.NewReader("\n{\"text\":\"x\"}\n")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, ErrTooLong) {
		t.Fatalf("Next() = %v, want ErrTooLong", err)
	}
	if cap(r.buf) > 2*MaxLine {
		t.Errorf("kept %d bytes of a line over the bound", cap(r.buf))
	}
	if row, err := r.Next(); err != nil || row.Text != "x" {
		t.Fatalf("after the long line: %+v, %v", row, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestChannel(t *testing.T) {
	for _, c := range []struct {
		row  Row
		want string
	}{
		{Row{Channel: "mail"}, "mail"},
		{Row{Kind: "benign_tool_output"}, "tool"},
		{Row{Kind: "indirect_injection"}, "document"},
		{Row{Kind: "hard_negative", Text: "short"}, "user"},
		{Row{Kind: "hard_negative", Text: strings.Repeat("long ", 200)}, "document"},
		{Row{Kind: "direct_injection"}, "user"},
	} {
		if got := c.row.ChannelOrGuess(); got != c.want {
			t.Errorf("channel of kind %q = %q, want %q", c.row.Kind, got, c.want)
		}
	}
}
