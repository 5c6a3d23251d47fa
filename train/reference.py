"""The model's forward pass once more, in plain numpy float64, from the exported files alone.

Written from the Llama paper's equations and sharing nothing with model.py, so
that a mistake in one shows against the other. Slow and meant to be.
"""

import json
import os
import struct

import numpy as np


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + n])
    out = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        a, b = t["data_offsets"]
        raw = data[8 + n + a : 8 + n + b]
        if t["dtype"] == "BF16":
            bits = np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16
            v = bits.view(np.float32)
        elif t["dtype"] in ("F16", "F32"):
            v = np.frombuffer(raw, dtype={"F16": "<f2", "F32": "<f4"}[t["dtype"]])
        else:
            raise ValueError("reference: dtype " + t["dtype"])
        out[name] = v.reshape(t["shape"]).astype(np.float64)
    return out


def rms_norm(x, weight, eps):
    return weight * x / np.sqrt(np.mean(x * x) + eps)


def rotate(v, position, theta):
    """Rotates the pairs (i, i + half) of one head's vector by position * theta^(-i/half)."""
    half = len(v) // 2
    out = np.empty_like(v)
    for i in range(half):
        angle = position * theta ** (-i / half)
        c, s = np.cos(angle), np.sin(angle)
        out[i] = v[i] * c - v[i + half] * s
        out[i + half] = v[i + half] * c + v[i] * s
    return out


class Reference:
    def __init__(self, folder):
        with open(os.path.join(folder, "config.json")) as f:
            self.c = json.load(f)
        self.w = read_safetensors(os.path.join(folder, "model.safetensors"))

    def forward(self, ids):
        """States of all positions: a list of L+1 arrays (0 = embeddings), and the last after the final norm."""
        c, w = self.c, self.w
        heads, kv, d = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        eps, theta = c["rms_norm_eps"], c["rope_theta"]
        x = w["model.embed_tokens.weight"][np.asarray(ids)]
        states = [x.copy()]
        for n in range(c["num_hidden_layers"]):
            g = lambda name: w["model.layers.%d.%s.weight" % (n, name)]
            keys, values, queries = [], [], []
            for t, row in enumerate(x):
                h = rms_norm(row, g("input_layernorm"), eps)
                q, k, v = g("self_attn.q_proj") @ h, g("self_attn.k_proj") @ h, g("self_attn.v_proj") @ h
                queries.append([rotate(q[i * d : (i + 1) * d], t, theta) for i in range(heads)])
                keys.append([rotate(k[i * d : (i + 1) * d], t, theta) for i in range(kv)])
                values.append([v[i * d : (i + 1) * d] for i in range(kv)])
            for t in range(len(x)):
                mixed = []
                for i in range(heads):
                    j = i // (heads // kv)
                    score = np.array([queries[t][i] @ keys[u][j] for u in range(t + 1)]) / np.sqrt(d)
                    p = np.exp(score - score.max())
                    p /= p.sum()
                    mixed.append(sum(p[u] * values[u][j] for u in range(t + 1)))
                row = x[t] + g("self_attn.o_proj") @ np.concatenate(mixed)
                h = rms_norm(row, g("post_attention_layernorm"), eps)
                gate, up = g("mlp.gate_proj") @ h, g("mlp.up_proj") @ h
                x[t] = row + g("mlp.down_proj") @ (gate / (1 + np.exp(-gate)) * up)
            states.append(x.copy())
        final = np.array([rms_norm(row, w["model.norm.weight"], eps) for row in x])
        return states, final
