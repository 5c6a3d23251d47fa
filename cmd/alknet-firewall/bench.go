package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
	"github.com/alkimiadev/alknet-firewall/internal/lm"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

// shapes are models of known form whose speed can be measured with random
// weights: speed does not depend on them.
var shapes = map[string]string{
	// HuggingFaceTB/SmolLM2-135M, config.json.
	"smollm2-135m": `{"model_type":"llama","hidden_size":576,"intermediate_size":1536,"num_hidden_layers":30,"num_attention_heads":9,
		"num_key_value_heads":3,"vocab_size":49152,"max_position_embeddings":8192,"rms_norm_eps":1e-5,"rope_theta":100000,"tie_word_embeddings":true}`,
}

// writeRandom writes a checkpoint of the Llama family with random bf16 weights,
// scaled so that activations neither vanish nor overflow.
func writeRandom(name string, c lm.Config) error {
	rng := rand.New(rand.NewPCG(1, 2))
	var tensors []safetensors.Tensor
	add := func(name string, shape ...int) {
		n, scale := 1, 1/math.Sqrt(float64(shape[len(shape)-1]))
		for _, d := range shape {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(scale * rng.NormFloat64())
			if len(shape) == 1 {
				v[i] = 1 // a norm's weight
			}
		}
		tensors = append(tensors, safetensors.Tensor{Name: name, DType: safetensors.BF16, Shape: shape, Data: safetensors.BF16FromFloat32(v)})
	}
	add("model.embed_tokens.weight", c.Vocab, c.Hidden)
	for i := range c.Layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		add(p+"input_layernorm.weight", c.Hidden)
		add(p+"self_attn.q_proj.weight", c.Heads*c.HeadDim, c.Hidden)
		add(p+"self_attn.k_proj.weight", c.KVHeads*c.HeadDim, c.Hidden)
		add(p+"self_attn.v_proj.weight", c.KVHeads*c.HeadDim, c.Hidden)
		add(p+"self_attn.o_proj.weight", c.Hidden, c.Heads*c.HeadDim)
		add(p+"post_attention_layernorm.weight", c.Hidden)
		add(p+"mlp.gate_proj.weight", c.Intermediate, c.Hidden)
		add(p+"mlp.up_proj.weight", c.Intermediate, c.Hidden)
		add(p+"mlp.down_proj.weight", c.Hidden, c.Intermediate)
	}
	add("model.norm.weight", c.Hidden)
	return safetensors.WriteFile(name, tensors, nil)
}

// benchRun is one length's figures. Times are milliseconds a forward pass.
type benchRun struct {
	Tokens       int     `json:"tokens"`
	Threads      int     `json:"threads"`
	Layers       int     `json:"layers"`
	MsMedian     float64 `json:"ms_median"`
	MsMin        float64 `json:"ms_min"`
	MsMax        float64 `json:"ms_max"`
	TokensPerSec float64 `json:"tokens_per_s"`
	GOps         float64 `json:"gops"`
}

type benchReport struct {
	Runs   []benchRun `json:"runs"`
	LoadMs float64    `json:"load_ms"`
	RSSMB  float64    `json:"rss_mb"`
	Kernel string     `json:"kernel"`
}

func benchCommand(ui *tui, set *settings) *cobra.Command {
	var (
		shape  string
		lens   []int
		layers int
		repeat int
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast this machine runs the detector model",
		Long: `Run the forward pass over inputs of several lengths and print milliseconds an
input (median, fastest and slowest), tokens and arithmetic per second, load time
and resident memory. With --shape the weights are random: speed does not depend
on them.`,
		Example: `  alknet-firewall bench
  alknet-firewall bench --shape smollm2-135m --lens 32,128,512 --threads 1 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := set.options()
			if err != nil {
				return err
			}
			for _, n := range lens {
				if n < 1 || n > 1<<16 {
					return fmt.Errorf("length of %d tokens, want 1 to 65536", n)
				}
			}
			var config lm.Config
			var weights *safetensors.File
			begun := time.Now()
			if shape != "" {
				configJSON, ok := shapes[shape]
				if !ok {
					return fmt.Errorf("no shape %q is known, only smollm2-135m", shape)
				}
				if config, err = lm.ParseConfig([]byte(configJSON)); err != nil {
					return err
				}
				dir, err := os.MkdirTemp("", "alknet-firewall-bench")
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir)
				name := filepath.Join(dir, "model.safetensors")
				if err := writeRandom(name, config); err != nil {
					return err
				}
				begun = time.Now()
				if weights, err = safetensors.Open(name); err != nil {
					return err
				}
			} else {
				files, _, _, err := modelFiles(cmd, o)
				if err != nil {
					return err
				}
				if config, err = lm.ParseConfig(files.Config); err != nil {
					return err
				}
				weights = files.Weights
			}
			defer weights.Close()
			model, err := lm.Load(config, weights, lm.Options{Depth: layers, Threads: o.Threads})
			if err != nil {
				return err
			}
			defer model.Close()
			r := benchReport{LoadMs: ms(time.Since(begun)), Kernel: kernel.Implementation()}
			threads := o.Threads
			if threads == 0 {
				threads = runtime.GOMAXPROCS(0)
			}
			depth := layers
			if depth == 0 || depth > config.Layers {
				depth = config.Layers
			}
			bar := ui.bar("bench", len(lens)*repeat)
			for i, n := range lens {
				run, err := benchLength(cmd.Context(), model, config, depth, n, repeat, func(k int) { bar.set(i*repeat + k) })
				if err != nil {
					return err
				}
				run.Threads = threads
				r.Runs = append(r.Runs, run)
			}
			bar.done()
			r.RSSMB = residentMB()
			if asJSON {
				return json.NewEncoder(ui.out).Encode(r)
			}
			fmt.Fprintf(ui.out, "%s, %d layers, %d threads, loaded in %.0f ms, %.0f MB resident\n\n", r.Kernel, depth, threads, r.LoadMs, r.RSSMB)
			fmt.Fprintf(ui.out, "%7s  %10s  %10s  %10s  %10s  %8s\n", "tokens", "ms median", "fastest", "slowest", "tokens/s", "GOP/s")
			for _, x := range r.Runs {
				fmt.Fprintf(ui.out, "%7d  %10.2f  %10.2f  %10.2f  %10.0f  %8.1f\n", x.Tokens, x.MsMedian, x.MsMin, x.MsMax, x.TokensPerSec, x.GOps)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&shape, "shape", "", "run a model of this shape with random weights: smollm2-135m")
	cmd.Flags().IntSliceVar(&lens, "lens", []int{32, 128, 512}, "input lengths in tokens")
	cmd.Flags().IntVar(&layers, "layers", 0, "stop after so many layers; 0: all")
	cmd.Flags().IntVar(&repeat, "repeat", 7, "passes a length, after one to warm up")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func benchLength(ctx context.Context, m *lm.Model, c lm.Config, layers, n, repeat int, progress func(int)) (benchRun, error) {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*7919 + 13) % c.Vocab) // any ids: speed does not depend on them
	}
	run := m.NewRun()
	taps := []lm.Tap{{Layer: layers, Stream: lm.Residual}}
	times := make([]float64, 0, repeat)
	for k := range repeat + 1 {
		begun := time.Now()
		if err := run.Forward(ctx, nil, ids, []int{n}, taps); err != nil {
			return benchRun{}, err
		}
		if k > 0 {
			times = append(times, ms(time.Since(begun)))
			progress(k)
		}
	}
	slices.Sort(times)
	median := times[len(times)/2]
	return benchRun{
		Tokens: n, Layers: layers, MsMedian: median, MsMin: times[0], MsMax: times[len(times)-1],
		TokensPerSec: float64(n) / median * 1000, GOps: operations(c, layers, n) / median / 1e6,
	}, nil
}

// operations counts the additions and multiplications of a pass: two for every
// weight of every matrix and token, and causal attention (each token attends to
// half of the others on average; QKᵀ and the sum over V).
func operations(c lm.Config, layers, n int) float64 {
	h, q, kv := float64(c.Hidden), float64(c.Heads*c.HeadDim), float64(c.KVHeads*c.HeadDim)
	weights := 2*h*q + 2*h*kv + 3*h*float64(c.Intermediate)
	attention := 2 * q * float64(n+1) / 2
	return float64(layers) * float64(n) * 2 * (weights + attention)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// residentMB is this process's resident memory; 0 where the system does not say.
func residentMB() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kb); err == nil {
			return kb / 1024
		}
	}
	return 0
}
