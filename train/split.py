"""Writes the rows that nano's codebook is calibrated on: work/calibrate/*.jsonl.

fit.jsonl holds what the tuning stage saw (and our own calibration/ texts), for
the basis and the densities; thresholds.jsonl what it never saw, for the
false-alarm rates too: clean text looks cleaner than it is to a model that was
tuned on it. The names of the sources in fit.jsonl are printed, joined by commas,
as `alknet-firewall calibrate --fit-only` takes them.
"""

import argparse
import glob
import hashlib
import json
import os

import corpus

OWN = os.path.join(corpus.HERE, "..", "calibration")


def key(row):
    return hashlib.sha256((row["source"] + "\0" + row["id"]).encode()).hexdigest()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--most", type=int, default=1200, help="rows of one source and label in fit.jsonl, chosen by hash")
    args = p.parse_args()
    fit, thresholds = [], []
    for source in corpus.sources():
        for row in corpus.rows(source):
            held = corpus.reserved(row)
            if held and row["label"] == "benign":
                thresholds.append({**row, "source": source + "-held"})
            else:
                fit.append(row)
    for name in sorted(glob.glob(os.path.join(OWN, "attacks-*.jsonl")) + glob.glob(os.path.join(OWN, "benign-*.jsonl"))):
        with open(name, encoding="utf-8") as f:
            fit.extend(json.loads(line) for line in f if line.strip())
    groups = {}
    for row in fit:
        groups.setdefault((row["source"], row["label"]), []).append(row)
    fit = [r for g in sorted(groups) for r in sorted(groups[g], key=key)[: args.most]]
    out = os.path.join(corpus.WORK, "calibrate")
    os.makedirs(out, exist_ok=True)
    for name, rows in (("fit", fit), ("thresholds", thresholds)):
        with open(os.path.join(out, name + ".jsonl"), "w", encoding="utf-8") as f:
            for row in rows:
                f.write(json.dumps({k: v for k, v in row.items() if k != "split"}, ensure_ascii=False) + "\n")
    print(",".join(sorted({r["source"] for r in fit})))


if __name__ == "__main__":
    main()
