"""Every model family that the Go engine runs, in plain numpy float64, and the golden files of its tests.

    python3 train/families.py

writes small random checkpoints in Hugging Face layout, and what the code below makes of them, to
internal/lm/testdata/families. Nothing here knows the Go code: each family is written from its paper and from what
transformers does with the same config.json, over whole sequences with explicit masks. Only numpy is needed.
"""

import json
import math
import os
import struct
import sys

import numpy as np

from reference import read_safetensors

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "internal", "lm", "testdata", "families")
TOKENS = 24


# The parts of a transformer. x is (tokens, width) throughout.


def rms_norm(x, weight, eps):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def layer_norm(x, weight, bias, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x):
    return x / (1 + np.exp(-x))


ACTIVATIONS = {"gelu": gelu, "gelu_new": gelu_tanh, "gelu_fast": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh, "silu": silu}


def frequencies(dim, theta, scaling=None):
    """Radians a position of each pair of a head's first dim values; scaling is config.json's rope_scaling."""
    f = theta ** (-np.arange(0, dim, 2) / dim)
    kind = (scaling or {}).get("rope_type", (scaling or {}).get("type", "default"))
    if kind == "linear":
        return f / scaling["factor"]
    if kind == "llama3":
        wave, n = 2 * np.pi / f, scaling["original_max_position_embeddings"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        blend = np.clip((n / wave - low) / (high - low), 0, 1)  # 0 where waves are long
        return blend * f + (1 - blend) * f / scaling["factor"]
    assert kind == "default", kind
    return f


def rotate(x, f):
    """x is (heads, tokens, head_dim); its first 2*len(f) values turn, value i with value i + len(f)."""
    n = len(f)
    turn = np.exp(1j * np.arange(x.shape[1])[:, None] * f)
    z = (x[..., :n] + 1j * x[..., n : 2 * n]) * turn
    return np.concatenate([z.real, z.imag, x[..., 2 * n :]], -1)


def attention(q, k, v, scale, window=None):
    """q is (heads, tokens, head_dim), k and v have as many heads or fewer; returns (tokens, heads*head_dim)."""
    k, v = (np.repeat(a, len(q) // len(a), 0) for a in (k, v))
    t = np.arange(q.shape[1])
    seen = t[None, :] <= t[:, None]
    if window is not None:
        seen &= t[None, :] > t[:, None] - window
    s = np.where(seen, q @ k.transpose(0, 2, 1) * scale, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    return join(p / p.sum(-1, keepdims=True) @ v)


def split(x, heads):
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def join(x):
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


class Reference:
    """The states of one checkpoint: taps[(layer, stream)] is (tokens, hidden); layer 0 is the embeddings."""

    def __init__(self, folder):
        with open(os.path.join(folder, "config.json")) as f:
            self.c = json.load(f)
        self.w = read_safetensors(os.path.join(folder, "model.safetensors"))
        self.taps = {}

    def linear(self, x, name):
        y = x @ self.w[name + ".weight"].T
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def forward(self, ids):
        """Returns the logits, (tokens, vocabulary)."""
        run = {"llama": self.llama, "mistral": self.llama, "qwen2": self.llama, "qwen3": self.llama, "gpt2": self.gpt2,
               "gpt_neox": self.neox, "gemma3_text": self.gemma3}[self.c["model_type"]]
        return run(np.asarray(ids))

    def keep(self, layer, stream, x):
        self.taps[layer, stream] = x.copy()
        return x

    def llama(self, ids):
        """Touvron et al. 2023; Jiang et al. 2023 (window); Qwen2 (biases on q, k, v), Qwen3 (norms of q and k)."""
        c, w = self.c, self.w
        heads, kv, eps = c["num_attention_heads"], c["num_key_value_heads"], c["rms_norm_eps"]
        dim = c.get("head_dim") or c["hidden_size"] // heads
        f = frequencies(dim, c["rope_theta"], c.get("rope_scaling"))
        x = self.keep(0, "residual", w["model.embed_tokens.weight"][ids])
        for i in range(c["num_hidden_layers"]):
            n = "model.layers.%d." % i
            window = c.get("sliding_window")
            if c["model_type"].startswith("qwen") and not (c["use_sliding_window"] and i >= c["max_window_layers"]):
                window = None
            h = rms_norm(x, w[n + "input_layernorm.weight"], eps)
            q, k, v = (split(self.linear(h, n + "self_attn.%s_proj" % a), b) for a, b in (("q", heads), ("k", kv), ("v", kv)))
            if c["model_type"] == "qwen3":
                q = rms_norm(q, w[n + "self_attn.q_norm.weight"], eps)
                k = rms_norm(k, w[n + "self_attn.k_norm.weight"], eps)
            a = attention(rotate(q, f), rotate(k, f), v, dim**-0.5, window)
            x = x + self.keep(i + 1, "attention", self.linear(a, n + "self_attn.o_proj"))
            h = rms_norm(x, w[n + "post_attention_layernorm.weight"], eps)
            h = silu(self.linear(h, n + "mlp.gate_proj")) * self.linear(h, n + "mlp.up_proj")
            x = x + self.keep(i + 1, "mlp", self.linear(h, n + "mlp.down_proj"))
            self.keep(i + 1, "residual", x)
        x = rms_norm(x, w["model.norm.weight"], eps)
        return x @ w["model.embed_tokens.weight" if c["tie_word_embeddings"] else "lm_head.weight"].T

    def gpt2(self, ids):
        """Radford et al. 2019. Conv1D of transformers stores (in, out)."""
        c, w, act = self.c, self.w, ACTIVATIONS[self.c["activation_function"]]
        p = "transformer." if "transformer.wte.weight" in w else ""
        norm = lambda x, name: layer_norm(x, w[name + ".weight"], w[name + ".bias"], c["layer_norm_epsilon"])
        conv = lambda x, name: x @ w[name + ".weight"] + w[name + ".bias"]
        x = self.keep(0, "residual", w[p + "wte.weight"][ids] + w[p + "wpe.weight"][: len(ids)])
        for i in range(c["n_layer"]):
            n = "%sh.%d." % (p, i)
            q, k, v = (split(a, c["n_head"]) for a in np.split(conv(norm(x, n + "ln_1"), n + "attn.c_attn"), 3, -1))
            a = attention(q, k, v, q.shape[-1] ** -0.5)
            x = x + self.keep(i + 1, "attention", conv(a, n + "attn.c_proj"))
            x = x + self.keep(i + 1, "mlp", conv(act(conv(norm(x, n + "ln_2"), n + "mlp.c_fc")), n + "mlp.c_proj"))
            self.keep(i + 1, "residual", x)
        return norm(x, p + "ln_f") @ w[p + "wte.weight"].T

    def neox(self, ids):
        """Black et al. 2022, section 2: rotary on a part of each head, attention and MLP side by side."""
        c, w, heads = self.c, self.w, self.c["num_attention_heads"]
        norm = lambda x, name: layer_norm(x, w[name + ".weight"], w[name + ".bias"], c["layer_norm_eps"])
        dim = c["hidden_size"] // heads
        f = frequencies(int(dim * c["rotary_pct"]), c["rotary_emb_base"])
        x = self.keep(0, "residual", w["gpt_neox.embed_in.weight"][ids])
        for i in range(c["num_hidden_layers"]):
            n = "gpt_neox.layers.%d." % i
            # Of each head, its query, then its key, then its value.
            qkv = self.linear(norm(x, n + "input_layernorm"), n + "attention.query_key_value").reshape(len(x), heads, 3, dim)
            q, k, v = qkv.transpose(2, 1, 0, 3)
            a = self.keep(i + 1, "attention", self.linear(attention(rotate(q, f), rotate(k, f), v, dim**-0.5), n + "attention.dense"))
            h = norm(x if c["use_parallel_residual"] else x + a, n + "post_attention_layernorm")
            h = ACTIVATIONS[c["hidden_act"]](self.linear(h, n + "mlp.dense_h_to_4h"))
            m = self.keep(i + 1, "mlp", self.linear(h, n + "mlp.dense_4h_to_h"))
            x = self.keep(i + 1, "residual", x + a + m)
        return norm(x, "gpt_neox.final_layer_norm") @ w["embed_out.weight"].T

    def gemma3(self, ids):
        """Gemma 3 (arXiv:2503.19786). Norms store their weight less one; scaled embeddings stay in full precision."""
        c, w = self.c, self.w
        heads, kv, eps = c["num_attention_heads"], c["num_key_value_heads"], c["rms_norm_eps"]
        norm = lambda x, name: rms_norm(x, 1 + w[name + ".weight"], eps)
        wide = frequencies(c["head_dim"], c["rope_theta"], c["rope_scaling"])
        near = frequencies(c["head_dim"], c["rope_local_base_freq"])
        x = self.keep(0, "residual", w["model.embed_tokens.weight"][ids] * math.sqrt(c["hidden_size"]))
        for i in range(c["num_hidden_layers"]):
            n = "model.layers.%d." % i
            sliding = (i + 1) % c["sliding_window_pattern"] != 0
            f = near if sliding else wide
            h = norm(x, n + "input_layernorm")
            q, k, v = (split(self.linear(h, n + "self_attn.%s_proj" % a), b) for a, b in (("q", heads), ("k", kv), ("v", kv)))
            q, k = norm(q, n + "self_attn.q_norm"), norm(k, n + "self_attn.k_norm")
            a = attention(rotate(q, f), rotate(k, f), v, c["query_pre_attn_scalar"] ** -0.5, c["sliding_window"] if sliding else None)
            a = norm(self.linear(a, n + "self_attn.o_proj"), n + "post_attention_layernorm")
            x = x + self.keep(i + 1, "attention", a)
            h = norm(x, n + "pre_feedforward_layernorm")
            h = gelu_tanh(self.linear(h, n + "mlp.gate_proj")) * self.linear(h, n + "mlp.up_proj")
            x = x + self.keep(i + 1, "mlp", norm(self.linear(h, n + "mlp.down_proj"), n + "post_feedforward_layernorm"))
            self.keep(i + 1, "residual", x)
        return norm(x, "model.norm") @ w["model.embed_tokens.weight"].T


# The checkpoints. Sizes differ wherever the architecture lets them, so that one taken for another shows.

LLAMA = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 28, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 40, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
         "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
QWEN = dict(LLAMA, rope_theta=1000000.0, rms_norm_eps=1e-6, sliding_window=None, use_sliding_window=False, max_window_layers=2)
GPT2 = {"model_type": "gpt2", "n_embd": 18, "n_inner": None, "n_layer": 2, "n_head": 3, "n_positions": 32, "n_ctx": 32,
        "vocab_size": 40, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "reorder_and_upcast_attn": False,
        "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "torch_dtype": "float32"}
NEOX = {"model_type": "gpt_neox", "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2,
        "vocab_size": 40, "max_position_embeddings": 32, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "rotary_pct": 0.25,
        "rotary_emb_base": 10000, "attention_bias": True, "use_parallel_residual": True, "tie_word_embeddings": False,
        "torch_dtype": "float16"}
CASES = {
    "llama": dict(LLAMA, attention_bias=True, mlp_bias=True, rope_scaling={
        "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}),
    "mistral": dict(LLAMA, model_type="mistral", sliding_window=7, rope_scaling={"type": "linear", "factor": 2.0}),
    "qwen2": dict(QWEN, model_type="qwen2", head_dim=None, use_sliding_window=True, sliding_window=7, max_window_layers=1),
    "qwen3": dict(QWEN, model_type="qwen3", tie_word_embeddings=True, attention_bias=False),
    "gpt2": GPT2,
    "gpt2-gelu": dict(GPT2, activation_function="gelu", n_inner=40, torch_dtype="float16"),
    "gpt_neox": NEOX,
    "gpt_neox-sequential": dict(NEOX, use_parallel_residual=False, hidden_act="gelu_fast", rotary_pct=0.5),
    "gemma3_text": dict(LLAMA, model_type="gemma3_text", hidden_act=None, hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6,
                        rope_theta=1000000.0, rope_local_base_freq=10000.0, rope_scaling={"rope_type": "linear", "factor": 8.0},
                        query_pre_attn_scalar=12, sliding_window=7, sliding_window_pattern=2, attention_bias=False,
                        attn_logit_softcapping=None, final_logit_softcapping=None, tie_word_embeddings=True),
}


def tensors(c, rng):
    """A random checkpoint: name to float64 array, as the family's class in transformers has them."""
    kind, out = c["model_type"], {}
    near = lambda *shape: 1 + 0.1 * rng.standard_normal(shape)

    def linear(name, n_out, n_in, bias):
        out[name + ".weight"] = rng.standard_normal((n_out, n_in)) / math.sqrt(n_in)
        if bias:
            out[name + ".bias"] = 0.2 * rng.standard_normal(n_out)

    def layer(name, n):
        out[name + ".weight"], out[name + ".bias"] = near(n), 0.2 * rng.standard_normal(n)

    if kind == "gpt2":
        d = c["n_embd"]
        inner = c["n_inner"] or 4 * d
        p = "" if c["activation_function"] == "gelu_new" else "transformer."  # GPT2Model and GPT2LMHeadModel
        out[p + "wte.weight"] = rng.standard_normal((c["vocab_size"], d))
        out[p + "wpe.weight"] = rng.standard_normal((c["n_positions"], d)) / 2
        for i in range(c["n_layer"]):
            n = "%sh.%d." % (p, i)
            out[n + "attn.bias"] = np.tril(np.ones((1, 1, c["n_ctx"], c["n_ctx"])))[..., :4, :4]  # its size does not matter
            for name, n_out, n_in in (("attn.c_attn", 3 * d, d), ("attn.c_proj", d, d), ("mlp.c_fc", inner, d), ("mlp.c_proj", d, inner)):
                linear(n + name, n_out, n_in, True)
                out[n + name + ".weight"] = np.ascontiguousarray(out[n + name + ".weight"].T)
            layer(n + "ln_1", d)
            layer(n + "ln_2", d)
        layer(p + "ln_f", d)
        return out

    d, m = c["hidden_size"], c["intermediate_size"]
    if kind == "gpt_neox":
        out["gpt_neox.embed_in.weight"] = rng.standard_normal((c["vocab_size"], d))
        out["embed_out.weight"] = 0.1 * rng.standard_normal((c["vocab_size"], d))
        for i in range(c["num_hidden_layers"]):
            n = "gpt_neox.layers.%d." % i
            layer(n + "input_layernorm", d)
            layer(n + "post_attention_layernorm", d)
            linear(n + "attention.query_key_value", 3 * d, d, True)
            linear(n + "attention.dense", d, d, True)
            linear(n + "mlp.dense_h_to_4h", m, d, True)
            linear(n + "mlp.dense_4h_to_h", d, m, True)
        layer("gpt_neox.final_layer_norm", d)
        return out

    heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
    dim = c["head_dim"] or d // heads
    norm = (lambda n: near(n) - 1) if kind == "gemma3_text" else near
    bias = c.get("attention_bias", False)
    out["model.embed_tokens.weight"] = rng.standard_normal((c["vocab_size"], d)) / (math.sqrt(d) if kind == "gemma3_text" else 1)
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = 0.1 * rng.standard_normal((c["vocab_size"], d))
    for i in range(c["num_hidden_layers"]):
        n = "model.layers.%d." % i
        for name, n_out, n_in in (("q", heads * dim, d), ("k", kv * dim, d), ("v", kv * dim, d), ("o", d, heads * dim)):
            linear(n + "self_attn.%s_proj" % name, n_out, n_in, bias or kind == "qwen2" and name != "o")
        for name, n_out, n_in in (("gate", m, d), ("up", m, d), ("down", d, m)):
            linear(n + "mlp.%s_proj" % name, n_out, n_in, c.get("mlp_bias", False))
        names = ["input_layernorm", "post_attention_layernorm"]
        if kind == "gemma3_text":
            names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for name in names:
            out[n + name + ".weight"] = norm(d)
        if kind in ("qwen3", "gemma3_text"):
            out[n + "self_attn.q_norm.weight"], out[n + "self_attn.k_norm.weight"] = norm(dim), norm(dim)
    out["model.norm.weight"] = norm(d)
    return out


def encode(x, dtype):
    """The bytes of x in one of the three types of checkpoints."""
    if dtype == "BF16":
        bits = x.astype("<f4").view("<u4")
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    return x.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()


def write_safetensors(path, arrays, dtype):
    header, blob = {}, b""
    for name in sorted(arrays):
        raw = encode(arrays[name], dtype)
        header[name] = {"dtype": dtype, "shape": list(arrays[name].shape), "data_offsets": [len(blob), len(blob) + len(raw)]}
        blob += raw
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + blob)


def write(name, folder):
    """Writes one case: config.json, model.safetensors, and golden.safetensors with the states in float32."""
    c = CASES[name]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(c, f, indent=1)
        f.write("\n")
    rng = np.random.default_rng(sum(name.encode()))
    dtype = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}[c["torch_dtype"]]
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors(c, rng), dtype)
    ids = rng.integers(0, c["vocab_size"], TOKENS)
    r = Reference(folder)
    golden = {"logits": r.forward(ids), "ids": ids.astype(float)}
    for (layer, stream), x in r.taps.items():
        golden["%d %s" % (layer, stream)] = x
    write_safetensors(os.path.join(folder, "golden.safetensors"), golden, "F32")


def main(out=OUT):
    for name in CASES:
        write(name, os.path.join(out, name))
        print(name, sum(e.stat().st_size for e in os.scandir(os.path.join(out, name))), "bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
