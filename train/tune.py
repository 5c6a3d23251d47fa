"""Behavioural tuning: bends the language model's states towards what a detector must see.

Windows end in <|close|>. Heads on the last layer's residual (before the final
norm) and on the middle layer's give window labels at <|close|> and a payload
label at every token, and the sentence vectors of a teacher (teacher.py) where work/teacher.pt
exists; export.py throws the heads away. The language-model loss
stays on. Goes on from work/tune.pt when it exists.
"""

import argparse
import csv
import json
import os
import random
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import bpe
import compose
import corpus
import synthetic
import teacher
from model import Config, Model, Muon
from pretrain import plot, save, schedule

END, CLOSE = 0, 1
LABELS = len(compose.LABELS)
MEANING = 512  # numbers in a sentence vector of the teacher


class Heads(nn.Module):
    """A linear reading of one layer: rows are scaled to unit mean square, directions are all that counts."""

    def __init__(self, d):
        super().__init__()
        self.window = nn.Linear(d, LABELS)
        self.token = nn.Linear(d, 1)
        self.meaning = nn.Linear(d, MEANING)

    @staticmethod
    def scaled(x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)

    def forward(self, x, ends, dropout):
        close = self.scaled(x[torch.arange(len(x)), ends])
        x = F.dropout(self.scaled(x), dropout, self.training)
        return self.window(x[torch.arange(len(x)), ends]), self.token(x).squeeze(-1), self.meaning(close)


def cut(sample, tok, r, size):
    """One window of at most size tokens: ids, token labels (-1 unknown), window labels and weights; None to skip."""
    text = sample.text
    if len(text) > 12 * size and not sample.spans:
        at = r.randint(0, len(text) - 10 * size) if not (sample.whole and r.random() < 0.4) else 0
        text = text[at : at + 10 * size]
    elif sample.spans and len(text) > 16 * size:
        # Cut bytes around a payload before encoding.
        a, b = r.choice(sample.spans)
        raw = text.encode("utf-8", "replace")
        lo = max(0, r.randint(a - 8 * size, max(a - 8 * size, b - 2 * size)))
        lo = 0 if lo < 64 else lo
        part = raw[lo : lo + 14 * size]
        while part and part[0] & 0xC0 == 0x80:
            part, lo = part[1:], lo + 1
        text = part.decode("utf-8", "ignore")
        if not sample.whole:
            spans = [(max(0, x - lo), y - lo) for x, y in sample.spans if y > lo]
        else:
            spans = [(0, len(part))]
        sample_spans = spans
    if "sample_spans" not in locals():
        sample_spans = [(0, 1 << 30)] if sample.whole else sample.spans
    ids, starts, _ = tok.encode_spans(text)
    if not ids:
        return None
    known = sample_spans is not None
    lab = np.zeros(len(ids), dtype=np.float32)
    for a, b in sample_spans or []:
        i, j = np.searchsorted(starts, [a, b])
        lab[max(0, i - (i < len(starts) and starts[i] > a)) : j] = 1
    total = lab.sum()
    if len(ids) > size:
        if known and total and not sample.whole:
            hot = np.flatnonzero(lab)
            at = int(r.choice(hot)) - r.randint(0, size - 1)
        else:
            at = r.choice([0, r.randint(0, len(ids) - size)])
        at = max(0, min(at, len(ids) - size))
        ids, lab = ids[at : at + size], lab[at : at + size]
    want, weigh = list(sample.want), list(sample.weigh)
    if known and want[0] and not sample.whole:
        n = lab.sum()
        if n == 0:
            want, weigh = [0.0] * LABELS, [1.0] * LABELS
        elif n < 5 and n < 0.5 * total:
            return None
    elif want[0] and not known and len(ids) < 0.5 * len(starts):
        weigh = [0.3 * w for w in weigh]  # the window may well have missed the payload
    if sample.whole and len(starts) > size:
        weigh = [0.6 * w for w in weigh]
    if not known:
        lab[:] = -1
    return ids, lab, want, weigh, sample.token, known


def batches(pool, tok, seed, tokens):
    """Endless batches of windows of like length."""
    r = random.Random(seed)
    buckets = {}
    while True:
        for s in pool.draw(r):
            size = 126 if r.random() < 0.45 else r.randint(14, 158)
            w = cut(s, tok, r, size)
            if w is None:
                continue
            k = (len(w[0]) + 2 + 31) // 32 * 32
            b = buckets.setdefault(k, [])
            b.append(w)
            if len(b) * k >= tokens:
                buckets[k] = []
                yield [tok.decode(x[0]) for x in b], pack(b, k, r)


def pack(b, k, r, drop=0.03):
    n = len(b)
    ids = torch.zeros(n, k, dtype=torch.long)
    lab = torch.full((n, k), -1.0)
    ends = torch.zeros(n, dtype=torch.long)
    for i, (t, l, *_) in enumerate(b):
        t = torch.tensor(t)
        if drop:
            # Token dropout: another token in its place, so that no single word decides.
            m = torch.rand(len(t)) < drop
            t[m] = torch.randint(2, 8192, (int(m.sum()),))
        ids[i, 1 : len(t) + 1] = t
        ids[i, len(t) + 1] = CLOSE
        lab[i, 1 : len(t) + 1] = torch.from_numpy(l)
        ends[i] = len(t) + 1
    want = torch.tensor([x[2] for x in b])
    weigh = torch.tensor([x[3] for x in b])
    token = torch.tensor([x[4] for x in b])
    known = torch.tensor([x[5] for x in b])
    return ids, lab, ends, want, weigh, token, known


def window_batch(texts, tok, size=126, stride=96, most=2):
    """Plain windows of texts for scoring: rows of ids and which text each is from."""
    out = []
    for i, t in enumerate(texts):
        ids = tok.encode(t[: 12 * size * most])
        for n, at in enumerate(range(0, max(1, len(ids)), stride)):
            if n == most or (n and len(ids) - at < 20):
                break
            out.append((i, ids[at : at + size]))
    return out


@torch.no_grad()
def states_of(model, tok, texts, layers):
    """States at <|close|>, per window, of the asked layers; and each window's text."""
    w = sorted(window_batch(texts, tok), key=lambda x: len(x[1]))
    got, owner = [], []
    for s in range(0, len(w), 32):
        part = w[s : s + 32]
        k = max(len(x[1]) for x in part) + 2
        ids = torch.zeros(len(part), k, dtype=torch.long)
        ends = torch.zeros(len(part), dtype=torch.long)
        for i, (o, t) in enumerate(part):
            ids[i, 1 : len(t) + 1] = torch.tensor(t, dtype=torch.long)
            ids[i, len(t) + 1] = CLOSE
            ends[i] = len(t) + 1
            owner.append(o)
        dev = model.embed.device
        hs = model(ids.to(dev), keep=layers)
        got.append(torch.stack([Heads.scaled(h[torch.arange(len(part)), ends.to(dev)]) for h in hs], 1).cpu())
    return torch.cat(got), np.array(owner)


def auc(pos, neg):
    x = np.concatenate([pos, neg])
    order = np.argsort(x, kind="mergesort")
    rank = np.empty(len(x))
    rank[order] = np.arange(1, len(x) + 1)
    for v in np.unique(x[np.isin(x, x[order][1:][np.diff(x[order]) == 0])]):
        rank[x == v] = rank[x == v].mean()
    return (rank[: len(pos)].sum() - len(pos) * (len(pos) + 1) / 2) / (len(pos) * len(neg))


class Meaning:
    """What the teacher says of windows: centred unit vectors, for a share of the windows and only for English, which is all it knows."""

    def __init__(self, texts, share, device):
        self.teacher, self.share, self.device = teacher.Teacher().to(device), share, device
        self.r = random.Random(31)
        texts = [t[:300] for t in texts if self.known(t)][:1024]
        self.centre = torch.cat([self.teacher(texts[i : i + 64]) for i in range(0, len(texts), 64)]).mean(0)

    @staticmethod
    def known(text):
        plain = sum(c.isascii() and (c.isalpha() or c == " ") for c in text)
        return len(text) >= 12 and plain > 0.75 * len(text)

    def __call__(self, texts):
        """Rows of the batch that were asked about, and their vectors; None where there are too few."""
        rows = [i for i, t in enumerate(texts) if self.r.random() < self.share and self.known(t)]
        if len(rows) < 4:
            return None
        v = F.normalize(self.teacher([texts[i] for i in rows]) - self.centre, dim=1)
        return torch.tensor(rows, device=self.device), v


class HeldOut:
    """Our own rows kept aside, and clean sources that tuning does not see; never the evaluation split."""

    def __init__(self, pool, most=60):
        r = random.Random(3)
        self.texts, self.who = [], []

        def add(name, texts, most=most):
            texts = sorted(texts)
            r.shuffle(texts)
            self.texts += texts[:most]
            self.who += [name] * len(texts[:most])

        for s in sorted(corpus.FOR_THRESHOLDS | corpus.HALF_FOR_THRESHOLDS):
            add("benign/" + s, [x["text"] for x in corpus.rows(s) if corpus.reserved(x)])
        add("benign/synthetic", [synthetic.draw(r, r.choice(pool.prose)[:600], held=True)[2] for _ in range(most)])
        for label in ("attack", "benign"):
            add("own-" + label, [x["text"] for x in pool.aside if x["label"] == label], 400)
        self.who = np.array(self.who)

    def figures(self, score):
        own, clean = score[self.who == "own-attack"], score[np.char.startswith(self.who, "benign/")]
        f = {"own": auc(own, score[self.who == "own-benign"]), "sources": auc(own, clean), "tpr1": (own > np.quantile(clean, 0.99)).mean()}
        return {k: round(float(v), 4) for k, v in f.items()}

    def by_owner(self, scores, owner):
        out = np.full(len(self.texts), -1e9)
        np.maximum.at(out, owner, scores)
        return out


def probe(model, tok, pool, held, layers):
    """Held-out figures of a ridge regression on the states as they are: how much a linear reader finds."""
    r = random.Random(9)
    texts, y = [], []
    while len(texts) < 2000:
        for s in pool.draw(r):
            texts.append(s.text[:700])
            y.append(s.want[0])
    x, owner = states_of(model, tok, texts, layers)
    h, howner = states_of(model, tok, held.texts, layers)
    out = {}
    for i, l in enumerate(layers):
        a = x[:, i].double().numpy()
        t = np.array(y)[owner] * 2 - 1
        mu = a.mean(0)
        a = a - mu
        w = np.linalg.solve(a.T @ a + 0.02 * len(a) * np.eye(a.shape[1]), a.T @ (t - t.mean()))
        out["layer%d" % l] = held.figures(held.by_owner((h[:, i].double().numpy() - mu) @ w, howner))
    return out


def head_figures(model, heads, tok, held, layers):
    model.eval()
    h, owner = states_of(model, tok, held.texts, layers)
    with torch.no_grad():
        out = {}
        for i, l in enumerate(layers):
            z = heads[i].cpu().window(h[:, i])[:, 0].numpy()
            out["layer%d" % l] = held.figures(held.by_owner(z, owner))
    model.train()
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--minutes", type=float, default=0)
    p.add_argument("--steps", type=int, default=1000)
    p.add_argument("--tokens", type=int, default=4096, help="a batch")
    p.add_argument("--lm-weight", type=float, default=0.3)
    p.add_argument("--meaning-weight", type=float, default=1.0, help="of the teacher's loss, one minus the cosine")
    p.add_argument("--meaning-share", type=float, default=0.5, help="share of the windows that the teacher reads too")
    p.add_argument("--lm-share", type=float, default=0.2)
    p.add_argument("--lr", type=float, default=0.008)
    p.add_argument("--adam-lr", type=float, default=8e-4)
    p.add_argument("--fall", type=float, default=0.6, help="share of the run over which the rate falls to zero")
    p.add_argument("--dropout", type=float, default=0.1)
    p.add_argument("--smooth", type=float, default=0.02)
    p.add_argument("--seed", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--start", default=os.path.join(corpus.WORK, "pretrain.pt"))
    p.add_argument("--out", default=os.path.join(corpus.WORK, "tune.pt"))
    p.add_argument("--save-every", type=int, default=200)
    p.add_argument("--max-steps", type=int, default=0)
    p.add_argument("--no-probe", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tok = bpe.load(os.path.join(corpus.WORK, "tokenizer.json"))
    state = torch.load(args.out, map_location="cpu") if os.path.exists(args.out) else None
    first = torch.load(args.start, map_location="cpu") if state is None else state
    config = Config(**first["config"])
    t = time.time()
    pool = compose.Pool()
    held = HeldOut(pool)
    print(f"pool in {time.time()-t:.0f} s: {len(pool.names)} sources, payloads { {k: len(v) for k, v in pool.payloads.items()} }, "
          f"carriers {sum(map(len, pool.carriers.values()))}, wrappers {len(pool.wrappers)}, aside {len(pool.aside)}", flush=True)
    layers = [config.num_hidden_layers // 2, config.num_hidden_layers]
    model = Model(config)
    model.load_state_dict(first["model"])
    model.to(device)
    heads = nn.ModuleList(Heads(config.hidden_size) for _ in layers).to(device)
    opt = Muon(model, extra=list(heads.parameters()), lr=args.lr, adam_lr=args.adam_lr)
    step, tokens, spent, history, notes = 0, 0, 0.0, [], {}
    meaning = Meaning(held.texts, args.meaning_share, device) if args.meaning_weight and os.path.exists(os.path.join(corpus.WORK, "teacher.pt")) else None
    if state is not None:
        heads.load_state_dict(state["heads"])
        opt.load_state_dict(state["optimiser"])
        step, tokens, spent, history, notes = state["step"], state["tokens"], state["spent"], state["history"], state["notes"]
    elif not args.no_probe:
        model.eval()
        notes["before"] = probe(model, tok, pool, held, layers)
        print("before tuning, ridge regression:", json.dumps(notes["before"]), flush=True)
    model.train()
    heads.train()
    begin, last, window = time.time() - spent, time.time(), []
    weights = [0.5, 1.0]

    def pack_state():
        return {"model": model.state_dict(), "heads": heads.state_dict(), "optimiser": opt.state_dict(), "step": step, "tokens": tokens,
                "spent": time.time() - begin, "history": history, "config": vars(config), "args": vars(args), "notes": notes,
                "pretrain": first.get("pretrain") or {k: first.get(k) for k in ("step", "tokens", "spent", "history", "args")}}

    for texts, b in batches(pool, tok, args.seed + 1000 * step, args.tokens):
        progress = (time.time() - begin) / (args.minutes * 60) if args.minutes else step / args.steps
        if progress >= 1 or (args.max_steps and step >= args.max_steps):
            break
        ids, lab, ends, want, weigh, token, known = (z.to(device) for z in b)
        hs = model(ids, dropout=args.dropout, keep=layers)
        y = want * (1 - 2 * args.smooth) + args.smooth
        loss_w = loss_t = loss_m = torch.zeros((), device=device)
        taught = meaning(texts) if meaning else None
        place = torch.arange(ids.shape[1], device=device)
        inside = (place > 0) & (place < ends[:, None])
        for h, head, k in zip(hs, heads, weights):
            zw, zt, zm = head(h, ends, args.dropout)
            if taught:
                loss_m = loss_m + 0.5 * (1 - F.cosine_similarity(zm[taught[0]], taught[1])).mean()
            loss_w = loss_w + k * (F.binary_cross_entropy_with_logits(zw, y, reduction="none") * weigh).sum() / weigh.sum()
            m = (lab >= 0) & inside
            tw = m * token[:, None]
            per = F.binary_cross_entropy_with_logits(zt, lab.clamp(min=0) * 0.96 + 0.02, reduction="none")
            loss_t = loss_t + k * (per * tw).sum() / tw.sum().clamp(min=1)
            # Where the place is unknown, the eight most suspicious tokens answer for the window.
            if (~known).any():
                top = zt[~known].masked_fill(~inside[~known], -30.0).topk(min(8, zt.shape[1]), 1)[0].mean(1)
                loss_t = loss_t + k * 0.2 * (F.binary_cross_entropy_with_logits(top, y[~known, 0], reduction="none") * weigh[~known, 0]).mean()
        nxt = torch.cat([ids[:, 1:], torch.zeros_like(ids[:, :1])], 1)
        real = (place < ends[:, None] - 1).reshape(-1).nonzero().squeeze(1)
        pick = real[torch.rand(len(real), device=device).argsort()[: int(len(real) * args.lm_share)].sort()[0]]
        loss_lm = model.lm_loss(hs[-1].reshape(-1, config.hidden_size)[pick], nxt.reshape(-1)[pick])
        loss = loss_w + loss_t + args.lm_weight * loss_lm + args.meaning_weight * loss_m
        opt.zero_grad()
        loss.backward()
        if not torch.isfinite(loss):
            raise RuntimeError("tune: loss is not finite")
        opt.step(schedule(progress, step, warm=30, fall=args.fall))
        right = ((zw[:, 0] > 0) == (want[:, 0] > 0.5)).float().mean()
        window.append((float(loss_w), float(loss_t), float(loss_lm), float(loss_m) if taught else float("nan"), float(right)))
        step += 1
        tokens += ids.numel()
        if step % 20 == 0:
            now = time.time()
            a = np.nanmean(window, 0)
            history.append({"step": step, "tokens": tokens, "seconds": round(now - begin, 1), "window_loss": a[0], "token_loss": a[1], "lm_loss": a[2], "meaning_loss": a[3], "accuracy": a[4]})
            print(f"step {step} window {a[0]:.4f} token {a[1]:.4f} lm {a[2]:.4f} meaning {a[3]:.4f} right {a[4]:.3f} {20*args.tokens/(now-last):.0f} tokens/s progress {progress:.3f}", flush=True)
            window, last = [], now
        if step % args.save_every == 0:
            notes["step%d" % step] = f = head_figures(model, heads, tok, held, layers)
            print("held out:", json.dumps(f), flush=True)
            save(args.out, pack_state())
    notes["after"] = head_figures(model, heads, tok, held, layers)
    print("after tuning, heads:", json.dumps(notes["after"]), flush=True)
    model.eval()
    if not args.no_probe:
        notes["after_ridge"] = probe(model, tok, pool, held, layers)
        print("after tuning, ridge regression:", json.dumps(notes["after_ridge"]), flush=True)
    save(args.out, pack_state())
    base = os.path.splitext(args.out)[0]
    if history:
        with open(base + ".csv", "w", newline="") as f:
            w = csv.DictWriter(f, list(history[0]))
            w.writeheader()
            w.writerows(history)
        plot(history, base + ".png", "nano: behavioural tuning")
    with open(base + ".json", "w") as f:
        json.dump({"steps": step, "tokens": tokens, "minutes": round((time.time() - begin) / 60, 1), "notes": notes, "args": vars(args)}, f, indent=1)


if __name__ == "__main__":
    main()
