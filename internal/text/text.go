// Package text cuts untrusted text into segments and undoes disguises.
//
// [Cut] divides a stream into segments of a few kilobytes at places that do not depend on how the stream arrived, so that
// a streaming screen and a screen of the whole text see the same segments. An [Inspector] looks at one segment and
// reports what hides its words from a reader or from a model: invisible characters, look-alike letters, spaced-out
// letters, escapes, encoded payloads. Where undoing the disguise changes the text, [Result] carries the undone text as a
// [View] that maps every byte back to the original; encoded payloads come as views of their own. [Score] turns findings
// into one number.
//
// Work is linear in the segment. Inspecting allocates at most 640 bytes per byte of a disguised segment, results included
// (214 in TestMemoryBound, 284 seen on 280 KB), and nothing for plain text; an [Inspector] keeps what its largest segment
// needed. Nothing here knows attack phrases, and nothing here decides: text that is concealed is not thereby hostile, and
// disguises that keep the characters plain (synonyms, translation, ciphers, words split over lines) are not seen.
//
// Inputs are data: no input panics.
package text

// Range is a half-open range of bytes [Start, End).
type Range struct{ Start, End int }

// Kind is a way of concealing text.
type Kind uint8

// The kinds. Their weights, with the reasons, are in score.go.
const (
	None        Kind = iota
	ZeroWidth        // characters without width inside words, or in runs
	Tag              // the Tags block U+E0000, ASCII that nobody sees
	Variation        // variation selectors carrying bytes
	Bidi             // direction controls; overrides show text backwards
	Control          // C0 and C1 controls, ANSI escapes, backspaces
	InvalidUTF8      // bytes that are not UTF-8, among them overlong forms
	Mark             // words drowned in combining marks or accents
	Homoglyph        // letters of another script inside a word, small capitals
	Compat           // fullwidth, circled, mathematical and other compatibility letters
	Spaced           // i g n o r e
	Leet             // 1gn0r3
	Entity           // HTML character references to plain letters
	URLEncoded       // percent-encoding of plain letters, or of whole sentences
	Escape           // \u0069, \x69, \151
	Markup           // words split by tags or comments
	Base64           // base64 whose content is text
	Hex              // hexadecimal whose content is text
	Codes            // decimal or binary character codes whose content is text
	kinds
)

var kindNames = [kinds]string{
	"none", "zero_width", "tag", "variation", "bidi", "control", "invalid_utf8", "mark", "homoglyph", "compat", "spaced", "leet",
	"entity", "url_encoded", "escape", "markup", "base64", "hex", "codes",
}

// String returns the snake_case name that verdicts use.
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return "unknown"
}

// Kinds returns every kind that a [Finding] may have.
func Kinds() []Kind {
	all := make([]Kind, 0, kinds-1)
	for k := None + 1; k < kinds; k++ {
		all = append(all, k)
	}
	return all
}

// Finding is one place where text is concealed.
type Finding struct {
	Kind   Kind
	Range  Range   // in the segment
	Count  int     // characters concealed
	Weight float64 // evidence of intent, >= 0; zero for what ordinary text does too. See [Score]
}

// View is a text that was made from a segment, with the way back. It does not change and may be kept.
type View struct {
	Text  string // valid UTF-8
	Kind  Kind   // the disguise that counted most, or the encoding of a payload
	Range Range  // the part of the segment that the view came from

	start, end []int32 // (len(Text)): original range of each byte; both never decrease
}

// Original returns the smallest range of the segment that covers bytes [start, end) of the view's text. An empty range
// maps to an empty range. It panics if the range is not within the text: that is the caller's bug.
func (v *View) Original(start, end int) Range {
	if start < 0 || end < start || end > len(v.Text) {
		panic("text: range outside view")
	}
	if start == end {
		p := v.Range.End
		if start < len(v.start) {
			p = int(v.start[start])
		}
		return Range{p, p}
	}
	return Range{int(v.start[start]), int(v.end[end-1])}
}

// Result is what [Inspector.Inspect] found.
type Result struct {
	Findings []Finding // by kind, then by place; valid until the next Inspect
	Undone   *View     // the whole segment without its disguises; nil when that would change nothing that matters
	Decoded  []View    // payloads found inside, themselves undone and searched again
}
