package text

import "math"

// The weights say how much one disguised character or word counts, and where a kind saturates. The unit is one: a word that
// somebody hid on purpose, beyond reasonable doubt. They are judgements about how often ordinary text does the same, not
// fits; what ordinary text does with a reason (emoji sequences, joiners of Persian and Indic scripts, soft hyphens,
// direction marks beside right-to-left letters, &nbsp;, %20) is told apart by context and weighs nothing.
//
//	kind          unit   cap  why
//	ZeroWidth     0.25   3    inside a word of letters that never join; elsewhere a tenth: editors leave them behind
//	Tag           0.50   4    nothing but three flags uses the block
//	Variation     0.30   4    a selector after a letter or another selector; fonts never ask for it
//	Bidi          1.00   3    an override; embeddings and marks in left-to-right text a fiftieth: paste artefacts
//	Control       0.20   1.5  inside a word; elsewhere a twentieth, ANSI sequences between words nothing: logs
//	InvalidUTF8   0.20   1.5  overlong forms five times that; isolated bytes that read as Latin-1 a tenth: old files
//	Mark          0.50   2    per word; memes do it too
//	Homoglyph     0.60   3    per word; Latin letters in a Cyrillic or Greek word a sixth: keyboards
//	Compat        0.08   2    per letter of a word of three or more; fullwidth beside CJK nothing: it is ordinary there
//	Spaced        0.08   2    per letter of a run of six or more that reads like words; headings do it too
//	Leet          0.20   2    per word; names and passwords do it too
//	Entity        0.10   2    numeric reference to an ASCII letter or digit; no writer of HTML needs one
//	URLEncoded    0.10   2    the same of percent-encoding; RFC 3986, section 2.3 tells writers not to
//	Escape        0.05   1.5  the same in \u and \x; source code has some
//	Markup        0.30   2    an empty element or comment inside a word; other tags in words nothing: <b>B</b>old
//	Base64        0.90   2.5  content that reads like prose; other text a fiftieth: tokens, data URLs
//	Hex           1.00   2.5  the same
//	Codes         0.90   2.5  the same
var weights = [kinds]struct{ unit, limit float64 }{
	ZeroWidth:   {0.25, 3},
	Tag:         {0.50, 4},
	Variation:   {0.30, 4},
	Bidi:        {1.00, 3},
	Control:     {0.20, 1.5},
	InvalidUTF8: {0.20, 1.5},
	Mark:        {0.50, 2},
	Homoglyph:   {0.60, 3},
	Compat:      {0.08, 2},
	Spaced:      {0.08, 2},
	Leet:        {0.20, 2},
	Entity:      {0.10, 2},
	URLEncoded:  {0.10, 2},
	Escape:      {0.05, 1.5},
	Markup:      {0.30, 2},
	Base64:      {0.90, 2.5},
	Hex:         {1.00, 2.5},
	Codes:       {0.90, 2.5},
}

// Score returns the total evidence of concealment: for each kind, weights add up and saturate at the kind's cap c as
// c·(1 − exp(−w/c)), and the kinds are summed. It is 0 without findings, never decreases when a finding is added or grows,
// and is bounded by the sum of the caps (43). Findings of several segments may be scored together; sums are in the order
// given, so equal findings give equal bits.
func Score(findings []Finding) float64 {
	var sum [kinds]float64
	for _, f := range findings {
		if f.Kind < kinds && f.Weight > 0 {
			sum[f.Kind] += f.Weight
		}
	}
	total := 0.0
	for k, w := range sum {
		if w > 0 {
			c := weights[k].limit
			total += -c * math.Expm1(-w/c)
		}
	}
	return total
}
