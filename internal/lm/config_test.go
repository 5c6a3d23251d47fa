package lm

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// llamaJSON is a small good config.json.
const llamaJSON = `{"model_type":"llama","hidden_size":64,"intermediate_size":172,"num_hidden_layers":5,"num_attention_heads":8,` +
	`"num_key_value_heads":4,"vocab_size":512,"max_position_embeddings":512,"rms_norm_eps":1e-05,"rope_theta":10000.0}`

// with returns llamaJSON with more fields; later ones win.
func with(fields string) string { return strings.TrimSuffix(llamaJSON, "}") + "," + fields + "}" }

func TestParseConfig(t *testing.T) {
	base := Config{
		Family: "llama", Hidden: 64, Intermediate: 172, Layers: 5, Heads: 8, KVHeads: 4, HeadDim: 8, Vocab: 512,
		Positions: 512, NormEps: 1e-5, Rope: Rope{Theta: 10000, Type: "default"},
	}
	mistral := base
	mistral.Family = "mistral"
	for _, c := range []struct {
		name, json string
		want       func(c Config) Config
	}{
		{"plain", llamaJSON, func(c Config) Config { return c }},
		{"head_dim", with(`"head_dim":32`), func(c Config) Config { c.HeadDim = 32; return c }},
		{"head_dim null", with(`"head_dim":null`), func(c Config) Config { return c }},
		{"no grouping", strings.Replace(llamaJSON, `"num_key_value_heads":4,`, ``, 1), func(c Config) Config { c.KVHeads = 8; return c }},
		{"tied, biases", with(`"tie_word_embeddings":true,"attention_bias":true,"mlp_bias":true`), func(c Config) Config {
			c.TiedHead, c.QKVBias, c.OutBias, c.MLPBias = true, true, true, true
			return c
		}},
		{"default eps and theta", strings.NewReplacer(`,"rms_norm_eps":1e-05,"rope_theta":10000.0`, ``).Replace(llamaJSON), func(c Config) Config {
			c.NormEps = 1e-6
			return c
		}},
		{"rope_scaling null", with(`"rope_scaling":null`), func(c Config) Config { return c }},
		{"linear, old", with(`"rope_scaling":{"type":"linear","factor":4}`), func(c Config) Config {
			c.Rope.Type, c.Rope.Factor = "linear", 4
			return c
		}},
		{"dynamic", with(`"rope_scaling":{"type":"dynamic","factor":4}`), func(c Config) Config { c.Rope.Type = "dynamic"; return c }},
		{"llama3", with(`"rope_theta":500000.0,"rope_scaling":{"factor":32.0,"high_freq_factor":4.0,"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"}`), func(c Config) Config {
			c.Rope = Rope{Theta: 500000, Type: "llama3", Factor: 32, LowFreq: 1, HighFreq: 4, Original: 8192}
			return c
		}},
		{"rope_parameters", with(`"rope_parameters":{"rope_theta":5000.0,"rope_type":"default"}`), func(c Config) Config { c.Rope.Theta = 5000; return c }},
		{"rope_parameters, linear", with(`"rope_parameters":{"rope_type":"linear","factor":2,"rope_theta":7}`), func(c Config) Config {
			c.Rope = Rope{Theta: 7, Type: "linear", Factor: 2}
			return c
		}},
		{"unknown field", with(`"use_cache":true,"transformers.js_config":{"a":[1,{}]}`), func(c Config) Config { return c }},
		{"mistral, window absent", with(`"model_type":"mistral"`), func(Config) Config { c := mistral; c.Window = 4096; return c }},
		{"mistral, window null", with(`"model_type":"mistral","sliding_window":null`), func(Config) Config { return mistral }},
		{"mistral, window", with(`"model_type":"mistral","sliding_window":9`), func(Config) Config { c := mistral; c.Window = 9; return c }},
	} {
		got, err := ParseConfig([]byte(c.json))
		if want := c.want(base); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: ParseConfig = %+v, %v, want %+v", c.name, got, err, want)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		name, json string
		want       error
	}{
		{"nothing", ``, ErrConfig},
		{"not JSON", `{`, ErrConfig},
		{"array", `[]`, ErrConfig},
		{"too large", `{"a":"` + strings.Repeat("a", maxConfigBytes) + `"}`, ErrConfig},
		{"deep", strings.Repeat(`{"a":`, 100000), ErrConfig},
		{"null", `null`, ErrUnsupported},
		{"empty", `{}`, ErrUnsupported},
		{"family", with(`"model_type":"mamba"`), ErrUnsupported},
		{"type of a field", with(`"hidden_size":"64"`), ErrConfig},
		{"fraction", with(`"hidden_size":64.5`), ErrConfig},
		{"beyond int64", with(`"hidden_size":9223372036854775808`), ErrConfig},
		{"hidden 0", with(`"hidden_size":0`), ErrConfig},
		{"hidden negative", with(`"hidden_size":-64`), ErrConfig},
		{"hidden huge", with(`"hidden_size":9223372036854775807`), ErrConfig},
		{"intermediate 0", with(`"intermediate_size":0`), ErrConfig},
		{"intermediate huge", with(`"intermediate_size":1073741824`), ErrConfig},
		{"no layers", with(`"num_hidden_layers":0`), ErrConfig},
		{"layers negative", with(`"num_hidden_layers":-1`), ErrConfig},
		{"layers huge", with(`"num_hidden_layers":1000000000`), ErrConfig},
		{"heads 0", with(`"num_attention_heads":0`), ErrConfig},
		{"heads negative", with(`"num_attention_heads":-8`), ErrConfig},
		{"heads smallest", with(`"hidden_size":-9223372036854775808,"num_attention_heads":-1`), ErrConfig},
		{"heads do not divide hidden", with(`"num_attention_heads":7`), ErrConfig},
		{"keys 0", with(`"num_key_value_heads":0`), ErrConfig},
		{"keys negative", with(`"num_key_value_heads":-4`), ErrConfig},
		{"keys do not divide heads", with(`"num_key_value_heads":3`), ErrConfig},
		{"more keys than heads", with(`"num_key_value_heads":16`), ErrConfig},
		{"head_dim 0", with(`"head_dim":0`), ErrConfig},
		{"head_dim odd", with(`"head_dim":7`), ErrConfig},
		{"head_dim huge", with(`"head_dim":1099511627776`), ErrConfig},
		{"vocabulary 0", with(`"vocab_size":0`), ErrConfig},
		{"vocabulary huge", with(`"vocab_size":4294967296`), ErrConfig},
		{"positions 0", with(`"max_position_embeddings":0`), ErrConfig},
		{"positions huge", with(`"max_position_embeddings":4294967296`), ErrConfig},
		{"eps negative", with(`"rms_norm_eps":-1`), ErrConfig},
		{"eps huge", with(`"rms_norm_eps":1e300`), ErrConfig},
		{"eps beyond float64", with(`"rms_norm_eps":1e999`), ErrConfig},
		{"theta 0", with(`"rope_theta":0`), ErrConfig},
		{"theta negative", with(`"rope_theta":-1`), ErrConfig},
		{"theta in rope_parameters", with(`"rope_parameters":{"rope_theta":0}`), ErrConfig},
		{"two ropes", with(`"rope_scaling":{},"rope_parameters":{}`), ErrConfig},
		{"rope a string", with(`"rope_scaling":"linear"`), ErrConfig},
		{"rope of another kind", with(`"rope_scaling":{"rope_type":"yarn","factor":4}`), ErrUnsupported},
		{"linear without factor", with(`"rope_scaling":{"type":"linear"}`), ErrConfig},
		{"linear factor 0", with(`"rope_scaling":{"type":"linear","factor":0}`), ErrConfig},
		{"llama3 without fields", with(`"rope_scaling":{"rope_type":"llama3","factor":8}`), ErrConfig},
		{"llama3 low over high", with(`"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1,"original_max_position_embeddings":8192}`), ErrConfig},
		{"llama3 original 0", with(`"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":0}`), ErrConfig},
		{"activation", with(`"hidden_act":"gelu"`), ErrUnsupported},
		{"quantised", with(`"quantization_config":{"quant_method":"awq"}`), ErrUnsupported},
		{"interleaved", with(`"rope_interleaved":true`), ErrUnsupported},
		{"partly rotated", with(`"partial_rotary_factor":0.5`), ErrUnsupported},
		{"partly rotated, new", with(`"rope_parameters":{"partial_rotary_factor":0.5}`), ErrUnsupported},
		{"layer types", with(`"layer_types":["full_attention","sliding_attention"]`), ErrUnsupported},
		{"window 0", with(`"model_type":"mistral","sliding_window":0`), ErrConfig},
		{"window negative", with(`"model_type":"mistral","sliding_window":-1`), ErrConfig},
		{"window a string", with(`"model_type":"mistral","sliding_window":"all"`), ErrConfig},
	} {
		if got, err := ParseConfig([]byte(c.json)); !errors.Is(err, c.want) || !reflect.DeepEqual(got, Config{}) {
			t.Errorf("%s: ParseConfig = %+v, %v, want %v", c.name, got, err, c.want)
		}
	}
}

// TestLlama3Frequencies: short wavelengths stay, long ones are stretched by the
// factor, and between the two the frequency falls without a jump.
func TestLlama3Frequencies(t *testing.T) {
	plain := Rope{Theta: 500000, Type: "default"}.frequencies(128)
	r := Rope{Theta: 500000, Type: "llama3", Factor: 32, LowFreq: 1, HighFreq: 4, Original: 8192}
	for i, f := range r.frequencies(128) {
		wavelength := 2 * math.Pi / plain[i]
		switch ratio := plain[i] / f; {
		case wavelength < 8192/4:
			if ratio != 1 {
				t.Errorf("pair %d, wavelength %.0f: divided by %g, want 1", i, wavelength, ratio)
			}
		case wavelength > 8192:
			if math.Abs(ratio-32) > 1e-9 {
				t.Errorf("pair %d, wavelength %.0f: divided by %g, want 32", i, wavelength, ratio)
			}
		case ratio <= 1 || ratio >= 32:
			t.Errorf("pair %d, wavelength %.0f: divided by %g, want 1 to 32", i, wavelength, ratio)
		}
	}
}

// FuzzParseConfig checks that what is accepted is within the limits: no product of
// sizes overflows, no division by zero waits, no frequency is out of range.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(llamaJSON))
	f.Add([]byte(with(`"model_type":"mistral","sliding_window":9`)))
	f.Add([]byte(with(`"rope_scaling":{"factor":32.0,"high_freq_factor":4.0,"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"}`)))
	f.Add([]byte(with(`"rope_parameters":{"rope_type":"linear","factor":2,"rope_theta":7}`)))
	f.Add([]byte(with(`"hidden_size":-9223372036854775808,"num_attention_heads":-1`)))
	for _, c := range []string{qwen25JSON, qwen3JSON, gpt2JSON, pythiaJSON, gemmaJSON} {
		f.Add([]byte(c))
	}
	f.Add(change(f, qwen25JSON, `"use_sliding_window":true,"max_window_layers":-1,"sliding_window":1`))
	f.Add(change(f, gpt2JSON, `"n_embd":-9223372036854775808,"n_head":-1,"n_inner":null`))
	f.Add(change(f, pythiaJSON, `"rotary_pct":1,"partial_rotary_factor":1,"rope_theta":10000`))
	f.Add(change(f, gemmaJSON, `"layer_types":"-","num_hidden_layers":9223372036854775807,"_sliding_window_pattern":1`))
	f.Add(change(f, gemmaJSON, `"rope_scaling":"-","rope_parameters":{"full_attention":{"rope_theta":1e308},"sliding_attention":{"factor":1e-9,"type":"linear"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err != nil {
			if !errors.Is(err, ErrConfig) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("ParseConfig = %v, which is neither %v nor %v", err, ErrConfig, ErrUnsupported)
			}
			return
		}
		if err := c.validate(); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		for i := range c.Layers {
			r := c.Rope
			if c.local(i) {
				r = c.LocalRope
			}
			for _, f := range r.frequencies(c.rotaryDim()) {
				if !(f >= 0 && f <= 1) {
					t.Fatalf("layer %d: frequency %g of %+v", i, f, r)
				}
			}
			if i == 2 {
				break // of each kind, one has been seen
			}
		}
		if s := c.queryScale(); !(s > 0 && s <= 1) {
			t.Fatalf("queries are scaled by %g", s)
		}
		// An empty checkpoint lacks something, whatever is asked for.
		if _, err := Load(c, memory(t, nil), Options{Threads: 1}); !errors.Is(err, ErrTensor) {
			t.Fatalf("Load = %v, want %v", err, ErrTensor)
		}
	})
}
