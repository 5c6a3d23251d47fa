"""Fits the polynomial of GELU in package kernel and prints it with its largest relative error.

Φ(-a)·exp(a²/2) = t·(c1 + c2·t + … + c9·t⁸) with t = 1/(1 + 11/32·a), for 0 <= a <= 13.3. Least squares, with weights
raised where the error is large until it is level (Lawson's iteration); needs numpy.
"""

import math

import numpy as np

SLOPE, DEGREE, FAR, NODES = 11 / 32, 9, 13.3, 2000

low = 1 / (1 + SLOPE * FAR)
t = (1 + low) / 2 + (1 - low) / 2 * np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
a = (1 / t - 1) / SLOPE
want = np.array([math.erfc(x / math.sqrt(2)) / 2 * math.exp(x * x / 2) for x in a])
powers = np.stack([t**i for i in range(1, DEGREE + 1)], 1) / want[:, None]
weight = np.ones(NODES)
best = math.inf
for _ in range(60):
    c = np.linalg.lstsq(powers * weight[:, None], weight, rcond=None)[0]
    error = np.abs(powers @ c - 1)
    if error.max() < best:
        best, fitted = error.max(), c
    weight *= (error / error.max() + 1e-3) ** 0.5
    weight /= weight.max()
for i, x in enumerate(fitted, 1):
    print("gelu%d = %r" % (i, float(x)))
print("largest relative error %.2g" % best)
