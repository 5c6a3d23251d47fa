package lm

import (
	"fmt"
	"strings"
)

// GPT-NeoX (Black et al. 2022, arXiv:2204.06745) and Pythia: LayerNorms, a part of each
// head rotates, and attention and MLP are added side by side. Queries, keys and
// values are one matrix, head by head.

// neoxConfig reads the config.json of model_type "gpt_neox". Defaults are those of
// transformers' GPTNeoXConfig.
func neoxConfig(f configFile) (Config, error) {
	if err := f.fullAttention(); err != nil {
		return Config{}, err
	}
	act, ok := ungated[or(f.HiddenAct, "gelu")]
	if !ok {
		return Config{}, fmt.Errorf("%w: hidden_act %.40q", ErrUnsupported, *f.HiddenAct)
	}
	f.HeadDim, f.KVHeads = nil, nil // GPT-NeoX has neither
	c, err := f.base()
	if err != nil {
		return Config{}, err
	}
	if f.RotaryBase != nil && f.RopeTheta != nil && *f.RotaryBase != *f.RopeTheta {
		return Config{}, fmt.Errorf("%w: rotary_emb_base %g and rope_theta %g", ErrConfig, *f.RotaryBase, *f.RopeTheta)
	}
	if c.Rope, err = parseRope(f, or(f.RotaryBase, 10000)); err != nil {
		return Config{}, err
	}
	part, err := f.partialRotary(0.25)
	if err != nil {
		return Config{}, err
	}
	if !(part > 0 && part <= 1) {
		return Config{}, fmt.Errorf("%w: rotary_pct is %g, want more than 0, up to 1", ErrConfig, part)
	}
	c.RotaryDim = int(part * float64(c.HeadDim)) // rounded down, as in transformers
	if c.RotaryDim == 0 {
		return Config{}, fmt.Errorf("%w: rotary_pct %g of a head of %d values is none", ErrConfig, part, c.HeadDim)
	}
	c.Norm, c.NormEps = LayerNorm, or(f.LayerNormEps, 1e-5)
	c.Parallel = or(f.UseParallelResidual, true)
	c.Activation = act
	c.QKVBias, c.OutBias = or(f.AttentionBias, true), or(f.AttentionBias, true)
	c.MLPBias = true
	return c, nil
}

// neoxNames are the tensors of GPTNeoXForCausalLM.
var neoxNames = names{
	base:  "gpt_neox.",
	embed: "embed_in.weight",
	norm:  "final_layer_norm",
	head:  "embed_out.weight",

	block:         "layers.%d.",
	attentionNorm: "input_layernorm",
	qkv:           "attention.query_key_value",
	qkvByHead:     true,
	o:             "attention.dense",
	mlpNorm:       "post_attention_layernorm",
	up:            "mlp.dense_h_to_4h",
	down:          "mlp.dense_4h_to_h",

	// The causal mask, what it puts in place of a score, and the frequencies of RoPE.
	ignore: func(name string) bool {
		return strings.HasSuffix(name, ".attention.bias") || strings.HasSuffix(name, ".attention.masked_bias") ||
			strings.HasSuffix(name, ".attention.rotary_emb.inv_freq")
	},
}
