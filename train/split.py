"""Writes the rows that nano's codebook is calibrated on: work/calibrate/*.jsonl.

fit.jsonl holds what the tuning stage saw, thresholds.jsonl clean text that it never
saw: whole or half sources, a tenth of our own clean texts, clean tool output and
documents by rule (synthetic.py) of formats that tuning has not seen, and pieces of the
language-model text. All of it is fitted on; false-alarm rates are set on our own clean texts alone,
each scored by a fit that did not see its source. Most of the other clean text is far from
any attack, and thresholds set on it promised rates that documents and tool output of other
sources did not keep. The names of all other sources are printed, joined by commas,
as `alknet-firewall calibrate --fit-only` takes them.
"""

import argparse
import glob
import hashlib
import json
import os
import random

import compose
import corpus
import synthetic

OWN = os.path.join(corpus.HERE, "..", "calibration")


LM_PIECES = 250


def by_rule(n, prose, held):
    """Clean texts of synthetic.py as rows, a source a kind."""
    r = random.Random(17 + held)
    out = []
    for i in range(n):
        kind, channel, text = synthetic.draw(r, r.choice(prose)[: r.randint(60, 1500)], held)
        out.append({"id": "%d" % i, "text": text, "label": "benign", "kind": "benign_" + channel, "source": "rule-" + kind + ("-held" if held else ""), "lang": "en", "channel": channel})
    return out


ASK = ["Summarise the following text.", "Please translate this into French:", "What is the main point here?", "Can you proofread this?", "Is there a mistake in this?", "Explain this to me in simple words:",
       "Write a reply to this.", "Give me five questions about this text.", "I have to present this tomorrow. Which parts matter?", "Shorten this to a hundred words, please.", "What does this do?", "Make a table of the facts in this:"]


def pasted(n, prose):
    """Prompts with a text pasted into them: long clean text of the user's channel, of which no permitted source has any."""
    r = random.Random(23)
    out = []
    for i in range(n):
        ask, text = r.choice(ASK), r.choice(prose)
        text = text[: r.randint(200, 5000)]
        t = ask + "\n\n" + text if r.random() < 0.7 else text + "\n\n" + ask
        out.append({"id": "%d" % i, "text": t, "label": "benign", "kind": "benign_prompt", "source": "rule-pasted-held", "lang": "en", "channel": "user"})
    return out


def key(row):
    return hashlib.sha256((row["source"] + "\0" + row["id"]).encode()).hexdigest()


def some(rows, most):
    """At most so many rows of each source and label, chosen by hash; harmful questions speak for no signal."""
    groups = {}
    for row in rows:
        if row["kind"] != "harmful_request":
            groups.setdefault((row["source"], row["label"]), []).append(row)
    return [r for g in sorted(groups) for r in sorted(groups[g], key=key)[:most]]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--most", type=int, default=1200, help="rows of one source and label in fit.jsonl, chosen by hash")
    p.add_argument("--most-held", type=int, default=1000, help="rows of one source in thresholds.jsonl")
    p.add_argument("--bytes", type=int, default=5000, help="characters of a row that are kept: what a document of a thousand tokens has")
    p.add_argument("--by-rule", type=int, default=600, help="clean texts made by rule, each half")
    args = p.parse_args()
    fit, thresholds = [], []
    for source in corpus.sources():
        for row in corpus.rows(source):
            held = corpus.reserved(row)
            if held and row["label"] == "benign":
                thresholds.append({**row, "source": source + "-held"})
            elif source not in corpus.HALF_FOR_THRESHOLDS or row["label"] == "attack":
                # The half that tuning never saw stands for its source: fitted on both, dev AUC was 0.926 instead of 0.928.
                fit.append(row)
    for name in sorted(glob.glob(os.path.join(OWN, "attacks-*.jsonl")) + glob.glob(os.path.join(OWN, "benign-*.jsonl"))):
        with open(name, encoding="utf-8") as f:
            for row in (json.loads(line) for line in f if line.strip()):
                if row["label"] == "benign" and compose.kept_aside(row):
                    thresholds.append({**row, "source": "alknet-held"})
                else:
                    fit.append(row)
    fit += by_rule(args.by_rule, [r["text"] for r in fit if r["label"] == "benign"], False)
    thresholds += by_rule(args.by_rule, [r["text"] for r in thresholds if r["kind"] == "benign_document"], True)
    thresholds += pasted(args.by_rule, [r["text"] for r in thresholds if len(r["text"]) > 400])
    for name, language in (("books_en", "en"), ("bible_multilingual", "mul"), ("code", "code")):
        # Behind what compose.py takes for carriers.
        pieces = corpus.chunks(corpus.lm_documents(name), 1500, 2_600_000, 5)[-LM_PIECES:]
        thresholds += [{"id": "%s-%d" % (name, i), "text": t[: random.Random(i).randint(200, 1500)], "label": "benign", "kind": "benign_document", "source": "lm-" + name, "lang": language} for i, t in enumerate(pieces)]
    fit, thresholds = some(fit, args.most), some(thresholds, args.most_held)
    out = os.path.join(corpus.WORK, "calibrate")
    os.makedirs(out, exist_ok=True)
    for name, rows in (("fit", fit), ("thresholds", thresholds)):
        with open(os.path.join(out, name + ".jsonl"), "w", encoding="utf-8") as f:
            for row in rows:
                row = {k: v for k, v in row.items() if k not in ("split", "spans")}
                row["text"] = row["text"][: args.bytes]
                f.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(",".join(sorted({r["source"] for r in fit + thresholds if not r["source"].startswith("alknet-")})))


if __name__ == "__main__":
    main()
