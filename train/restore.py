"""Makes a checkpoint of exported files: the start of a run that goes on from the weights that ship.

    python3 train/restore.py detector train/work/shipped.pt
    python3 train/pretrain.py --start train/work/shipped.pt --minutes 60
"""

import json
import os
import struct
import sys

import numpy as np
import torch

from model import Config


def read_bf16(path):
    """The tensors of a safetensors file that holds nothing but bfloat16."""
    with open(path, "rb") as f:
        raw = f.read()
    n = struct.unpack("<Q", raw[:8])[0]
    out = {}
    for name, t in json.loads(raw[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        if t["dtype"] != "BF16":
            raise ValueError("%s: tensor %s is %s, not BF16" % (path, name, t["dtype"]))
        a, b = t["data_offsets"]
        bits = np.frombuffer(raw[8 + n + a : 8 + n + b], dtype="<u2").astype(np.uint32) << 16
        out[name] = torch.from_numpy(bits.view(np.float32).reshape(t["shape"]).copy())
    return out


def state_of(t, config):
    """The inverse of export.tensors_of."""
    s = {"embed": t["model.embed_tokens.weight"], "norm.weight": t["model.norm.weight"]}
    for i in range(config.num_hidden_layers):
        a, b = "blocks.%d." % i, "model.layers.%d." % i
        s[a + "norm1.weight"] = t[b + "input_layernorm.weight"]
        s[a + "norm2.weight"] = t[b + "post_attention_layernorm.weight"]
        s[a + "qkv"] = torch.cat([t[b + "self_attn.%s_proj.weight" % x] for x in "qkv"])
        s[a + "o"] = t[b + "self_attn.o_proj.weight"]
        s[a + "gate_up"] = torch.cat([t[b + "mlp.gate_proj.weight"], t[b + "mlp.up_proj.weight"]])
        s[a + "down"] = t[b + "mlp.down_proj.weight"]
    return s


def main():
    folder, out = sys.argv[1:]
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        c = json.load(f)
    config = Config(**{k: c[k] for k in Config.__dataclass_fields__})
    state = state_of(read_bf16(os.path.join(folder, "model.safetensors")), config)
    torch.save({"model": state, "config": vars(config), "step": 0, "tokens": 0, "spent": 0.0, "history": [], "args": {}}, out)


if __name__ == "__main__":
    main()
