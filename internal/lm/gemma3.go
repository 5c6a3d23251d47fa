package lm

import (
	"errors"
	"fmt"
)

// Gemma 3's text models (arXiv:2503.19786): norms before and after attention and MLP,
// with weights stored less one, normed queries and keys, GEGLU, and five layers with
// a sliding window and positions of their own to one that sees all.

// gemma3Config reads the config.json of model_type "gemma3_text", which the sizes without
// a vision tower have. Defaults are those of transformers' Gemma3TextConfig.
func gemma3Config(f configFile) (Config, error) {
	switch act := or(f.HiddenActivation, "gelu_pytorch_tanh"); {
	case ungated[act] != GELUTanh:
		return Config{}, fmt.Errorf("%w: hidden_activation %.40q", ErrUnsupported, act)
	case f.AttentionCap != nil || f.FinalCap != nil:
		return Config{}, fmt.Errorf("%w: logit_softcapping", ErrUnsupported) // Gemma 2
	case or(f.Bidirectional, false):
		return Config{}, fmt.Errorf("%w: use_bidirectional_attention", ErrUnsupported) // EmbeddingGemma
	case f.HeadDim == nil || f.KVHeads == nil:
		return Config{}, fmt.Errorf("%w: no head_dim or no num_key_value_heads", ErrConfig) // 256 and 4, whatever hidden_size is
	case f.SlidingWindowPattern != nil && f.SlidingPattern != nil && *f.SlidingWindowPattern != *f.SlidingPattern:
		return Config{}, fmt.Errorf("%w: sliding_window_pattern %d and %d", ErrConfig, *f.SlidingWindowPattern, *f.SlidingPattern)
	}
	c, err := f.base()
	if err != nil {
		return Config{}, err
	}
	window, err := f.window(4096)
	if err != nil {
		return Config{}, err
	}
	pattern := or(f.SlidingWindowPattern, or(f.SlidingPattern, 6))
	if pattern < 1 {
		return Config{}, fmt.Errorf("%w: sliding_window_pattern is %d", ErrConfig, pattern)
	}
	if err := f.layers(&c, window, func(i int) bool { return (i+1)%pattern != 0 }); err != nil {
		return Config{}, err
	}

	// rope_scaling is for the layers that see all.
	full, local := f, configFile{}
	if p := f.RopeParameters; p != nil && p.Full != nil && p.Sliding != nil {
		full.RopeParameters, local.RopeParameters = p.Full, p.Sliding
	}
	if err := errors.Join(full.allRotary(), local.allRotary()); err != nil {
		return Config{}, err
	}
	if c.Rope, err = parseRope(full, 1e6); err != nil {
		return Config{}, err
	}
	if c.LocalRope, err = parseRope(local, or(f.RopeLocalTheta, 10000)); err != nil {
		return Config{}, err
	}
	c.ScaledEmbeddings = true
	c.Norm, c.NormEps = RMSNormPlusOne, or(f.NormEps, 1e-6)
	c.QKNorm, c.PostNorms = true, true
	c.QueryDim = or(f.QueryScalar, 256)
	if c.QueryDim == 0 {
		return Config{}, fmt.Errorf("%w: query_pre_attn_scalar is 0", ErrConfig)
	}
	c.Activation = GEGLU
	c.QKVBias, c.OutBias = or(f.AttentionBias, false), or(f.AttentionBias, false)
	c.TiedHead = or(f.TieWordEmbeddings, true)
	return c, nil
}

// gemma3Names are the tensors of Gemma3ForCausalLM.
var gemma3Names = func() names {
	n := qwen3Names
	n.attentionPostNorm = "post_attention_layernorm"
	n.mlpNorm = "pre_feedforward_layernorm"
	n.mlpPostNorm = "post_feedforward_layernorm"
	return n
}()
