"""Averages the weights of checkpoints of one run: train/average.py OUT A.pt B.pt ...

Means of checkpoints along a run did better on new sources than either end of it.
Everything but the weights is taken from the last one.
"""

import sys

import torch


def main():
    out, *paths = sys.argv[1:]
    states = [torch.load(p, map_location="cpu") for p in paths]
    last = dict(states[-1])
    last["model"] = {k: sum(s["model"][k] for s in states) / len(states) for k in last["model"]}
    torch.save(last, out)


if __name__ == "__main__":
    main()
