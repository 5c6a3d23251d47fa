"""Pre-trains the language model on the token files that corpus.py wrote.

The schedule follows the share of the time budget spent (--minutes) or of the
steps (--steps): warm up, hold, then fall to zero over the last part. A run
that is stopped goes on from work/pretrain.pt with the same command.
"""

import argparse
import csv
import json
import os
import time

import numpy as np
import torch

import corpus
from model import Config, Model, Muon


def vectors(streams, config, seed=0):
    """Starting embeddings from co-occurrence counts (shifted PPMI, truncated SVD).

    Counting reads twenty million tokens in seconds, which training never
    reaches on a CPU: words that keep the same company begin side by side.
    """
    v, near = config.vocab_size, 4
    counts = np.zeros(v * v, dtype=np.float32)
    for name, a in streams.items():
        a = a.astype(np.int64)
        for d in range(1, near + 1):
            for s in range(0, len(a) - d, 4_000_000):
                e = min(s + 4_000_000, len(a) - d)
                c = np.bincount(a[s:e] * v + a[s + d : e + d], minlength=v * v)
                counts += c.astype(np.float32) * (1.0 / d)
    m = counts.reshape(v, v)
    m = m + m.T
    row = m.sum(1) + 1e-6
    col = row**0.75
    col /= col.sum()
    m = np.log(np.maximum(m, 1e-9) / (row[:, None] * col[None, :]))
    np.maximum(m, 0, out=m)
    rng = np.random.default_rng(seed)
    k = config.hidden_size
    q = rng.standard_normal((v, k + 64), dtype=np.float32)
    for _ in range(3):
        q, _ = np.linalg.qr(m @ q)
        q, _ = np.linalg.qr(m.T @ q)
    b = m @ q
    u, s, _ = np.linalg.svd(b, full_matrices=False)
    e = u[:, :k] * np.sqrt(s[:k])
    # Turned at random, so that no coordinate of the residual stream dominates.
    turn, _ = np.linalg.qr(rng.standard_normal((k, k)))
    e = e @ turn
    length = np.linalg.norm(e, axis=1, keepdims=True)
    e = e / np.maximum(length, 1e-6)
    noise = rng.standard_normal(e.shape)
    e = e * 0.9 * np.sqrt(k) + noise * 0.35
    return torch.tensor(0.03 * e, dtype=torch.float32)


def load_streams():
    out = {}
    for name in list(corpus.LM) + ["train"]:
        path = os.path.join(corpus.WORK, "tokens_" + name + ".npy")
        if os.path.exists(path):
            out[name] = np.load(path, mmap_mode="r")
    return out


class Batches:
    """Random crops by source share; batch n is a function of the seed and n alone."""

    def __init__(self, streams, length, seed):
        self.streams, self.length, self.seed = streams, length, seed
        names = list(streams)
        share = np.array([corpus.LM.get(n, corpus.LM_TRAIN_SHARE) for n in names])
        self.names, self.share = names, share / share.sum()

    def __call__(self, n, size):
        rng = np.random.default_rng([self.seed, n])
        out = np.zeros((size, self.length + 1), dtype=np.int64)
        which = rng.choice(len(self.names), size, p=self.share)
        for i, w in enumerate(which):
            a = self.streams[self.names[w]]
            at = int(rng.integers(0, len(a) - self.length))
            out[i, 1:] = a[at : at + self.length]
        return torch.from_numpy(out)


def schedule(progress, step, warm=60, fall=0.4):
    up = min(1.0, (step + 1) / warm)
    return up * min(1.0, max(0.02, (1 - progress) / fall))


def save(path, state):
    torch.save(state, path + ".tmp")
    os.replace(path + ".tmp", path)


def plot(rows, path, title):
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return
    t = [r["tokens"] / 1e6 for r in rows]
    fig, ax = plt.subplots(figsize=(7, 4))
    for name in [k for k in rows[-1] if "loss" in k]:
        ax.plot(t, [r.get(name, float("nan")) for r in rows], label=name, linewidth=1)
    ax.set_xlabel("million tokens")
    ax.set_ylabel("nats")
    ax.set_title(title)
    ax.legend()
    ax.grid(alpha=0.3)
    fig.tight_layout()
    fig.savefig(path, dpi=100)
    plt.close(fig)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--minutes", type=float, default=0, help="time budget; 0 uses --steps")
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--length", type=int, default=128)
    p.add_argument("--loss-share", type=float, default=0.5, help="share of positions whose loss is computed")
    p.add_argument("--lr", type=float, default=0.02)
    p.add_argument("--adam-lr", type=float, default=2e-3)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--hidden", type=int, default=256)
    p.add_argument("--save-every", type=int, default=200)
    p.add_argument("--cold", action="store_true", help="start embeddings at random")
    p.add_argument("--start", default="", help="a checkpoint whose weights, not optimiser, a new run begins with")
    p.add_argument("--fall", type=float, default=0.4, help="share of the run over which the rate falls to zero")
    p.add_argument("--out", default=os.path.join(corpus.WORK, "pretrain.pt"))
    p.add_argument("--max-steps", type=int, default=0, help="stop early, for measuring")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = Config(hidden_size=args.hidden, num_hidden_layers=args.layers, num_attention_heads=args.hidden // 64,
                    num_key_value_heads=max(1, args.hidden // 128), intermediate_size=args.hidden * 11 // 4)
    streams = load_streams()
    print({k: len(v) for k, v in streams.items()}, flush=True)
    model = Model(config)
    state = torch.load(args.out, map_location="cpu") if os.path.exists(args.out) else None
    if state is None and args.start:
        model.load_state_dict(torch.load(args.start, map_location="cpu")["model"])
    elif state is None and not args.cold:
        t = time.time()
        with torch.no_grad():
            model.embed.copy_(vectors(streams, config))
        print(f"embeddings from counts in {time.time()-t:.0f} s", flush=True)
    model.to(device)
    opt = Muon(model, lr=args.lr, adam_lr=args.adam_lr)
    step, tokens, spent, history = 0, 0, 0.0, []
    if state is not None:
        model.load_state_dict(state["model"])
        opt.load_state_dict(state["optimiser"])
        step, tokens, spent, history = state["step"], state["tokens"], state["spent"], state["history"]
        print("going on from step", step, flush=True)
    batches = Batches(streams, args.length, args.seed)
    held = Batches(streams, args.length, 999)(0, 32).to(device)  # training text, other crops: a smooth reading, not a test
    begin, last, window = time.time() - spent, time.time(), []

    def pack():
        return {"model": model.state_dict(), "optimiser": opt.state_dict(), "step": step, "tokens": tokens,
                "spent": time.time() - begin, "history": history, "config": vars(config), "args": vars(args)}

    while True:
        progress = (time.time() - begin) / (args.minutes * 60) if args.minutes else step / args.steps
        if progress >= 1 or (args.max_steps and step >= args.max_steps):
            break
        b = batches(step, args.batch).to(device)
        x = model(b[:, :-1])
        rng = np.random.default_rng([args.seed, step, 7])
        n = args.batch * args.length
        pick = torch.from_numpy(np.sort(rng.choice(n, int(n * args.loss_share), replace=False))).to(device)
        loss = model.lm_loss(x.reshape(n, -1)[pick], b[:, 1:].reshape(-1)[pick])
        opt.zero_grad()
        loss.backward()
        opt.step(schedule(progress, step, fall=args.fall))
        window.append(float(loss))
        step += 1
        tokens += n
        if step % 20 == 0:
            now = time.time()
            row = {"step": step, "tokens": tokens, "seconds": round(now - begin, 1), "loss": float(np.mean(window))}
            history.append(row)
            print(f"step {step} tokens {tokens/1e6:.2f}M loss {row['loss']:.4f} {20*n/(now-last):.0f} tokens/s progress {progress:.3f}", flush=True)
            window, last = [], now
        if step % args.save_every == 0:
            save(args.out, pack())
    save(args.out, pack())
    base = os.path.splitext(args.out)[0]
    if history:
        with open(base + ".csv", "w", newline="") as f:
            w = csv.DictWriter(f, list(history[0]))
            w.writeheader()
            w.writerows(history)
        plot(history, base + ".png", "nano: pre-training")
    with open(base + ".json", "w") as f:
        json.dump({"steps": step, "tokens": tokens, "minutes": round((time.time() - begin) / 60, 1),
                   "loss": history[-1]["loss"] if history else None, "args": vars(args)}, f, indent=1)


if __name__ == "__main__":
    main()
