package lm

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The Llama family: RMSNorm before attention and MLP, grouped queries, rotary
// positions, SwiGLU. Llama 1 to 3, SmolLM and SmolLM2, TinyLlama, nano (model_type
// "llama"), and Mistral, which adds a sliding window.

// llamaConfig reads the config.json of model_type "llama". Defaults are those of
// transformers' LlamaConfig; the sizes have none here, since a checkpoint that
// leaves them out is more likely to be damaged than to have Llama 7B's.
func llamaConfig(f configFile) (Config, error) {
	switch {
	case or(f.HiddenAct, "silu") != "silu":
		return Config{}, fmt.Errorf("%w: hidden_act %.40q, want \"silu\"", ErrUnsupported, *f.HiddenAct)
	case !isNull(f.Quantization):
		return Config{}, fmt.Errorf("%w: quantization_config: want F32, F16 or BF16 weights", ErrUnsupported)
	case f.RopeInterleaved:
		return Config{}, fmt.Errorf("%w: rope_interleaved", ErrUnsupported)
	case or(f.PartialRotaryFactor, 1) != 1:
		return Config{}, fmt.Errorf("%w: partial_rotary_factor %g", ErrUnsupported, *f.PartialRotaryFactor)
	}
	for _, t := range f.LayerTypes {
		if t != "full_attention" {
			return Config{}, fmt.Errorf("%w: layer_types has %.40q", ErrUnsupported, t)
		}
	}
	rope, err := parseRope(f)
	if err != nil {
		return Config{}, err
	}
	headDim := 0
	if f.Heads > 0 {
		headDim = f.HiddenSize / f.Heads
	}
	if f.HeadDim == nil && headDim*f.Heads != f.HiddenSize {
		return Config{}, fmt.Errorf("%w: num_attention_heads %d does not divide hidden_size %d", ErrConfig, f.Heads, f.HiddenSize)
	}
	return Config{
		Hidden:        f.HiddenSize,
		Intermediate:  f.IntermediateSize,
		Layers:        f.Layers,
		Heads:         f.Heads,
		KVHeads:       or(f.KVHeads, f.Heads),
		HeadDim:       or(f.HeadDim, headDim),
		Vocab:         f.Vocab,
		Positions:     f.Positions,
		NormEps:       or(f.NormEps, 1e-6),
		Rope:          rope,
		TiedHead:      or(f.TieWordEmbeddings, false),
		AttentionBias: f.AttentionBias,
		MLPBias:       f.MLPBias,
	}, nil
}

// mistralWindow is MistralConfig's default, which files of Mistral 7B v0.1 may
// leave out; later models say null.
const mistralWindow = 4096

// mistralConfig reads the config.json of model_type "mistral".
func mistralConfig(f configFile) (Config, error) {
	f.AttentionBias, f.MLPBias = false, false // transformers' Mistral has none and looks for none
	c, err := llamaConfig(f)
	if err != nil {
		return Config{}, err
	}
	switch {
	case len(f.SlidingWindow) == 0:
		c.Window = mistralWindow
	case !isNull(f.SlidingWindow):
		if err := json.Unmarshal(f.SlidingWindow, &c.Window); err != nil || c.Window < 1 {
			return Config{}, fmt.Errorf("%w: sliding_window is not a positive number or null", ErrConfig)
		}
	}
	return c, nil
}

// llamaNames are the tensors of LlamaForCausalLM and MistralForCausalLM.
var llamaNames = names{
	embed: "model.embed_tokens.weight",
	norm:  "model.norm.weight",
	head:  "lm_head.weight",

	block:         "model.layers.%d.",
	attentionNorm: "input_layernorm.weight",
	q:             "self_attn.q_proj",
	k:             "self_attn.k_proj",
	v:             "self_attn.v_proj",
	o:             "self_attn.o_proj",
	mlpNorm:       "post_attention_layernorm.weight",
	gate:          "mlp.gate_proj",
	up:            "mlp.up_proj",
	down:          "mlp.down_proj",

	// Conversions of 2023 stored the frequencies of RoPE, which follow from the
	// configuration.
	ignore: func(name string) bool { return strings.HasSuffix(name, ".self_attn.rotary_emb.inv_freq") },
}
