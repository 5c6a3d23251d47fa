package lm

import "fmt"

// Qwen 2, 2.5 and 3 (Yang et al. 2024, arXiv:2407.10671; 2025, arXiv:2505.09388): Llama,
// but Qwen2 has biases on q, k and v alone, and Qwen3 norms queries and keys instead. The
// mixtures of experts are other families.

// qwen2Config reads the config.json of model_type "qwen2". Defaults are those of
// transformers' Qwen2Config.
func qwen2Config(f configFile) (Config, error) {
	c, err := f.qwen()
	c.QKVBias = true
	return c, err
}

// qwen3Config reads the config.json of model_type "qwen3".
func qwen3Config(f configFile) (Config, error) {
	if f.HeadDim == nil {
		return Config{}, fmt.Errorf("%w: no head_dim", ErrConfig) // Qwen3Config has 128, whatever hidden_size is
	}
	c, err := f.qwen()
	c.QKNorm = true
	c.QKVBias, c.OutBias = or(f.AttentionBias, false), or(f.AttentionBias, false)
	return c, err
}

// qwen reads what both have in common. A window is for the layers from
// max_window_layers on, and only if use_sliding_window says so.
func (f configFile) qwen() (Config, error) {
	if f.KVHeads == nil {
		return Config{}, fmt.Errorf("%w: no num_key_value_heads", ErrConfig) // the classes have 32, whatever the heads
	}
	c, err := f.llama(10000)
	if err != nil {
		return Config{}, err
	}
	window, err := f.window(4096)
	if err != nil {
		return Config{}, err
	}
	if !or(f.UseSlidingWindow, false) {
		window = 0
	}
	from := or(f.MaxWindowLayers, 28)
	err = f.layers(&c, window, func(i int) bool { return window > 0 && i >= from })
	return c, err
}

// qwen3Names are the tensors of Qwen3ForCausalLM.
var qwen3Names = func() names {
	n := llamaNames
	n.qNorm, n.kNorm = "self_attn.q_norm", "self_attn.k_norm"
	return n
}()
