package lm

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

// Configurations of published models, the fields that do not matter left out.
const (
	// Qwen/Qwen2.5-0.5B
	qwen25JSON = `{"model_type":"qwen2","hidden_act":"silu","hidden_size":896,"intermediate_size":4864,"max_position_embeddings":32768,
		"max_window_layers":24,"num_attention_heads":14,"num_hidden_layers":24,"num_key_value_heads":2,"rms_norm_eps":1e-06,
		"rope_theta":1000000.0,"sliding_window":32768,"tie_word_embeddings":true,"use_sliding_window":false,"vocab_size":151936}`
	// Qwen/Qwen3-0.6B
	qwen3JSON = `{"model_type":"qwen3","attention_bias":false,"head_dim":128,"hidden_act":"silu","hidden_size":1024,"intermediate_size":3072,
		"max_position_embeddings":40960,"max_window_layers":28,"num_attention_heads":16,"num_hidden_layers":28,"num_key_value_heads":8,
		"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":1000000,"sliding_window":null,"tie_word_embeddings":true,
		"use_sliding_window":false,"vocab_size":151936}`
	// openai-community/gpt2
	gpt2JSON = `{"model_type":"gpt2","activation_function":"gelu_new","layer_norm_epsilon":1e-05,"n_ctx":1024,"n_embd":768,"n_head":12,
		"n_layer":12,"n_positions":1024,"vocab_size":50257}`
	// EleutherAI/pythia-70m
	pythiaJSON = `{"model_type":"gpt_neox","hidden_act":"gelu","hidden_size":512,"intermediate_size":2048,"layer_norm_eps":1e-05,
		"max_position_embeddings":2048,"num_attention_heads":8,"num_hidden_layers":6,"rotary_emb_base":10000,"rotary_pct":0.25,
		"tie_word_embeddings":false,"use_parallel_residual":true,"vocab_size":50304}`
	// google/gemma-3-270m
	gemmaJSON = `{"model_type":"gemma3_text","_sliding_window_pattern":6,"attention_bias":false,"attn_logit_softcapping":null,
		"final_logit_softcapping":null,"head_dim":256,"hidden_activation":"gelu_pytorch_tanh","hidden_size":640,"intermediate_size":2048,
		"layer_types":["sliding_attention","sliding_attention","sliding_attention","sliding_attention","sliding_attention","full_attention",
		"sliding_attention","sliding_attention","sliding_attention","sliding_attention","sliding_attention","full_attention",
		"sliding_attention","sliding_attention","sliding_attention","sliding_attention","sliding_attention","full_attention"],
		"max_position_embeddings":32768,"num_attention_heads":4,"num_hidden_layers":18,"num_key_value_heads":1,"query_pre_attn_scalar":256,
		"rms_norm_eps":1e-06,"rope_local_base_freq":10000.0,"rope_scaling":null,"rope_theta":1000000.0,"sliding_window":512,
		"use_bidirectional_attention":false,"vocab_size":262144}`
)

// change returns a configuration with fields set, or removed where the value is
// "-".
func change(t testing.TB, config, fields string) []byte {
	t.Helper()
	var c, f map[string]any
	if err := errors.Join(json.Unmarshal([]byte(config), &c), json.Unmarshal([]byte("{"+fields+"}"), &f)); err != nil {
		t.Fatal(err)
	}
	maps.Copy(c, f)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == "-" })
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fullEvery returns layers of which each nth sees all.
func fullEvery(n, layers int) []bool {
	full := make([]bool, layers)
	for i := n - 1; i < layers; i += n {
		full[i] = true
	}
	return full
}

func TestParseConfigFamilies(t *testing.T) {
	rope := func(theta float64) Rope { return Rope{Theta: theta, Type: "default"} }
	qwen25 := Config{
		Family: "qwen2", Hidden: 896, Intermediate: 4864, Layers: 24, Heads: 14, KVHeads: 2, HeadDim: 64, Vocab: 151936,
		Positions: 32768, NormEps: 1e-6, Rope: rope(1e6), QKVBias: true, TiedHead: true,
	}
	qwen3 := Config{
		Family: "qwen3", Hidden: 1024, Intermediate: 3072, Layers: 28, Heads: 16, KVHeads: 8, HeadDim: 128, Vocab: 151936,
		Positions: 40960, NormEps: 1e-6, QKNorm: true, Rope: rope(1e6), TiedHead: true,
	}
	gpt2 := Config{
		Family: "gpt2", Hidden: 768, Intermediate: 3072, Layers: 12, Heads: 12, KVHeads: 12, HeadDim: 64, Vocab: 50257, Positions: 1024,
		LearnedPositions: true, Norm: LayerNorm, NormEps: 1e-5, Activation: GELUTanh, QKVBias: true, OutBias: true, MLPBias: true, TiedHead: true,
	}
	pythia := Config{
		Family: "gpt_neox", Hidden: 512, Intermediate: 2048, Layers: 6, Heads: 8, KVHeads: 8, HeadDim: 64, Vocab: 50304, Positions: 2048,
		Norm: LayerNorm, NormEps: 1e-5, Parallel: true, Rope: rope(10000), RotaryDim: 16, Activation: GELU,
		QKVBias: true, OutBias: true, MLPBias: true,
	}
	gemma := Config{
		Family: "gemma3_text", Hidden: 640, Intermediate: 2048, Layers: 18, Heads: 4, KVHeads: 1, HeadDim: 256, Vocab: 262144, Positions: 32768,
		ScaledEmbeddings: true, Norm: RMSNormPlusOne, NormEps: 1e-6, QKNorm: true, PostNorms: true, Rope: rope(1e6), LocalRope: rope(10000),
		QueryDim: 256, Window: 512, Full: fullEvery(6, 18), Activation: GEGLU, TiedHead: true,
	}
	for _, c := range []struct {
		name, json, fields string
		base               Config
		want               func(c *Config)
	}{
		{"Qwen2.5", qwen25JSON, ``, qwen25, nil},
		{"qwen2, window above", qwen25JSON, `"use_sliding_window":true,"max_window_layers":22`, qwen25, func(c *Config) {
			c.Window, c.Full = 32768, append(slices.Repeat([]bool{true}, 22), false, false)
		}},
		{"qwen2, window below max_window_layers", qwen25JSON, `"use_sliding_window":true`, qwen25, nil},
		{"qwen2, window everywhere", qwen25JSON, `"use_sliding_window":true,"max_window_layers":0,"sliding_window":"-"`, qwen25, func(c *Config) { c.Window = 4096 }},
		{"qwen2, window null", qwen25JSON, `"use_sliding_window":true,"max_window_layers":0,"sliding_window":null`, qwen25, nil},
		{"qwen2, biases are given", qwen25JSON, `"attention_bias":false,"mlp_bias":true`, qwen25, nil},
		{"qwen2, layer_types", qwen25JSON, `"use_sliding_window":true,"num_hidden_layers":2,"layer_types":["sliding_attention","full_attention"]`, qwen25, func(c *Config) {
			c.Layers, c.Window, c.Full = 2, 32768, []bool{false, true}
		}},
		{"Qwen3", qwen3JSON, ``, qwen3, nil},
		{"qwen3, biases", qwen3JSON, `"attention_bias":true`, qwen3, func(c *Config) { c.QKVBias, c.OutBias = true, true }},
		{"GPT-2", gpt2JSON, ``, gpt2, nil},
		{"gpt2, inner size, untied, erf", gpt2JSON, `"n_inner":1000,"tie_word_embeddings":false,"activation_function":"gelu"`, gpt2, func(c *Config) {
			c.Intermediate, c.TiedHead, c.Activation = 1000, false, GELU
		}},
		{"gpt2, common names, too", gpt2JSON, `"hidden_size":768,"num_attention_heads":12,"num_key_value_heads":3`, gpt2, nil},
		{"Pythia", pythiaJSON, ``, pythia, nil},
		{"gpt_neox, sequential, no biases", pythiaJSON, `"use_parallel_residual":false,"attention_bias":false,"hidden_act":"gelu_fast"`, pythia, func(c *Config) {
			c.Parallel, c.QKVBias, c.OutBias, c.Activation = false, false, false, GELUTanh
		}},
		{"gpt_neox, defaults", pythiaJSON, `"use_parallel_residual":"-","rotary_pct":"-","rotary_emb_base":"-","layer_norm_eps":"-","hidden_act":"-"`, pythia, nil},
		{"gpt_neox, newer names", pythiaJSON, `"rotary_pct":"-","partial_rotary_factor":1,"rope_theta":10000,"rope_scaling":{"type":"linear","factor":2}`, pythia, func(c *Config) {
			c.RotaryDim, c.Rope.Type, c.Rope.Factor = 64, "linear", 2
		}},
		{"gpt_neox, newest names", pythiaJSON, `"rotary_pct":"-","rotary_emb_base":"-","rope_parameters":{"rope_theta":5,"partial_rotary_factor":0.5,"rope_type":"default"}`, pythia, func(c *Config) {
			c.RotaryDim, c.Rope.Theta = 32, 5
		}},
		{"Gemma 3", gemmaJSON, ``, gemma, nil},
		{"gemma3, pattern", gemmaJSON, `"layer_types":"-","sliding_window_pattern":5,"_sliding_window_pattern":"-"`, gemma, func(c *Config) { c.Full = fullEvery(5, 18) }},
		{"gemma3, defaults", gemmaJSON, `"layer_types":"-","_sliding_window_pattern":"-","rope_theta":"-","rope_local_base_freq":"-","rms_norm_eps":"-",
			"query_pre_attn_scalar":"-","hidden_activation":"-","sliding_window":4096`, gemma, func(c *Config) { c.Window = 4096 }},
		{"gemma3, all slide", gemmaJSON, `"layer_types":"-","_sliding_window_pattern":19`, gemma, func(c *Config) { c.Full = nil }},
		{"gemma3, none slides", gemmaJSON, `"layer_types":"-","_sliding_window_pattern":1`, gemma, func(c *Config) { c.Window, c.Full = 0, nil }},
		{"gemma3, scaled, query", gemmaJSON, `"rope_scaling":{"rope_type":"linear","factor":8},"query_pre_attn_scalar":168`, gemma, func(c *Config) {
			c.Rope.Type, c.Rope.Factor, c.QueryDim = "linear", 8, 168
		}},
		{"gemma3, newest names", gemmaJSON, `"rope_scaling":"-","rope_theta":"-","rope_local_base_freq":"-","rope_parameters":{
			"full_attention":{"rope_type":"linear","factor":8,"rope_theta":7},"sliding_attention":{"rope_type":"default","rope_theta":5}}`, gemma, func(c *Config) {
			c.Rope, c.LocalRope = Rope{Theta: 7, Type: "linear", Factor: 8}, rope(5)
		}},
	} {
		want := c.base
		if c.want != nil {
			c.want(&want)
		}
		if got, err := ParseConfig(change(t, c.json, c.fields)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: ParseConfig = %+v, %v, want %+v", c.name, got, err, want)
		}
	}
}

func TestParseConfigFamiliesRefuses(t *testing.T) {
	for _, c := range []struct {
		json, fields string
		want         error
	}{
		{qwen25JSON, `"num_key_value_heads":"-"`, ErrConfig},
		{qwen25JSON, `"num_attention_heads":13`, ErrConfig},
		{qwen25JSON, `"hidden_act":"gelu"`, ErrUnsupported},
		{qwen25JSON, `"rope_scaling":{"type":"mrope","mrope_section":[16,24,24]}`, ErrUnsupported},
		{qwen25JSON, `"rope_scaling":{"type":"yarn","factor":4}`, ErrUnsupported},
		{qwen25JSON, `"use_sliding_window":true,"sliding_window":0`, ErrConfig},
		{qwen25JSON, `"layer_types":["sliding_attention"]`, ErrConfig},
		{qwen25JSON, `"num_hidden_layers":1,"layer_types":["sliding_attention"]`, ErrConfig}, // without use_sliding_window
		{qwen25JSON, `"num_hidden_layers":1,"layer_types":["linear_attention"]`, ErrUnsupported},
		{qwen25JSON, `"num_hidden_layers":1000000000,"use_sliding_window":true`, ErrConfig},
		{qwen25JSON, `"num_hidden_layers":-3,"use_sliding_window":true`, ErrConfig},
		{qwen25JSON, `"use_sliding_window":"yes"`, ErrConfig},
		{qwen25JSON, `"model_type":"qwen2_moe"`, ErrUnsupported},
		{qwen3JSON, `"head_dim":"-"`, ErrConfig},
		{qwen3JSON, `"head_dim":null`, ErrConfig},
		{qwen3JSON, `"partial_rotary_factor":0.5`, ErrUnsupported},
		{gpt2JSON, `"activation_function":"relu"`, ErrUnsupported},
		{gpt2JSON, `"activation_function":"quick_gelu"`, ErrUnsupported},
		{gpt2JSON, `"scale_attn_weights":false`, ErrUnsupported},
		{gpt2JSON, `"scale_attn_by_inverse_layer_idx":true`, ErrUnsupported},
		{gpt2JSON, `"add_cross_attention":true`, ErrUnsupported},
		{gpt2JSON, `"quantization_config":{"bits":4}`, ErrUnsupported},
		{gpt2JSON, `"n_embd":"-"`, ErrConfig},
		{gpt2JSON, `"n_head":0`, ErrConfig},
		{gpt2JSON, `"n_head":7`, ErrConfig},
		{gpt2JSON, `"n_positions":0`, ErrConfig},
		{gpt2JSON, `"n_inner":0`, ErrConfig},
		{gpt2JSON, `"n_embd":4611686018427387904`, ErrConfig},
		{gpt2JSON, `"n_embd":-768`, ErrConfig},
		{gpt2JSON, `"layer_norm_epsilon":-1`, ErrConfig},
		{gpt2JSON, `"hidden_size":1024`, ErrConfig},
		{gpt2JSON, `"num_attention_heads":6`, ErrConfig},
		{pythiaJSON, `"hidden_act":"relu"`, ErrUnsupported},
		{pythiaJSON, `"rotary_pct":0`, ErrConfig},
		{pythiaJSON, `"rotary_pct":-1`, ErrConfig},
		{pythiaJSON, `"rotary_pct":2`, ErrConfig},
		{pythiaJSON, `"rotary_pct":0.01`, ErrConfig},
		{pythiaJSON, `"rotary_pct":0.8`, ErrConfig}, // 51 of 64 values
		{pythiaJSON, `"partial_rotary_factor":0.5`, ErrConfig},
		{pythiaJSON, `"rope_theta":500`, ErrConfig},
		{pythiaJSON, `"rotary_emb_base":0`, ErrConfig},
		{pythiaJSON, `"layer_norm_eps":1`, ErrConfig},
		{pythiaJSON, `"num_attention_heads":7`, ErrConfig},
		{gemmaJSON, `"hidden_activation":"gelu"`, ErrUnsupported},
		{gemmaJSON, `"attn_logit_softcapping":50`, ErrUnsupported},
		{gemmaJSON, `"final_logit_softcapping":30`, ErrUnsupported},
		{gemmaJSON, `"use_bidirectional_attention":true`, ErrUnsupported},
		{gemmaJSON, `"head_dim":"-"`, ErrConfig},
		{gemmaJSON, `"num_key_value_heads":"-"`, ErrConfig},
		{gemmaJSON, `"sliding_window":null`, ErrConfig},
		{gemmaJSON, `"sliding_window_pattern":5`, ErrConfig}, // beside another one
		{gemmaJSON, `"_sliding_window_pattern":0`, ErrConfig},
		{gemmaJSON, `"num_hidden_layers":17`, ErrConfig}, // layer_types has 18
		{gemmaJSON, `"query_pre_attn_scalar":0`, ErrConfig},
		{gemmaJSON, `"query_pre_attn_scalar":-256`, ErrConfig},
		{gemmaJSON, `"query_pre_attn_scalar":1e300`, ErrConfig},
		{gemmaJSON, `"rope_local_base_freq":0`, ErrConfig},
		{gemmaJSON, `"rope_scaling":{"rope_type":"linear","factor":0}`, ErrConfig},
		{gemmaJSON, `"rope_scaling":"-","rope_parameters":{"full_attention":{}}`, ErrUnsupported}, // the other one is missing
		{gemmaJSON, `"rope_scaling":"-","rope_parameters":{"full_attention":{"partial_rotary_factor":0.5},"sliding_attention":{}}`, ErrUnsupported},
		{gemmaJSON, `"rope_scaling":"-","rope_parameters":{"full_attention":{"full_attention":{}},"sliding_attention":{}}`, ErrUnsupported},
		{gemmaJSON, `"rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"full_attention":{},"sliding_attention":{}}`, ErrConfig},
		{gemmaJSON, `"model_type":"gemma3"`, ErrUnsupported},
		{llamaJSON, `"rope_parameters":{"full_attention":{},"sliding_attention":{}}`, ErrUnsupported},
	} {
		if got, err := ParseConfig(change(t, c.json, c.fields)); !errors.Is(err, c.want) || !reflect.DeepEqual(got, Config{}) {
			t.Errorf("%.25s with %s: ParseConfig = %+v, %v, want %v", c.json, c.fields, got, err, c.want)
		}
	}
}

// TestSharedConfigs reads the config.json that real models came with.
func TestSharedConfigs(t *testing.T) {
	dir := shared(t, "tokenizers")
	b, err := os.ReadFile(filepath.Join(dir, "pythia", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(b)
	if err != nil || c.Layers != 24 || c.RotaryDim != 16 || !c.Parallel {
		t.Errorf("Pythia: ParseConfig = %+v, %v", c, err)
	}
	b, err = os.ReadFile(filepath.Join(dir, "gpt2", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	// This one has weights of four bits.
	if _, err := ParseConfig(b); !errors.Is(err, ErrUnsupported) {
		t.Errorf("GPT-2: ParseConfig = %v, want %v", err, ErrUnsupported)
	}
	if c, err = ParseConfig(change(t, string(b), `"quantization_config":"-"`)); err != nil || c.Layers != 12 || c.Intermediate != 3072 {
		t.Errorf("GPT-2: ParseConfig = %+v, %v", c, err)
	}
	if c, err = ParseConfig(read(t, shared(t, "tokenizers"), "tinyllama", "config.json")); err != nil || c.KVHeads != 4 {
		t.Errorf("TinyLlama: ParseConfig = %+v, %v", c, err)
	}
}

// TestLoadNames: what families call their tensors, fused and transposed ones and those
// that are not used.
func TestLoadNames(t *testing.T) {
	shape := func(family string) (Config, safetensors.DType) {
		for _, s := range shapes {
			if s.c.Family == family {
				return s.c, s.dtype
			}
		}
		t.Fatalf("no shape of family %q", family)
		return Config{}, ""
	}
	gpt2, dtype := shape("gpt2")
	mask := safetensors.FromFloat32("transformer.h.0.attn.bias", []int{1, 1}, []float32{1})
	for _, c := range []struct {
		name, family string
		change       func(ts []safetensors.Tensor) []safetensors.Tensor
		want         string // in the message; empty if it loads
	}{
		{"mask", "gpt2", func(ts []safetensors.Tensor) []safetensors.Tensor { return append(ts, mask) }, ""},
		{"tied head written", "gpt2", func(ts []safetensors.Tensor) []safetensors.Tensor {
			return append(ts, safetensors.FromFloat32("lm_head.weight", []int{1}, []float32{1}))
		}, ""},
		{"positions missing", "gpt2", without("transformer.wpe.weight"), `missing ["transformer.wpe.weight"]`},
		{"fused missing", "gpt2", without("transformer.h.1.attn.c_attn.weight"), `missing ["transformer.h.1.attn.c_attn.weight"]`},
		{"bias of a norm missing", "gpt2", without("transformer.ln_f.bias"), `missing ["transformer.ln_f.bias"]`},
		{"not transposed", "gpt2", turned("transformer.h.0.mlp.c_fc.weight"), "has shape [37 24], want [24 37]"},
		{"fused missing", "gpt_neox", without("gpt_neox.layers.0.attention.query_key_value.bias"), `missing ["gpt_neox.layers.0.attention.query_key_value.bias"]`},
		{"norm of heads missing", "qwen3", without("model.layers.0.self_attn.k_norm.weight"), `missing ["model.layers.0.self_attn.k_norm.weight"]`},
		{"bias missing", "qwen2", without("model.layers.2.self_attn.v_proj.bias"), `missing ["model.layers.2.self_attn.v_proj.bias"]`},
		{"bias too many", "qwen2", func(ts []safetensors.Tensor) []safetensors.Tensor {
			return append(ts, safetensors.FromFloat32("model.layers.2.self_attn.o_proj.bias", []int{1}, []float32{1}))
		}, `not expected ["model.layers.2.self_attn.o_proj.bias"]`},
		{"post-norm missing", "gemma3_text", without("model.layers.0.post_feedforward_layernorm.weight"), `missing ["model.layers.0.post_feedforward_layernorm.weight"]`},
	} {
		config, dtype := shape(c.family)
		m, err := Load(config, memory(t, c.change(checkpoint(config, dtype, 1))), Options{Threads: 1})
		if err == nil {
			m.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrTensor) || !bytes.Contains([]byte(err.Error()), []byte(c.want))) {
			t.Errorf("%s, %s: Load = %v, want %q", c.family, c.name, err, c.want)
		}
	}

	// A checkpoint of the bare model has the same states.
	good := checkpoint(gpt2, dtype, 1)
	bare := slices.Clone(good)
	for i := range bare {
		bare[i].Name = bare[i].Name[len("transformer."):]
	}
	var states [2][]float32
	for i, ts := range [][]safetensors.Tensor{good, bare} {
		r := load(t, gpt2, memory(t, ts), Options{Threads: 1}).NewRun()
		forward(t, r, nil, []int32{1, 2}, []int{2}, []Tap{{2, Residual}})
		states[i] = r.Hidden(0)
	}
	if !slices.Equal(states[0], states[1]) {
		t.Error("the bare checkpoint gives other states")
	}

	grouped, _ := shape("gpt_neox")
	grouped.KVHeads = 2
	if _, err := Load(grouped, memory(t, nil), Options{}); !errors.Is(err, ErrConfig) {
		t.Errorf("gpt_neox with grouped heads: Load = %v, want %v", err, ErrConfig)
	}
}

func without(name string) func([]safetensors.Tensor) []safetensors.Tensor {
	return func(ts []safetensors.Tensor) []safetensors.Tensor {
		return slices.DeleteFunc(ts, func(t safetensors.Tensor) bool { return t.Name == name })
	}
}

func turned(name string) func([]safetensors.Tensor) []safetensors.Tensor {
	return func(ts []safetensors.Tensor) []safetensors.Tensor {
		i := slices.IndexFunc(ts, func(t safetensors.Tensor) bool { return t.Name == name })
		slices.Reverse(ts[i].Shape)
		return ts
	}
}
