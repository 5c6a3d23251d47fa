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
	maxQueryDim    = 1 << 16 // Gemma 3 27B has 168
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

// Config is the shape of a model and all of its arithmetic: what its family's reader
// took from config.json. Where a field has a zero value, that is what Llama does.
type Config struct {
	Family         string // model_type, the key of the family
	Hidden         int    // width of the residual stream
	Intermediate   int    // width of the MLP
	Layers         int    // blocks
	Heads, KVHeads int    // query heads, and key/value heads that divide them
	HeadDim        int    // values of one head; Heads*HeadDim need not be Hidden
	Vocab          int    // token ids
	Positions      int    // longest sequence in tokens, prefix included

	ScaledEmbeddings bool // embeddings are multiplied by √Hidden
	LearnedPositions bool // a row for each position is added to the embeddings, and nothing rotates

	Norm      Norm
	NormEps   float64 // epsilon of all norms
	QKNorm    bool    // each head of queries and keys is normed before it is rotated
	PostNorms bool    // what attention and MLP add is normed before it is added
	Parallel  bool    // the MLP reads what attention read: both are added to the same residual

	Rope      Rope    // of all layers, or, with LocalRope, of those in Full
	LocalRope Rope    // of the layers with a window; zero: the same
	RotaryDim int     // values at the beginning of a head that rotate, even; 0 for all
	QueryDim  float64 // queries are divided by √QueryDim; 0 for HeadDim
	Window    int     // sliding attention: a token sees itself and Window-1 before it; 0 for all
	Full      []bool  // of each layer, whether it sees all in spite of Window; nil for none

	Activation Activation
	QKVBias    bool // biases on the q, k and v projections
	OutBias    bool // bias on the o projection
	MLPBias    bool // biases on the MLP's projections
	TiedHead   bool // the LM head is the embedding matrix
}

// Dim returns the width of every hidden state, in float32 values.
func (c Config) Dim() int { return c.Hidden }

// window returns the window of layer i, counted from 0; 0 is none.
func (c *Config) window(i int) int {
	if c.Full != nil && c.Full[i] {
		return 0
	}
	return c.Window
}

// local tells whether layer i, counted from 0, rotates by LocalRope.
func (c *Config) local(i int) bool { return c.LocalRope != Rope{} && c.window(i) > 0 }

// rotaryDim returns how many values of a head rotate.
func (c *Config) rotaryDim() int {
	switch {
	case c.LearnedPositions:
		return 0
	case c.RotaryDim > 0:
		return c.RotaryDim
	}
	return c.HeadDim
}

// queryScale returns what queries are multiplied by.
func (c *Config) queryScale() float32 {
	d := c.QueryDim
	if d == 0 {
		d = float64(c.HeadDim)
	}
	return float32(1 / math.Sqrt(d))
}

// wide returns the outputs of the MLP's first matrix.
func (c *Config) wide() int {
	if c.Activation.gated() {
		return 2 * c.Intermediate
	}
	return c.Intermediate
}

// Norm is a kind of norm.
type Norm uint8

// The norms.
const (
	RMSNorm        Norm = iota // root mean square 1, times a weight
	RMSNormPlusOne             // the same with weights stored less one
	LayerNorm                  // mean 0 and variance 1, times a weight, plus a bias
	norms
)

// Activation is what stands between the matrices of an MLP.
type Activation uint8

// The activations. Gated ones (Shazeer 2020, arXiv:2002.05202) multiply it with a
// second projection, up.
const (
	SwiGLU   Activation = iota // silu(gate)·up
	GEGLU                      // gelu(gate)·up, in GELU's tanh form
	GELU                       // x·Φ(x)
	GELUTanh                   // the tanh form of GELU
	activations
)

func (a Activation) gated() bool { return a <= GEGLU }

// ungated are the names that config.json has for activations without a gate.
var ungated = map[string]Activation{
	"gelu":              GELU,
	"gelu_new":          GELUTanh, // three spellings of one formula
	"gelu_fast":         GELUTanh,
	"gelu_pytorch_tanh": GELUTanh,
}

// A family is how the models of one model_type write their configuration and
// name their tensors: one file of this package each, entered here.
type family struct {
	config func(configFile) (Config, error)
	names  names
}

var families = map[string]family{
	"gemma3_text": {gemma3Config, gemma3Names},
	"gpt2":        {gpt2Config, gpt2Names},
	"gpt_neox":    {neoxConfig, neoxNames},
	"llama":       {llamaConfig, llamaNames},
	"mistral":     {mistralConfig, llamaNames},
	"qwen2":       {qwen2Config, llamaNames},
	"qwen3":       {qwen3Config, qwen3Names},
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
	rotary := c.rotaryDim()
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("%w: num_key_value_heads %d does not divide num_attention_heads %d", ErrConfig, c.KVHeads, c.Heads)
	case rotary%2 != 0 || rotary < 0 || rotary > c.HeadDim:
		return fmt.Errorf("%w: %d values of a head_dim of %d cannot be rotated in pairs", ErrConfig, rotary, c.HeadDim)
	case !(c.NormEps >= 0 && c.NormEps < 1):
		return fmt.Errorf("%w: epsilon of the norms is %g, want 0 to 1", ErrConfig, c.NormEps)
	case c.QueryDim != 0 && !(c.QueryDim >= 1 && c.QueryDim <= maxQueryDim):
		return fmt.Errorf("%w: query_pre_attn_scalar is %g, want 1 to %d", ErrConfig, c.QueryDim, maxQueryDim)
	case c.Window < 0:
		return fmt.Errorf("%w: sliding_window is %d", ErrConfig, c.Window)
	case c.Full != nil && len(c.Full) != c.Layers:
		return fmt.Errorf("%w: attention of %d layers, num_hidden_layers is %d", ErrConfig, len(c.Full), c.Layers)
	case c.Norm >= norms || c.Activation >= activations:
		return fmt.Errorf("%w: norm %d, activation %d", ErrConfig, c.Norm, c.Activation)
	case c.LearnedPositions:
		return nil
	case c.LocalRope != Rope{}:
		if err := c.LocalRope.validate(); err != nil {
			return err
		}
	}
	return c.Rope.validate()
}

// configFile is config.json as Hugging Face writes it: the fields of all
// families. A pointer tells that a field may be absent or null.
type configFile struct {
	ModelType         string          `json:"model_type"`
	HiddenSize        int             `json:"hidden_size"`
	IntermediateSize  int             `json:"intermediate_size"`
	Layers            int             `json:"num_hidden_layers"`
	Heads             int             `json:"num_attention_heads"`
	KVHeads           *int            `json:"num_key_value_heads"`
	HeadDim           *int            `json:"head_dim"`
	Vocab             int             `json:"vocab_size"`
	Positions         int             `json:"max_position_embeddings"`
	NormEps           *float64        `json:"rms_norm_eps"`
	LayerNormEps      *float64        `json:"layer_norm_eps"`
	HiddenAct         *string         `json:"hidden_act"`
	HiddenActivation  *string         `json:"hidden_activation"`
	TieWordEmbeddings *bool           `json:"tie_word_embeddings"`
	AttentionBias     *bool           `json:"attention_bias"`
	MLPBias           *bool           `json:"mlp_bias"`
	Quantization      json.RawMessage `json:"quantization_config"`

	RopeTheta           *float64  `json:"rope_theta"`
	RopeLocalTheta      *float64  `json:"rope_local_base_freq"`
	RopeScaling         *ropeFile `json:"rope_scaling"`
	RopeParameters      *ropeFile `json:"rope_parameters"`
	RopeInterleaved     bool      `json:"rope_interleaved"`
	RotaryBase          *float64  `json:"rotary_emb_base"`
	RotaryPct           *float64  `json:"rotary_pct"`
	PartialRotaryFactor *float64  `json:"partial_rotary_factor"`

	SlidingWindow        json.RawMessage `json:"sliding_window"` // absent and null differ
	UseSlidingWindow     *bool           `json:"use_sliding_window"`
	MaxWindowLayers      *int            `json:"max_window_layers"`
	SlidingWindowPattern *int            `json:"sliding_window_pattern"`
	SlidingPattern       *int            `json:"_sliding_window_pattern"` // the same, since 2025
	LayerTypes           []string        `json:"layer_types"`

	QueryScalar         *float64 `json:"query_pre_attn_scalar"`
	AttentionCap        *float64 `json:"attn_logit_softcapping"`
	FinalCap            *float64 `json:"final_logit_softcapping"`
	Bidirectional       *bool    `json:"use_bidirectional_attention"`
	UseParallelResidual *bool    `json:"use_parallel_residual"`

	// GPT-2 has names of its own.
	NEmbd                 int      `json:"n_embd"`
	NInner                *int     `json:"n_inner"`
	NLayer                int      `json:"n_layer"`
	NHead                 int      `json:"n_head"`
	NPositions            int      `json:"n_positions"`
	LayerNormEpsilon      *float64 `json:"layer_norm_epsilon"`
	ActivationFunction    *string  `json:"activation_function"`
	ScaleAttention        *bool    `json:"scale_attn_weights"`
	ScaleAttentionByLayer *bool    `json:"scale_attn_by_inverse_layer_idx"`
	AddCrossAttention     *bool    `json:"add_cross_attention"`
}

// ropeFile is rope_scaling, or its successor rope_parameters, which holds
// rope_theta, too, and may be one for each type of layers.
type ropeFile struct {
	Type                *string   `json:"type"` // until 2024
	RopeType            *string   `json:"rope_type"`
	Theta               *float64  `json:"rope_theta"`
	Factor              *float64  `json:"factor"`
	LowFreqFactor       *float64  `json:"low_freq_factor"`
	HighFreqFactor      *float64  `json:"high_freq_factor"`
	OriginalPositions   *int      `json:"original_max_position_embeddings"`
	PartialRotaryFactor *float64  `json:"partial_rotary_factor"`
	Full                *ropeFile `json:"full_attention"`
	Sliding             *ropeFile `json:"sliding_attention"`
}

// base reads what families have in common: sizes, and what none of them may ask for.
// The sizes have no defaults: a file that leaves them out is more likely to be
// damaged than to have those of transformers' classes.
func (f configFile) base() (Config, error) {
	switch {
	case !isNull(f.Quantization):
		return Config{}, fmt.Errorf("%w: quantization_config: want F32, F16 or BF16 weights", ErrUnsupported)
	case f.RopeInterleaved:
		return Config{}, fmt.Errorf("%w: rope_interleaved", ErrUnsupported)
	case len(f.LayerTypes) > maxLayers:
		return Config{}, fmt.Errorf("%w: layer_types has %d layers, limit %d", ErrConfig, len(f.LayerTypes), maxLayers)
	}
	headDim := 0
	if f.Heads > 0 {
		headDim = f.HiddenSize / f.Heads
	}
	if f.HeadDim == nil && headDim*f.Heads != f.HiddenSize {
		return Config{}, fmt.Errorf("%w: num_attention_heads %d does not divide hidden_size %d", ErrConfig, f.Heads, f.HiddenSize)
	}
	return Config{
		Hidden:       f.HiddenSize,
		Intermediate: f.IntermediateSize,
		Layers:       f.Layers,
		Heads:        f.Heads,
		KVHeads:      or(f.KVHeads, f.Heads),
		HeadDim:      or(f.HeadDim, headDim),
		Vocab:        f.Vocab,
		Positions:    f.Positions,
		TiedHead:     or(f.TieWordEmbeddings, false),
	}, nil
}

// fullAttention checks that no layer is of another type.
func (f configFile) fullAttention() error {
	for _, t := range f.LayerTypes {
		if t != "full_attention" {
			return fmt.Errorf("%w: layer_types has %.40q", ErrUnsupported, t)
		}
	}
	return nil
}

// layers sets c's window, and which layers it is for: those that layer_types names,
// or else those for which sliding(i) holds.
func (f configFile) layers(c *Config, window int, sliding func(i int) bool) error {
	if f.LayerTypes != nil && len(f.LayerTypes) != c.Layers {
		return fmt.Errorf("%w: layer_types has %d layers, num_hidden_layers is %d", ErrConfig, len(f.LayerTypes), c.Layers)
	}
	full := make([]bool, len(f.LayerTypes))
	for i, t := range f.LayerTypes {
		switch t {
		case "full_attention":
			full[i] = true
		case "sliding_attention":
		default:
			return fmt.Errorf("%w: layer_types has %.40q", ErrUnsupported, t)
		}
	}
	if f.LayerTypes == nil && c.Layers <= maxLayers {
		for i := range c.Layers {
			full = append(full, !sliding(i))
		}
	}
	if !slices.Contains(full, false) {
		return nil
	}
	if window < 1 {
		return fmt.Errorf("%w: sliding layers, but sliding_window is %d", ErrConfig, window)
	}
	c.Window = window
	if slices.Contains(full, true) {
		c.Full = full
	}
	return nil
}

// window reads sliding_window: def if it is absent, 0 if it is null.
func (f configFile) window(def int) (int, error) {
	if len(f.SlidingWindow) == 0 {
		return def, nil
	}
	if isNull(f.SlidingWindow) {
		return 0, nil
	}
	var w int
	if err := json.Unmarshal(f.SlidingWindow, &w); err != nil || w < 1 {
		return 0, fmt.Errorf("%w: sliding_window is not a positive number or null", ErrConfig)
	}
	return w, nil
}

// partialRotary reads which part of a head rotates.
func (f configFile) partialRotary(def float64) (float64, error) {
	p := f.PartialRotaryFactor
	for _, r := range []*ropeFile{f.RopeScaling, f.RopeParameters} {
		if r != nil && r.PartialRotaryFactor != nil {
			p = r.PartialRotaryFactor
		}
	}
	if f.RotaryPct != nil && p != nil && *p != *f.RotaryPct {
		return 0, fmt.Errorf("%w: rotary_pct %g and partial_rotary_factor %g", ErrConfig, *f.RotaryPct, *p)
	}
	return or(p, or(f.RotaryPct, def)), nil
}

// allRotary checks that whole heads rotate.
func (f configFile) allRotary() error {
	p, err := f.partialRotary(1)
	if err == nil && p != 1 {
		err = fmt.Errorf("%w: partial_rotary_factor %g", ErrUnsupported, p)
	}
	return err
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
