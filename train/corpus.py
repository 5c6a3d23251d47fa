"""The texts that nano may learn from, and the token files made of them.

Only sources whose licence allows shipping a model trained on them are named
here; SOURCES.md in this folder says why each one is in or out. The evaluation
split is never opened: there is no path to it in this file.
"""

import argparse
import gzip
import hashlib
import json
import lzma
import os
import random
import re

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.path.join(HERE, "work")
DATA = os.environ.get("ALKNET_DATA", os.path.join(HERE, "..", "..", "shared", "data"))

END = "<|endoftext|>"

# Language-model text: name -> share of a pre-training batch.
LM = {"books_en": 0.33, "code": 0.18, "bible_multilingual": 0.09, "dialogues_taskmaster": 0.01}
LM_TRAIN_SHARE = 0.39  # of the train split's permitted texts

# Train-split sources that stay out: non-commercial, without a licence, or unclear.
REFUSED = {
    "ag_news", "alpaca_instructions", "instructionwild", "javascript_info_ml", "neuralchemy",
    "system_prompts", "tensortrust_extraction", "tensortrust_hijacking", "topicalchat",
}
# Benign sources the tuning stage does not see: thresholds are calibrated on them later.
FOR_THRESHOLDS = {"clinc150", "toolalpaca", "go_vulndb", "readmes"}
HALF_FOR_THRESHOLDS = {"p3_documents", "code_train", "config_files", "api_bank"}


def reserved(row):
    """Whether the row is kept out of tuning so that thresholds can be set on it."""
    source = row["source"]
    if source in FOR_THRESHOLDS:
        return True
    if source in HALF_FOR_THRESHOLDS:
        return hashlib.sha256(row["id"].encode()).digest()[0] & 1 == 1
    return False


def lm_documents(name):
    """The documents of one lm/*.txt.xz file."""
    with lzma.open(os.path.join(DATA, "lm", name + ".txt.xz"), "rt", encoding="utf-8", errors="replace") as f:
        text = f.read()
    if name.startswith("bible"):
        text = re.sub(r"<(?!\|endoftext\|>)[^>\n]{0,200}>", "", text)
    return [d for d in (d.strip() for d in text.split(END)) if d]


def sources():
    """Names of the permitted train-split sources."""
    names = (f[: -len(".jsonl.gz")] for f in sorted(os.listdir(os.path.join(DATA, "train"))) if f.endswith(".jsonl.gz"))
    return [n for n in names if n not in REFUSED]


def rows(name):
    """The rows of one permitted train-split source."""
    if name in REFUSED:
        raise ValueError("corpus: refused source " + name)
    with gzip.open(os.path.join(DATA, "train", name + ".jsonl.gz"), "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def chunks(documents, size, total, seed):
    """At most total characters of the documents, in random pieces of about size."""
    pieces = []
    for d in documents:
        pieces.extend(d[i : i + size] for i in range(0, len(d), size))
    random.Random(seed).shuffle(pieces)
    out, n = [], 0
    for p in pieces:
        if n >= total:
            break
        out.append(p)
        n += len(p)
    return out


def train_texts(per_source=4_000_000):
    out = []
    for s in sources():
        texts = [r["text"] for r in rows(s)]
        random.Random(s).shuffle(texts)
        n = 0
        for t in texts:
            if n > per_source:
                break
            out.append(t)
            n += len(t)
    return out


# Characters taken from each language-model file: more than a CPU run consumes.
TAKE = {"books_en": 36_000_000, "code": 18_000_000, "bible_multilingual": 9_000_000, "dialogues_taskmaster": 1_000_000}


def stage_texts(name):
    if name == "train":
        t = train_texts()
        random.Random(1).shuffle(t)
        return t
    take = int(TAKE[name] * float(os.environ.get("ALKNET_TAKE", "1")))
    return chunks(lm_documents(name), 6000, take, 2)


def encode_stage(name):
    import bpe

    tok = bpe.load(os.path.join(WORK, "tokenizer.json"))
    ids = []
    for t in stage_texts(name):
        ids.append(0)
        ids.extend(tok.encode(t))
    a = np.asarray(ids, dtype=np.uint16)
    np.save(os.path.join(WORK, "tokens_" + name + ".npy"), a)
    return name, len(a)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--processes", type=int, default=2)
    args = p.parse_args()
    import multiprocessing

    with multiprocessing.Pool(args.processes) as pool:
        for name, n in pool.imap_unordered(encode_stage, ["books_en", "train", "code", "bible_multilingual", "dialogues_taskmaster"]):
            print(name, n, "tokens", flush=True)


if __name__ == "__main__":
    main()
