package lm

import (
	"encoding/json"
	"errors"
	"math"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alkimiadev/alknet-firewall/internal/kernel"
	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

func TestArithmeticNames(t *testing.T) {
	for _, a := range []Arithmetic{F32, Int8} {
		if got, err := ParseArithmetic(a.String()); err != nil || got != a {
			t.Errorf("ParseArithmetic(%q) = %v, %v", a.String(), got, err)
		}
	}
	for _, name := range []string{"", "F32", "int4", "arithmetic(2)"} {
		if a, err := ParseArithmetic(name); err == nil {
			t.Errorf("ParseArithmetic(%q) = %v, want an error", name, a)
		}
	}
}

// states returns all states of one sequence at all taps.
func states(t testing.TB, m *Model, ids []int32) [][]float32 {
	t.Helper()
	r := m.NewRun()
	forward(t, r, nil, ids, []int{len(ids)}, allTaps(m.config))
	return r.hidden
}

// squares returns Σ(got-want)²/Σwant², the normalised mean square error.
func squares(got, want []float32) float64 {
	e := relative(got, want)
	return e * e
}

// TestInt8Stories measures what eight bits cost a real trained model: each tap's
// states against float32, and the text that it continues.
func TestInt8Stories(t *testing.T) {
	dir := shared(t, "stories260K")
	c, f := open(t, dir)
	var golden struct {
		InputIDs []int32 `json:"input_ids"`
	}
	if err := json.Unmarshal(read(t, dir, "goldens.json"), &golden); err != nil {
		t.Fatal(err)
	}
	ids := golden.InputIDs
	exact := states(t, load(t, c, f, Options{Threads: 1}), ids)
	m := load(t, c, f, Options{Threads: 1, Arithmetic: Int8})
	got := states(t, m, ids)
	worst := 0.0
	for i, tap := range allTaps(c) {
		e := squares(got[i], exact[i])
		worst = max(worst, e)
		// Observed: 1.4e-3.
		if e > 3e-3 {
			t.Errorf("layer %d, %v: NMSE %.2g, want at most 3e-3", tap.Layer, tap.Stream, e)
		}
	}
	t.Logf("largest NMSE of a tap: %.2g", worst)
	logits := m.Logits(nil, got[len(got)-1])
	same := 0
	for i := range ids[1:] {
		row := logits[i*c.Vocab:][:c.Vocab]
		if int32(slices.Index(row, slices.Max(row))) == ids[i+1] {
			same++
		}
	}
	if same < len(ids)-2 {
		t.Errorf("%d of %d greedy ids are those of float32", same, len(ids)-1)
	}
}

// TestInt8Shapes holds quantised models of every shape against float32, whatever the type
// of the weights.
func TestInt8Shapes(t *testing.T) {
	for _, shape := range shapes {
		c := shape.c
		c.Family = "llama"
		f := memory(t, checkpoint(c, shape.dtype, 3))
		ids := randomIDs(150, c.Vocab, 4)
		exact := states(t, load(t, c, f, Options{Threads: 1}), ids)
		got := states(t, load(t, c, f, Options{Threads: 1, Arithmetic: Int8}), ids)
		worst := 0.0
		for i, tap := range allTaps(c) {
			e := squares(got[i], exact[i])
			worst = max(worst, e)
			// Observed: 5.2e-4.
			if e > 2e-3 {
				t.Errorf("%s: layer %d, %v: NMSE %.2g, want at most 2e-3", shape.name, tap.Layer, tap.Stream, e)
			}
		}
		t.Logf("%s: largest NMSE of a tap: %.2g", shape.name, worst)
	}
}

// TestInt8SameBits: the states of one model are the same to the last bit with AVX2 and with
// AVX-512, with VNNI and without; portable code rounds norms and attention
// differently, and stays near.
func TestInt8SameBits(t *testing.T) {
	c := shapes[1].c
	c.Family = "llama"
	f := memory(t, checkpoint(c, shapes[1].dtype, 3))
	ids := randomIDs(150, c.Vocab, 4)
	all := map[string][][]float32{}
	withEach(t, kernel.Implementations(), func(t *testing.T) {
		all[kernel.Implementation()] = states(t, load(t, c, f, Options{Threads: 1, Arithmetic: Int8}), ids)
	})
	worst := 0.0
	for i, tap := range allTaps(c) {
		var first []float32
		for _, name := range kernel.Implementations()[1:] {
			got := all[name][i]
			if first == nil {
				first = got
			}
			if !slices.Equal(got, first) {
				t.Errorf("layer %d, %v: %s differs by %.2g", tap.Layer, tap.Stream, name, relative(got, first))
			}
			worst = max(worst, squares(all["generic"][i], got))
		}
	}
	// Observed: 2.4e-14; a value next to a rounding boundary that falls to the other side costs more.
	if worst > 1e-4 {
		t.Errorf("portable code: NMSE %.2g, want at most 1e-4", worst)
	}
	t.Logf("largest NMSE of portable code: %.2g", worst)
}

// massive plants what trained models have: channels of the MLP that fire a thousand times
// as high as others for some tokens, and drive channels of the residual stream to 10⁴.
func massive(ts []safetensors.Tensor, c Config) []safetensors.Tensor {
	change := func(name string, f func(v []float32)) {
		for i := range ts {
			if ts[i].Name == name {
				v, err := ts[i].AppendFloat32(nil)
				if err != nil {
					panic(err)
				}
				f(v)
				ts[i] = safetensors.FromFloat32(name, ts[i].Shape, v)
			}
		}
	}
	const channel, unit = 7, 3
	// Every third token carries the mark that unit reads.
	change("model.embed_tokens.weight", func(v []float32) {
		for id := 0; id < c.Vocab; id += 3 {
			v[id*c.Hidden+channel] = 12
		}
	})
	change("model.layers.1.mlp.gate_proj.weight", func(v []float32) { v[unit*c.Hidden+channel] = 8 })
	change("model.layers.1.mlp.up_proj.weight", func(v []float32) { v[unit*c.Hidden+channel] = 8 })
	change("model.layers.1.mlp.down_proj.weight", func(v []float32) {
		for j := range c.Hidden {
			v[j*c.Intermediate+unit] = 0
		}
		v[channel*c.Intermediate+unit] = 4
		v[(channel+1)*c.Intermediate+unit] = -2
	})
	// What reads the stream later looks past these channels, as trained norms do.
	for _, name := range []string{"layers.2.input_layernorm", "layers.2.post_attention_layernorm", "layers.3.input_layernorm", "layers.3.post_attention_layernorm"} {
		change("model."+name+".weight", func(v []float32) { v[channel], v[channel+1] = 0.02, 0.02 })
	}
	return ts
}

// TestInt8MassiveActivations: a few values of 10⁴ in some tokens do not cost the
// other values their digits.
func TestInt8MassiveActivations(t *testing.T) {
	c := Config{
		Family: "llama", Hidden: 192, Intermediate: 512, Layers: 4, Heads: 3, KVHeads: 1, HeadDim: 64, Vocab: 300, Positions: 600,
		NormEps: 1e-5, Rope: Rope{Theta: 10000, Type: "default"}, TiedHead: true,
	}
	ids := randomIDs(100, c.Vocab, 4)
	var errs [2][]float64
	for i := range errs {
		ts := checkpoint(c, safetensors.F32, 3)
		if i == 1 {
			ts = massive(ts, c)
		}
		f := memory(t, ts)
		exact := states(t, load(t, c, f, Options{Threads: 1}), ids)
		got := states(t, load(t, c, f, Options{Threads: 1, Arithmetic: Int8}), ids)
		largest := float32(0)
		for j, tap := range allTaps(c) {
			// Without the channels that are massive, which alone would hide any error.
			var num, den float64
			for at := range exact[j] {
				if at%c.Hidden == 7 || at%c.Hidden == 8 {
					largest = max(largest, exact[j][at], -exact[j][at])
					continue
				}
				d := float64(got[j][at]) - float64(exact[j][at])
				num += d * d
				den += float64(exact[j][at]) * float64(exact[j][at])
			}
			errs[i] = append(errs[i], num/den)
			if tap.Layer == 0 {
				continue
			}
			t.Logf("planted %v: layer %d, %v: NMSE %.2g", i == 1, tap.Layer, tap.Stream, num/den)
		}
		if i == 1 && largest < 5e3 {
			t.Fatalf("the largest activation is %v: nothing was planted", largest)
		}
	}
	for j, tap := range allTaps(c) {
		// Observed: 1.4e-3, and 8.0e-3 for what MLPs add, whose inputs the planted
		// channels still rule by 100 to 1. With nothing set aside, the MLP of layer 2 has
		// 0.42 and the residual streams behind it 0.07.
		limit := 2e-3
		if tap.Stream == MLP {
			limit = 1.2e-2
		}
		if errs[1][j] > limit {
			t.Errorf("layer %d, %v: NMSE %.2g with massive activations, %.2g without", tap.Layer, tap.Stream, errs[1][j], errs[0][j])
		}
	}
}

// TestInt8HostileWeights: values that have no eight-bit form are an error that
// names the tensor; large ones are not.
func TestInt8HostileWeights(t *testing.T) {
	c := shapes[1].c
	c.Family = "llama"
	for _, name := range []string{"self_attn.k_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
		for _, v := range []float64{math.NaN(), math.Inf(-1), 1e38} {
			ts := checkpoint(c, safetensors.F32, 1)
			full := "model.layers.1." + name + ".weight"
			i := slices.IndexFunc(ts, func(x safetensors.Tensor) bool { return x.Name == full })
			x, err := ts[i].AppendFloat32(nil)
			if err != nil {
				t.Fatal(err)
			}
			x[len(x)/2] = float32(v)
			ts[i] = safetensors.FromFloat32(full, ts[i].Shape, x)
			m, err := Load(c, memory(t, ts), Options{Threads: 1, Arithmetic: Int8})
			if v == 1e38 {
				if err != nil {
					t.Errorf("%s with %g: %v", name, v, err)
					continue
				}
				states(t, m, []int32{1, 2, 3}) // whatever they are
				continue
			}
			if !errors.Is(err, ErrTensor) || !errors.Is(err, kernel.ErrWeights) || !strings.Contains(err.Error(), full) {
				t.Errorf("%s with %g: %v, want an error that names the tensor", name, v, err)
			}
		}
	}
	if _, err := Load(c, memory(t, checkpoint(c, safetensors.F32, 1)), Options{Arithmetic: 2}); !errors.Is(err, ErrConfig) {
		t.Errorf("Load with an unknown arithmetic: %v", err)
	}
}

// TestInt8SmolLM2Shape is TestSmolLM2Shape in eight bits: the memory it takes.
func TestInt8SmolLM2Shape(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("writes 269 MB")
	}
	c := smolConfig(t)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := safetensors.WriteFile(path, quickCheckpoint(c), nil); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	debug.FreeOSMemory()
	before := resident()
	start := time.Now()
	m := load(t, c, f, Options{Arithmetic: Int8})
	took := time.Since(start)
	// Matrices of 30 blocks of 3,539,808 values, a scale and a bias for each output.
	if got, limit := m.Bytes(), 30*(3_539_808+8*5200)+1<<20; got > limit {
		t.Errorf("packed weights take %d bytes, want at most %d", got, limit)
	}
	r := m.NewRun()
	forward(t, r, nil, randomIDs(512, c.Vocab, 1), []int{512}, []Tap{{c.Layers, Residual}})
	after := resident()
	if limit := 160_000_000; before > 0 && after-before > limit {
		t.Errorf("512 tokens in eight bits made %d bytes resident, want at most %d", after-before, limit)
	}
	t.Logf("%s: loaded in %v, weights %d MB, resident %d MB more, arena %.1f MB",
		kernel.Implementation(), took, m.Bytes()/1e6, (after-before)/1e6, float64(r.Bytes())/1e6)
	for i, v := range r.Hidden(0) {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			t.Fatalf("value %d is %v", i, v)
		}
	}
}
