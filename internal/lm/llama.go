package lm

import (
	"fmt"
	"strings"
)

// The Llama family: RMSNorm before attention and MLP, grouped queries, rotary
// positions, SwiGLU. Llama 1 to 3, SmolLM and SmolLM2, TinyLlama, nano (model_type
// "llama"), and Mistral, which adds a sliding window.

// llamaConfig reads the config.json of model_type "llama". Defaults are those of
// transformers' LlamaConfig.
func llamaConfig(f configFile) (Config, error) {
	if err := f.fullAttention(); err != nil {
		return Config{}, err
	}
	c, err := f.llama(10000)
	c.OutBias, c.QKVBias = or(f.AttentionBias, false), or(f.AttentionBias, false)
	c.MLPBias = or(f.MLPBias, false)
	return c, err
}

// llama reads what Llama has in common with Mistral and Qwen.
func (f configFile) llama(theta float64) (Config, error) {
	if or(f.HiddenAct, "silu") != "silu" {
		return Config{}, fmt.Errorf("%w: hidden_act %.40q, want \"silu\"", ErrUnsupported, *f.HiddenAct)
	}
	if err := f.allRotary(); err != nil {
		return Config{}, err
	}
	c, err := f.base()
	if err != nil {
		return Config{}, err
	}
	c.NormEps = or(f.NormEps, 1e-6)
	c.Rope, err = parseRope(f, theta)
	return c, err
}

// mistralWindow is MistralConfig's default, which files of Mistral 7B v0.1 may
// leave out; later models say null.
const mistralWindow = 4096

// mistralConfig reads the config.json of model_type "mistral". attention_bias and
// mlp_bias do not matter: transformers' Mistral has none and looks for none.
func mistralConfig(f configFile) (Config, error) {
	if err := f.fullAttention(); err != nil {
		return Config{}, err
	}
	c, err := f.llama(10000)
	if err != nil {
		return Config{}, err
	}
	c.Window, err = f.window(mistralWindow)
	return c, err
}

// llamaNames are the tensors of the ForCausalLM classes of Llama, Mistral and Qwen2.
var llamaNames = names{
	base:  "model.",
	embed: "embed_tokens.weight",
	norm:  "norm",
	head:  "lm_head.weight",

	block:         "layers.%d.",
	attentionNorm: "input_layernorm",
	q:             "self_attn.q_proj",
	k:             "self_attn.k_proj",
	v:             "self_attn.v_proj",
	o:             "self_attn.o_proj",
	mlpNorm:       "post_attention_layernorm",
	gate:          "mlp.gate_proj",
	up:            "mlp.up_proj",
	down:          "mlp.down_proj",

	// Conversions of 2023 stored the frequencies of RoPE, which follow from the
	// configuration.
	ignore: func(name string) bool { return strings.HasSuffix(name, ".self_attn.rotary_emb.inv_freq") },
}
