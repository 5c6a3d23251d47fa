package lm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Limits of a config.json. They are far above any published model of these
// families and far below where a product of two of them would overflow.
const (
	maxConfigBytes = 1 << 20 // bytes; real ones have about 1 KB
	maxWidth       = 1 << 18 // hidden_size and intermediate_size; Llama 3 405B has 16,384 and 53,248
	maxLayers      = 1 << 10 // Llama 3 405B has 126
	maxHeads       = 1 << 10 // Llama 3 405B has 128
	maxHeadDim     = 1 << 12 // 256 is the largest in use
	maxVocab       = 1 << 24 // Gemma has 262,144
	maxPositions   = 1 << 24 // 10M is the largest claim
)

// Errors of this package that a caller may tell apart.
var (
	// ErrConfig: config.json is malformed or describes a model that cannot be.
	ErrConfig = errors.New("bad model configuration")
	// ErrUnsupported: the model may be sound, but this package does not run it.
	ErrUnsupported = errors.New("unsupported model")
	// ErrTensor: the checkpoint does not have the tensors that the configuration
	// asks for.
	ErrTensor = errors.New("checkpoint does not fit its configuration")
	// ErrTap: a tap, or a depth, lies outside the model or the loaded part of it.
	ErrTap = errors.New("tap is outside the loaded model")
	// ErrTooLong: a sequence has more tokens than the model has positions.
	ErrTooLong = errors.New("sequence is longer than the model's context")
	// ErrToken: an id is outside the vocabulary.
	ErrToken = errors.New("token id is outside the vocabulary")
)

// Config is the shape of a model: what its family's reader took from config.json.
type Config struct {
	Family         string  // model_type, the key of the family
	Hidden         int     // width of the residual stream
	Intermediate   int     // width of the MLP
	Layers         int     // blocks
	Heads, KVHeads int     // query heads, and key/value heads that divide them
	HeadDim        int     // values of one head, even; Heads*HeadDim need not be Hidden
	Vocab          int     // token ids
	Positions      int     // longest sequence in tokens, prefix included
	NormEps        float64 // epsilon of RMSNorm
	Rope           Rope
	Window         int  // sliding attention: a token sees itself and Window-1 before it; 0 for all
	TiedHead       bool // the LM head is the embedding matrix
	AttentionBias  bool // biases on the q, k, v and o projections
	MLPBias        bool // biases on the gate, up and down projections
}

// Dim returns the width of every hidden state, in float32 values.
func (c Config) Dim() int { return c.Hidden }

// A family is how the models of one model_type write their configuration and
// name their tensors: one file of this package each, entered here.
type family struct {
	config func(configFile) (Config, error)
	names  names
}

var families = map[string]family{
	"llama":   {llamaConfig, llamaNames},
	"mistral": {mistralConfig, llamaNames},
}

// ParseConfig reads a config.json in Hugging Face form. Every field that changes
// the arithmetic is read, checked, or refused.
func ParseConfig(configJSON []byte) (Config, error) {
	if len(configJSON) > maxConfigBytes {
		return Config{}, fmt.Errorf("lm: %w: config.json has %d bytes, limit %d", ErrConfig, len(configJSON), maxConfigBytes)
	}
	var f configFile
	if err := json.Unmarshal(configJSON, &f); err != nil {
		return Config{}, fmt.Errorf("lm: %w: config.json: %w", ErrConfig, err)
	}
	fam, ok := families[f.ModelType]
	if !ok {
		return Config{}, fmt.Errorf("lm: %w: model_type %.40q, want one of %q",
			ErrUnsupported, f.ModelType, slices.Sorted(maps.Keys(families)))
	}
	c, err := fam.config(f)
	if err == nil {
		c.Family = f.ModelType
		err = c.validate()
	}
	if err != nil {
		return Config{}, fmt.Errorf("lm: config.json of model_type %q: %w", f.ModelType, err)
	}
	return c, nil
}

// validate checks what no family may break.
func (c Config) validate() error {
	for _, f := range []struct {
		name     string
		v, limit int
	}{
		{"hidden_size", c.Hidden, maxWidth},
		{"intermediate_size", c.Intermediate, maxWidth},
		{"num_hidden_layers", c.Layers, maxLayers},
		{"num_attention_heads", c.Heads, maxHeads},
		{"num_key_value_heads", c.KVHeads, maxHeads},
		{"head_dim", c.HeadDim, maxHeadDim},
		{"vocab_size", c.Vocab, maxVocab},
		{"max_position_embeddings", c.Positions, maxPositions},
	} {
		if f.v < 1 || f.v > f.limit {
			return fmt.Errorf("%w: %s is %d, want 1 to %d", ErrConfig, f.name, f.v, f.limit)
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("%w: num_key_value_heads %d does not divide num_attention_heads %d", ErrConfig, c.KVHeads, c.Heads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("%w: head_dim %d is odd, so that it cannot be rotated", ErrConfig, c.HeadDim)
	case !(c.NormEps >= 0 && c.NormEps < 1):
		return fmt.Errorf("%w: rms_norm_eps is %g, want 0 to 1", ErrConfig, c.NormEps)
	case c.Window < 0:
		return fmt.Errorf("%w: sliding_window is %d", ErrConfig, c.Window)
	}
	return c.Rope.validate()
}

// configFile is config.json as Hugging Face writes it: the fields of all
// families. A pointer tells that a field may be absent or null.
type configFile struct {
	ModelType           string          `json:"model_type"`
	HiddenSize          int             `json:"hidden_size"`
	IntermediateSize    int             `json:"intermediate_size"`
	Layers              int             `json:"num_hidden_layers"`
	Heads               int             `json:"num_attention_heads"`
	KVHeads             *int            `json:"num_key_value_heads"`
	HeadDim             *int            `json:"head_dim"`
	Vocab               int             `json:"vocab_size"`
	Positions           int             `json:"max_position_embeddings"`
	NormEps             *float64        `json:"rms_norm_eps"`
	HiddenAct           *string         `json:"hidden_act"`
	RopeTheta           *float64        `json:"rope_theta"`
	RopeScaling         *ropeFile       `json:"rope_scaling"`
	RopeParameters      *ropeFile       `json:"rope_parameters"`
	RopeInterleaved     bool            `json:"rope_interleaved"`
	PartialRotaryFactor *float64        `json:"partial_rotary_factor"`
	TieWordEmbeddings   *bool           `json:"tie_word_embeddings"`
	AttentionBias       bool            `json:"attention_bias"`
	MLPBias             bool            `json:"mlp_bias"`
	SlidingWindow       json.RawMessage `json:"sliding_window"` // absent and null differ
	LayerTypes          []string        `json:"layer_types"`
	Quantization        json.RawMessage `json:"quantization_config"`
}

// ropeFile is rope_scaling, or its successor rope_parameters, which holds
// rope_theta, too.
type ropeFile struct {
	Type                *string  `json:"type"` // until 2024
	RopeType            *string  `json:"rope_type"`
	Theta               *float64 `json:"rope_theta"`
	Factor              *float64 `json:"factor"`
	LowFreqFactor       *float64 `json:"low_freq_factor"`
	HighFreqFactor      *float64 `json:"high_freq_factor"`
	OriginalPositions   *int     `json:"original_max_position_embeddings"`
	PartialRotaryFactor *float64 `json:"partial_rotary_factor"`
}

// or returns *p, or def if the field was absent or null.
func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

func isNull(m json.RawMessage) bool { return len(m) == 0 || string(m) == "null" }

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
