package lm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/alkimiadev/alknet-firewall/internal/safetensors"
)

// reference is a second forward pass, of the Llama family alone: float64, one
// sequence, one token after the other as in llama2.c (run.c), sharing no code with the
// first but the reader of checkpoints. For the other families, see TestFamilies.
type reference struct {
	c    Config
	w    map[string][]float64
	k, v [][]float64         // for each block, one row after the other
	taps map[Tap][][]float64 // for each token
}

func newReference(t testing.TB, c Config, f *safetensors.File) *reference {
	r := &reference{c: c, w: map[string][]float64{}, taps: map[Tap][][]float64{}}
	for _, name := range f.Names() {
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := x.AppendFloat32(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, y := range v {
			r.w[name] = append(r.w[name], float64(y))
		}
	}
	r.k, r.v = make([][]float64, c.Layers), make([][]float64, c.Layers)
	return r
}

func (r *reference) forward(ids []int32) {
	for pos, id := range ids {
		r.token(pos, id)
	}
}

func (r *reference) token(pos int, id int32) {
	c := r.c
	hd := c.HeadDim
	keep := func(layer int, s Stream, x []float64) {
		r.taps[Tap{layer, s}] = append(r.taps[Tap{layer, s}], append([]float64(nil), x...))
	}
	x := append([]float64(nil), r.w["model.embed_tokens.weight"][int(id)*c.Hidden:][:c.Hidden]...)
	keep(0, Residual, x)
	for l := range c.Layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		n := r.rms(x, p+"input_layernorm.weight")
		q := r.linear(n, p+"self_attn.q_proj")
		k := r.linear(n, p+"self_attn.k_proj")
		for h := range c.Heads {
			r.rotate(q[h*hd:][:hd], pos)
		}
		for h := range c.KVHeads {
			r.rotate(k[h*hd:][:hd], pos)
		}
		r.k[l] = append(r.k[l], k...)
		r.v[l] = append(r.v[l], r.linear(n, p+"self_attn.v_proj")...)
		out := make([]float64, c.Heads*hd)
		for h := range c.Heads {
			kv := h / (c.Heads / c.KVHeads)
			at := func(x []float64, s int) []float64 { return x[s*c.KVHeads*hd+kv*hd:][:hd] }
			scores := map[int]float64{}
			sum := 0.0
			for s := 0; s <= pos; s++ {
				if c.Window > 0 && s <= pos-c.Window {
					continue
				}
				for i, y := range at(r.k[l], s) {
					scores[s] += q[h*hd+i] * y
				}
				scores[s] = math.Exp(scores[s] / math.Sqrt(float64(hd)))
				sum += scores[s]
			}
			for s, w := range scores {
				for i, y := range at(r.v[l], s) {
					out[h*hd+i] += w / sum * y
				}
			}
		}
		o := r.linear(out, p+"self_attn.o_proj")
		keep(l+1, Attention, o)
		for i := range x {
			x[i] += o[i]
		}
		n = r.rms(x, p+"post_attention_layernorm.weight")
		g, u := r.linear(n, p+"mlp.gate_proj"), r.linear(n, p+"mlp.up_proj")
		for i := range g {
			g[i] = g[i] / (1 + math.Exp(-g[i])) * u[i]
		}
		d := r.linear(g, p+"mlp.down_proj")
		keep(l+1, MLP, d)
		for i := range x {
			x[i] += d[i]
		}
		keep(l+1, Residual, x)
	}
}

// logits returns the final norm of x, and the head's scores.
func (r *reference) logits(x []float64) (norm, logits []float64) {
	norm = r.rms(x, "model.norm.weight")
	head := r.w["lm_head.weight"]
	if r.c.TiedHead {
		head = r.w["model.embed_tokens.weight"]
	}
	return norm, mul(norm, head)
}

func mul(x, w []float64) []float64 {
	y := make([]float64, len(w)/len(x))
	for i := range y {
		for j, v := range x {
			y[i] += w[i*len(x)+j] * v
		}
	}
	return y
}

func (r *reference) linear(x []float64, name string) []float64 {
	y := mul(x, r.w[name+".weight"])
	for i, b := range r.w[name+".bias"] {
		y[i] += b
	}
	return y
}

func (r *reference) rms(x []float64, name string) []float64 {
	ss := 0.0
	for _, v := range x {
		ss += v * v
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v / math.Sqrt(ss/float64(len(x))+r.c.NormEps) * r.w[name][i]
	}
	return y
}

// rotate turns one head. The frequencies of llama3 are written as transformers
// writes them (modeling_rope_utils.py), with wavelengths.
func (r *reference) rotate(x []float64, pos int) {
	h := len(x) / 2
	for i := range h {
		f := 1 / math.Pow(r.c.Rope.Theta, float64(i)/float64(h))
		switch o := r.c.Rope; o.Type {
		case "linear":
			f /= o.Factor
		case "llama3":
			wavelen := 2 * math.Pi / f
			if wavelen > float64(o.Original)/o.LowFreq {
				f /= o.Factor
			} else if wavelen >= float64(o.Original)/o.HighFreq {
				smooth := (float64(o.Original)/wavelen - o.LowFreq) / (o.HighFreq - o.LowFreq)
				f = (1-smooth)*f/o.Factor + smooth*f
			}
		}
		s, c := math.Sin(float64(pos)*f), math.Cos(float64(pos)*f)
		x[i], x[i+h] = x[i]*c-x[i+h]*s, x[i+h]*c+x[i]*s
	}
}

// checkpoint returns random tensors for a model of any family. Matrices keep the size
// of what they multiply; norms are near 1.
func checkpoint(c Config, dtype safetensors.DType, seed uint64) []safetensors.Tensor {
	rng := rand.New(rand.NewPCG(seed, 1))
	var ts []safetensors.Tensor
	add := func(name string, mean, sigma float64, shape ...int) {
		n := 1
		for _, s := range shape {
			n *= s
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(mean + sigma*rng.NormFloat64())
		}
		t := safetensors.FromFloat32(name, shape, v)
		switch dtype {
		case safetensors.BF16:
			t.DType, t.Data = safetensors.BF16, safetensors.BF16FromFloat32(v)
		case safetensors.F16:
			// Random bits with exponents near those wanted: the values do not matter.
			t.DType, t.Data = safetensors.F16, nil
			for _, x := range v {
				t.Data = append(t.Data, byte(rng.Uint32()), f16High(x))
			}
		}
		ts = append(ts, t)
	}
	l := loader{config: c, names: families[c.Family].names.based()}
	l.expect(func(name string, shape ...int) {
		in := shape[len(shape)-1]
		if l.names.transposed {
			in = shape[0]
		}
		switch {
		case name == l.names.embed || name == l.names.positions:
			add(name, 0, 1, shape...)
		case name == l.names.head:
			add(name, 0, 0.1, shape...)
		case len(shape) == 2:
			add(name, 0, 1/math.Sqrt(float64(in)), shape...)
		case strings.HasSuffix(name, ".bias") || c.Norm == RMSNormPlusOne:
			add(name, 0, 0.1, shape...)
		default:
			add(name, 1, 0.1, shape...)
		}
	})
	return ts
}

// f16High returns the high byte of x as binary16: sign, exponent, two bits.
func f16High(x float32) byte {
	b := math.Float32bits(x)
	exp := int(b>>23&0xff) - 127 + 15
	return byte(b>>24&0x80) | byte(max(1, min(exp, 30))<<2) | byte(b>>21&3)
}
