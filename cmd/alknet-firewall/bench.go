package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	firewall "github.com/alkimiadev/alknet-firewall"
	"github.com/alkimiadev/alknet-firewall/detector"
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
	"nano": string(detector.Config()),
}

// benchReport is what bench prints with --json. Memory is in units of 2²⁰ bytes.
type benchReport struct {
	Model      string        `json:"model"`
	Arithmetic string        `json:"arithmetic,omitempty"` // empty: the codebook's
	Kernel     string        `json:"kernel"`
	Peak       benchPeak     `json:"peak"`
	LoadMs     float64       `json:"load_ms"`
	RSSMB      float64       `json:"rss_mb"`
	PeakRSSMB  float64       `json:"peak_rss_mb"`
	Runs       []benchRun    `json:"runs,omitempty"`
	Screens    []benchScreen `json:"screens,omitempty"`
}

// benchPeak is what all threads together can do in registers, in 10⁹ operations a
// second.
type benchPeak struct {
	F32GOps  float64 `json:"f32_gops"`
	Int8GOps float64 `json:"int8_gops"`
}

// benchRun is one length's figures. Times are milliseconds a forward pass.
type benchRun struct {
	Tokens  int `json:"tokens"`
	Threads int `json:"threads"`
	Layers  int `json:"layers"`
	spread
	TokensPerSec float64 `json:"tokens_per_s"`
	GOps         float64 `json:"gops"`
	PeakShare    float64 `json:"peak_share"` // of the peak of the arithmetic in use; 0: unknown
}

// benchScreen is one length's figures of whole screenings, text to verdict. Times
// are what one caller waits, in milliseconds.
type benchScreen struct {
	Tokens   int `json:"tokens"`
	Bytes    int `json:"bytes"`
	Threads  int `json:"threads"`
	Callers  int `json:"callers"`
	Requests int `json:"requests"`
	spread
	RequestsPerSec float64 `json:"requests_per_s"`
}

// spread is the median and the ends of a few times, in milliseconds.
type spread struct {
	MsMedian float64 `json:"ms_median"`
	MsMin    float64 `json:"ms_min"`
	MsMax    float64 `json:"ms_max"`
}

// spreadOf sorts times, of which there must be one.
func spreadOf(times []float64) spread {
	slices.Sort(times)
	n := len(times)
	return spread{MsMedian: (times[(n-1)/2] + times[n/2]) / 2, MsMin: times[0], MsMax: times[n-1]}
}

type benchFlags struct {
	shape, checkpoint, states string
	lens                      []int
	layers, repeat            int
	screen                    bool
	callers                   int
	duration                  time.Duration
	json                      bool
}

func benchCommand(ui *tui, set *settings) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast this machine runs the detector model",
		Long: `Run the forward pass over inputs of several lengths and print milliseconds an
input (median, fastest and slowest), tokens and arithmetic per second, what share
that is of what this machine can do at most, load time and memory. With --shape
the weights are random: speed does not depend on them. The arithmetic is int8
unless --arithmetic says otherwise.

With --screen, measure whole screenings, from text to verdict: what one caller
waits, alone and among --callers, and requests a second.`,
		Example: `  alknet-firewall bench
  alknet-firewall bench --screen --callers 8
  alknet-firewall bench --shape smollm2-135m --lens 32,128,512 --threads 1 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench(cmd, ui, set, f)
		},
	}
	cmd.Flags().StringVar(&f.shape, "shape", "", "run a model of this shape with random weights: smollm2-135m or nano")
	cmd.Flags().StringVar(&f.checkpoint, "checkpoint", "", "keep the random weights in this file, and use them if it is there")
	cmd.Flags().StringVar(&f.states, "states", "", "write ids and hidden states to this safetensors file, to compare with other engines")
	cmd.Flags().IntSliceVar(&f.lens, "lens", []int{32, 128, 512, 2048}, "input lengths in tokens")
	cmd.Flags().IntVar(&f.layers, "layers", 0, "stop after so many layers; 0: all")
	cmd.Flags().IntVar(&f.repeat, "repeat", 7, "passes a length, after one to warm up")
	cmd.Flags().BoolVar(&f.screen, "screen", false, "measure whole screenings")
	cmd.Flags().IntVar(&f.callers, "callers", 8, "with --screen: callers at once")
	cmd.Flags().DurationVar(&f.duration, "for", time.Second, "with --screen: how long each figure is taken")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	for _, name := range []string{"shape", "checkpoint", "states", "layers", "repeat"} {
		cmd.MarkFlagsMutuallyExclusive("screen", name)
	}
	return cmd
}

// Limits of what is asked for.
const (
	maxBenchTokens  = 1 << 16
	maxBenchRepeat  = 1 << 16
	maxBenchCallers = 1 << 12
)

func (f *benchFlags) check() error {
	for _, n := range f.lens {
		if n < 1 || n > maxBenchTokens {
			return fmt.Errorf("length of %d tokens, want 1 to %d", n, maxBenchTokens)
		}
	}
	switch {
	case len(f.lens) == 0:
		return errors.New("no length is given")
	case f.repeat < 1 || f.repeat > maxBenchRepeat:
		return fmt.Errorf("%d passes a length, want 1 to %d", f.repeat, maxBenchRepeat)
	case f.callers < 1 || f.callers > maxBenchCallers:
		return fmt.Errorf("%d callers, want 1 to %d", f.callers, maxBenchCallers)
	case f.checkpoint != "" && f.shape == "":
		return errors.New("--checkpoint keeps random weights: it needs --shape")
	}
	return nil
}

func bench(cmd *cobra.Command, ui *tui, set *settings, f benchFlags) error {
	o, err := set.options()
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	threads := o.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	r := &benchReport{Kernel: kernel.Implementation()}
	if f.screen {
		err = benchScreens(cmd.Context(), ui, set, f, threads, r)
	} else {
		err = benchPasses(cmd, ui, o, f, r)
	}
	if err != nil {
		return err
	}
	peak := r.Peak.F32GOps
	if r.Arithmetic == lm.Int8.String() {
		peak = r.Peak.Int8GOps
	}
	for i := range r.Runs {
		r.Runs[i].PeakShare = share(r.Runs[i].GOps, peak)
	}
	r.RSSMB, r.PeakRSSMB = memoryMB()
	if f.json {
		return json.NewEncoder(ui.out).Encode(r)
	}
	ui.bench(threads, r)
	return nil
}

// measure raises the peak to the best of a few short measurements of all threads
// together. A busy or a hot machine does less than it can, so that this is asked
// again and again between the measurements that it is to be held against.
func (p *benchPeak) measure(threads int) {
	const (
		rounds  = 3
		atLeast = 10 * time.Millisecond
	)
	once := func(f func(turns int) int) float64 {
		operations := make([]int, threads)
		var wg sync.WaitGroup
		begun := time.Now()
		for t := range threads {
			wg.Go(func() {
				for time.Since(begun) < atLeast {
					operations[t] += f(1 << 14)
				}
			})
		}
		wg.Wait()
		sum := 0
		for _, n := range operations {
			sum += n
		}
		return float64(sum) / float64(time.Since(begun).Nanoseconds())
	}
	for range rounds {
		p.F32GOps = max(p.F32GOps, once(kernel.PeakF32))
		p.Int8GOps = max(p.Int8GOps, once(kernel.PeakInt8))
	}
}

// benchPasses measures the forward pass.
func benchPasses(cmd *cobra.Command, ui *tui, o firewall.Options, f benchFlags, r *benchReport) error {
	arithmetic, err := lm.ParseArithmetic(cmp.Or(o.Arithmetic, lm.Int8.String()))
	if err != nil {
		return err
	}
	r.Arithmetic = arithmetic.String()
	var (
		config  lm.Config
		weights *safetensors.File
		begun   = time.Now()
	)
	if f.shape != "" {
		configJSON, ok := shapes[f.shape]
		if !ok {
			return fmt.Errorf("no shape %q is known, only %s", f.shape, strings.Join(slices.Sorted(maps.Keys(shapes)), " and "))
		}
		if config, err = lm.ParseConfig([]byte(configJSON)); err != nil {
			return err
		}
		name, remove, err := randomCheckpoint(f.checkpoint, config)
		if err != nil {
			return err
		}
		defer remove()
		begun = time.Now()
		if weights, err = safetensors.Open(name); err != nil {
			return err
		}
		r.Model = f.shape + " (random weights)"
	} else {
		files, name, _, err := modelFiles(cmd, o)
		if err != nil {
			return err
		}
		weights = files.Weights
		if config, err = lm.ParseConfig(files.Config); err != nil {
			return errors.Join(err, weights.Close())
		}
		r.Model = name
	}
	defer weights.Close()
	model, err := lm.Load(config, weights, lm.Options{Depth: f.layers, Threads: o.Threads, Arithmetic: arithmetic})
	if err != nil {
		return err
	}
	defer model.Close()
	r.LoadMs = ms(time.Since(begun))

	lens := f.lens
	if !cmd.Flags().Changed("lens") {
		lens = slices.DeleteFunc(slices.Clone(lens), func(n int) bool { return n > config.Positions })
	}
	bar := ui.bar("bench", len(lens)*f.repeat)
	defer bar.done()
	run := model.NewRun()
	var states []safetensors.Tensor
	for i, n := range lens {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32((i*7919 + 13) % config.Vocab) // any ids: speed does not depend on them
		}
		r.Peak.measure(model.Threads())
		x, err := benchPass(cmd.Context(), run, model, ids, f.repeat, func(k int) { bar.set(i*f.repeat + k) })
		if err != nil {
			return err
		}
		r.Runs = append(r.Runs, x)
		if f.states != "" {
			wide := make([]int64, n)
			for i, id := range ids {
				wide[i] = int64(id)
			}
			states = append(states,
				safetensors.FromInt64(fmt.Sprintf("ids.%d", n), []int{n}, wide),
				safetensors.FromFloat32(fmt.Sprintf("states.%d", n), []int{n, config.Hidden}, slices.Clone(run.Hidden(0))))
		}
	}
	r.Peak.measure(model.Threads())
	if f.states != "" {
		return safetensors.WriteFile(f.states, states, nil)
	}
	return nil
}

// benchPass measures one length, after one pass to warm up.
func benchPass(ctx context.Context, run *lm.Run, m *lm.Model, ids []int32, repeat int, progress func(int)) (benchRun, error) {
	taps := []lm.Tap{{Layer: m.Depth(), Stream: lm.Residual}}
	times := make([]float64, 0, repeat)
	for k := range repeat + 1 {
		begun := time.Now()
		if err := run.Forward(ctx, nil, ids, []int{len(ids)}, taps); err != nil {
			return benchRun{}, err
		}
		if k > 0 {
			times = append(times, ms(time.Since(begun)))
			progress(k)
		}
	}
	x := benchRun{Tokens: len(ids), Threads: m.Threads(), Layers: m.Depth(), spread: spreadOf(times)}
	x.TokensPerSec = float64(len(ids)) / x.MsMedian * 1000
	x.GOps = operations(m.Config(), m.Depth(), len(ids)) / x.MsMedian / 1e6
	return x, nil
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

// benchScreens measures whole screenings, by one caller and by several.
func benchScreens(ctx context.Context, ui *tui, set *settings, f benchFlags, threads int, r *benchReport) error {
	begun := time.Now()
	fw, closeAll, err := set.open(ui)
	if err != nil {
		return err
	}
	defer closeAll()
	if err := fw.Warm(ctx); err != nil {
		return err
	}
	r.LoadMs = ms(time.Since(begun))
	r.Arithmetic = set.values["arithmetic"]
	d, err := fw.Detector(ctx)
	if err != nil {
		return err
	}
	r.Model = d.Name
	r.Peak.measure(threads)
	counts := []int{1, f.callers}
	if f.callers == 1 {
		counts = counts[:1]
	}
	bar := ui.bar("bench", len(f.lens)*len(counts))
	defer bar.done()
	for _, n := range f.lens {
		text, tokens, err := benchText(ctx, fw, n)
		if err != nil {
			return err
		}
		for _, callers := range counts {
			x, err := benchCallers(ctx, fw, text, callers, f.duration)
			if err != nil {
				return err
			}
			x.Tokens, x.Bytes, x.Threads = tokens, len(text), threads
			r.Screens = append(r.Screens, x)
			bar.set(len(r.Screens))
		}
	}
	return nil
}

// benchWords is ordinary prose, of which texts of any length are made.
var benchWords = strings.Fields(`The meeting about the new library has moved to Thursday, because the hall was
	taken. Please bring the drawings of the second floor and the list of chairs that we still need; the carpenter asked
	for both. Last year's budget left some money for lamps, and nobody has said yet where they should hang. If it rains,
	we shall meet in the old school, whose roof was mended in spring.`)

// benchText returns a text of about n tokens, and how many it has.
func benchText(ctx context.Context, fw *firewall.Firewall, n int) (text string, tokens int, err error) {
	words := n
	for range 3 { // the rate of tokens to words settles at once
		var b strings.Builder
		for i := range words {
			b.WriteString(benchWords[i%len(benchWords)])
			b.WriteByte(' ')
		}
		text = b.String()
		v, err := fw.Screen(ctx, firewall.Input{Text: text})
		if err != nil {
			return "", 0, err
		}
		if tokens = v.Coverage.Tokens; tokens == n || tokens == 0 {
			break
		}
		words = max(1, words*n/tokens)
	}
	return text, tokens, nil
}

// benchCallers lets callers screen the text again and again until the time is
// over, and each at least once, after once to warm up.
func benchCallers(ctx context.Context, fw *firewall.Firewall, text string, callers int, d time.Duration) (benchScreen, error) {
	var (
		wg    sync.WaitGroup
		times = make([][]float64, callers)
		errs  = make([]error, callers)
		in    = firewall.Input{Text: text}
	)
	round := func(until time.Time) {
		for i := range callers {
			wg.Go(func() {
				for {
					begun := time.Now()
					if _, err := fw.Screen(ctx, in); err != nil {
						errs[i] = err
						return
					}
					times[i] = append(times[i], ms(time.Since(begun)))
					if !time.Now().Before(until) {
						return
					}
				}
			})
		}
		wg.Wait()
	}
	round(time.Time{})
	clear(times)
	begun := time.Now()
	round(begun.Add(d))
	elapsed := time.Since(begun)
	if err := errors.Join(errs...); err != nil {
		return benchScreen{}, err
	}
	all := slices.Concat(times...)
	return benchScreen{
		Callers: callers, Requests: len(all), spread: spreadOf(all),
		RequestsPerSec: float64(len(all)) / elapsed.Seconds(),
	}, nil
}

// randomCheckpoint returns the name of a file with random weights: file if that
// is set, written if it is not there, or else a temporary one. remove removes
// what is temporary.
func randomCheckpoint(file string, c lm.Config) (name string, remove func(), err error) {
	if file != "" {
		_, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			err = writeRandom(file, c)
		}
		return file, func() {}, err
	}
	dir, err := os.MkdirTemp("", "alknet-firewall-bench")
	if err != nil {
		return "", nil, err
	}
	name = filepath.Join(dir, "model.safetensors")
	if err := writeRandom(name, c); err != nil {
		os.RemoveAll(dir)
		return "", nil, err
	}
	return name, func() { os.RemoveAll(dir) }, nil
}

// writeRandom writes a checkpoint of the Llama family with random bf16 weights,
// scaled so that activations neither vanish nor overflow. It holds no more than a
// row of it at a time, so that the process's memory stays that of the model.
func writeRandom(name string, c lm.Config) error {
	var tensors []safetensors.Tensor
	add := func(name string, shape ...int) {
		tensors = append(tensors, safetensors.Tensor{Name: name, DType: safetensors.BF16, Shape: shape})
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
	rng := rand.New(rand.NewPCG(1, 2))
	return safetensors.WriteFileFunc(name, tensors, nil, func(w io.Writer, t safetensors.Tensor) error {
		width := t.Shape[len(t.Shape)-1]
		row := make([]float32, width)
		rows := 1
		if len(t.Shape) == 2 {
			rows = t.Shape[0]
		}
		scale := float32(math.Sqrt(3/float64(width)) / (1 << 23)) // uniform, of variance 1/width
		for range rows {
			for i := range row {
				row[i] = scale * float32(int32(rng.Uint32())>>8)
			}
			if len(t.Shape) == 1 { // a norm's weights
				for i := range row {
					row[i] = 1
				}
			}
			if _, err := w.Write(safetensors.BF16FromFloat32(row)); err != nil {
				return err
			}
		}
		return nil
	})
}

// share is part/whole, 0 if the whole is unknown.
func share(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return part / whole
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// memoryMB returns this process's resident memory, now and at most so far, in
// units of 2²⁰ bytes; 0 where the system does not say.
func memoryMB() (now, most float64) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kb); err == nil {
			now = kb / 1024
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			most = kb / 1024
		}
	}
	return now, most
}
