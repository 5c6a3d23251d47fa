package lm

import (
	"fmt"
	"strings"
)

// GPT-2 (Radford et al. 2019) and what was made of it (DistilGPT2, DialoGPT): positions
// are learned rows, norms are LayerNorms, the MLP has no gate. Its matrices are
// stored (in, out), and queries, keys and values are one.

// gpt2Config reads the config.json of model_type "gpt2". Defaults are those of
// transformers' GPT2Config.
func gpt2Config(f configFile) (Config, error) {
	act, ok := ungated[or(f.ActivationFunction, "gelu_new")]
	switch {
	case !ok:
		return Config{}, fmt.Errorf("%w: activation_function %.40q", ErrUnsupported, *f.ActivationFunction)
	case !or(f.ScaleAttention, true):
		return Config{}, fmt.Errorf("%w: scale_attn_weights is false", ErrUnsupported)
	case or(f.ScaleAttentionByLayer, false):
		return Config{}, fmt.Errorf("%w: scale_attn_by_inverse_layer_idx", ErrUnsupported)
	case or(f.AddCrossAttention, false):
		return Config{}, fmt.Errorf("%w: add_cross_attention", ErrUnsupported)
	}
	// transformers takes the common names for GPT-2's own, too.
	for _, n := range []struct {
		common *int
		own    int
		names  string
	}{
		{&f.HiddenSize, f.NEmbd, "hidden_size and n_embd"},
		{&f.Layers, f.NLayer, "num_hidden_layers and n_layer"},
		{&f.Heads, f.NHead, "num_attention_heads and n_head"},
		{&f.Positions, f.NPositions, "max_position_embeddings and n_positions"},
	} {
		if *n.common != 0 && *n.common != n.own {
			return Config{}, fmt.Errorf("%w: %s are %d and %d", ErrConfig, n.names, *n.common, n.own)
		}
		*n.common = n.own
	}
	f.HeadDim, f.KVHeads = nil, nil // GPT-2 has neither
	c, err := f.base()
	if err != nil {
		return Config{}, err
	}
	if c.Hidden <= maxWidth {
		c.Intermediate = 4 * c.Hidden
	}
	c.Intermediate = or(f.NInner, c.Intermediate)
	c.LearnedPositions = true
	c.Norm, c.NormEps = LayerNorm, or(f.LayerNormEpsilon, 1e-5)
	c.Activation = act
	c.QKVBias, c.OutBias, c.MLPBias = true, true, true
	c.TiedHead = or(f.TieWordEmbeddings, true)
	return c, nil
}

// gpt2Names are the tensors of GPT2LMHeadModel. OpenAI's own files are of GPT2Model,
// without the base.
var gpt2Names = names{
	base:      "transformer.",
	embed:     "wte.weight",
	positions: "wpe.weight",
	norm:      "ln_f",
	head:      "lm_head.weight",

	block:         "h.%d.",
	attentionNorm: "ln_1",
	qkv:           "attn.c_attn",
	o:             "attn.c_proj",
	mlpNorm:       "ln_2",
	up:            "mlp.c_fc",
	down:          "mlp.c_proj",
	transposed:    true,

	// The causal mask, and what it puts in place of a score.
	ignore: func(name string) bool {
		return strings.HasSuffix(name, ".attn.bias") || strings.HasSuffix(name, ".attn.masked_bias")
	},
}
