"""The Llama architecture of nano in plain torch operations, with the states tuning needs.

Weights are kept fused (query-key-value, gate-up) because two large products
are faster than five small ones; export.py takes them apart again.
"""

import dataclasses
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclasses.dataclass
class Config:
    vocab_size: int = 8192
    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    intermediate_size: int = 704
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads

    def hugging_face(self):
        d = dataclasses.asdict(self)
        d.update(architectures=["LlamaForCausalLM"], model_type="llama", head_dim=self.head_dim, hidden_act="silu",
                 tie_word_embeddings=True, attention_bias=False, mlp_bias=False, attention_dropout=0.0,
                 bos_token_id=0, eos_token_id=0, pad_token_id=None, initializer_range=0.02, rope_scaling=None,
                 pretraining_tp=1, use_cache=True, torch_dtype="bfloat16")
        return dict(sorted(d.items()))


# Products in bfloat16, sums in float32, weights and everything between in float32: processors with AVX512-BF16 do two to three
# times as many such products. GPUs have autocast for it.
def _has_bfloat16():
    try:
        with open("/proc/cpuinfo") as f:
            return torch.backends.mkldnn.is_available() and "avx512_bf16" in f.read()
    except OSError:
        return False


HALF = _has_bfloat16()


class HalfLinear(torch.autograd.Function):
    """x @ w.t() and its two backward products."""

    @staticmethod
    def forward(ctx, x, w):
        x, w = x.bfloat16(), w.bfloat16()
        ctx.save_for_backward(x, w)
        return F.linear(x, w).float()

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        g = g.bfloat16()
        flat = g.reshape(-1, g.shape[-1])
        return (g @ w).float(), (flat.t() @ x.reshape(-1, x.shape[-1])).float()


class HalfProduct(torch.autograd.Function):
    """a @ b of batches of matrices."""

    @staticmethod
    def forward(ctx, a, b):
        a, b = a.bfloat16(), b.bfloat16()
        ctx.save_for_backward(a, b)
        return torch.bmm(a, b).float()

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        g = g.bfloat16()
        return torch.bmm(g, b.transpose(1, 2)).float(), torch.bmm(a.transpose(1, 2), g).float()


def linear(x, w):
    return HalfLinear.apply(x, w) if HALF and not x.is_cuda else F.linear(x, w)


def product(a, b):
    return HalfProduct.apply(a, b) if HALF and not a.is_cuda else torch.bmm(a, b)


class RMSNorm(nn.Module):
    def __init__(self, n, eps, start=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((n,), start))
        self.eps = eps

    def forward(self, x):
        return x * (torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)) * self.weight


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, hd = c.hidden_size, c.head_dim
        self.c = c
        self.norm1 = RMSNorm(d, c.rms_norm_eps)
        self.norm2 = RMSNorm(d, c.rms_norm_eps)
        self.qkv = nn.Parameter(torch.empty((c.num_attention_heads + 2 * c.num_key_value_heads) * hd, d))
        self.o = nn.Parameter(torch.empty(d, c.num_attention_heads * hd))
        self.gate_up = nn.Parameter(torch.empty(2 * c.intermediate_size, d))
        self.down = nn.Parameter(torch.empty(d, c.intermediate_size))
        for w in (self.qkv, self.gate_up):
            nn.init.normal_(w, std=d**-0.5)
        for w in (self.o, self.down):
            nn.init.normal_(w, std=0.5 * w.shape[1] ** -0.5 / math.sqrt(2 * c.num_hidden_layers))

    def forward(self, x, cos, sin, mask, dropout=0.0):
        c = self.c
        b, t, d = x.shape
        nh, nk, hd = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        qkv = linear(self.norm1(x), self.qkv).view(b, t, nh + 2 * nk, hd)
        qk, v = qkv[:, :, : nh + nk], qkv[:, :, nh + nk :]
        x1, x2 = qk[..., : hd // 2], qk[..., hd // 2 :]
        qk = torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), -1)
        g = nh // nk
        # The g query heads that share a key head become rows of one product.
        q = (qk[:, :, :nh] * hd**-0.5).view(b, t, nk, g, hd).permute(0, 2, 3, 1, 4).reshape(b * nk, g * t, hd)
        k = qk[:, :, nh:].permute(0, 2, 3, 1).reshape(b * nk, hd, t)
        v = v.transpose(1, 2).reshape(b * nk, t, hd)
        s = product(q, k).view(b * nk, g, t, t) + mask
        p = F.softmax(s, -1).view(b * nk, g * t, t)
        a = product(p, v).view(b, nk, g, t, hd).permute(0, 3, 1, 2, 4).reshape(b, t, nh * hd)
        x = x + F.dropout(linear(a, self.o), dropout, self.training and dropout > 0)
        gate, up = linear(self.norm2(x), self.gate_up).chunk(2, -1)
        return x + F.dropout(linear(F.silu(gate) * up, self.down), dropout, self.training and dropout > 0)


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed = nn.Parameter(torch.randn(c.vocab_size, c.hidden_size) * 0.03)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps, 0.5)
        self.tables = {}

    def rope(self, t, device):
        key = (t, device)
        if key not in self.tables:
            half = self.c.head_dim // 2
            f = self.c.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
            a = torch.arange(t, dtype=torch.float64)[:, None] * f
            mask = torch.full((t, t), -1e9).triu(1)
            self.tables[key] = tuple(z.float().to(device) for z in (a.cos()[:, None], a.sin()[:, None], mask))
        return self.tables[key]

    def forward(self, ids, dropout=0.0, keep=None):
        """Residual states: keep None for the last only, else a list of layers (0 = embeddings)."""
        cos, sin, mask = self.rope(ids.shape[1], ids.device)
        x = F.embedding(ids, self.embed)
        out = [x] if keep is not None and 0 in keep else []
        for i, b in enumerate(self.blocks):
            x = b(x, cos, sin, mask, dropout)
            if keep is not None and i + 1 in keep:
                out.append(x)
        return out if keep is not None else x

    def lm_loss(self, x, targets):
        """Mean nats over rows of last-layer states; targets below zero do not count."""
        h = self.norm(x)
        if h.is_cuda:
            return F.cross_entropy(F.linear(h, self.embed).float(), targets)
        return TiedCrossEntropy.apply(h, self.embed, targets)


class TiedCrossEntropy(torch.autograd.Function):
    """Softmax cross-entropy with its projection, in place: torch 1.13 spends five times as long on it."""

    @staticmethod
    def forward(ctx, h, w, targets):
        if HALF:
            h, w = h.bfloat16(), w.bfloat16()
        p = F.linear(h, w).float()
        m = p.amax(1, keepdim=True)
        p.sub_(m)
        right = p.gather(1, targets[:, None])
        p.exp_()
        s = p.sum(1, keepdim=True)
        loss = (s.log() - right).mean()
        p.div_(s)
        ctx.save_for_backward(h, w, p, targets)
        return loss

    @staticmethod
    def backward(ctx, g):
        h, w, p, targets = ctx.saved_tensors
        p.scatter_add_(1, targets[:, None], torch.full((len(targets), 1), -1.0, dtype=p.dtype))
        p.mul_(g / len(targets))
        p = p.to(h.dtype)
        return (p @ w).float(), (p.t() @ h).float(), None


class Muon:
    """Orthogonalised momentum for the blocks' matrices, AdamW for the rest.

    Muon (Jordan et al. 2024) makes about 1.5 times as much of each token as
    AdamW alone at this size, for a tenth more time: on a CPU, tokens are dear.
    """

    def __init__(self, model, extra=(), lr=0.02, adam_lr=2e-3, decay=0.01):
        self.c, self.lr, self.adam_lr, self.decay = model.c, lr, adam_lr, decay
        self.pairs = []
        c = model.c
        q, k = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.matrices = []
        for b in model.blocks:
            self.matrices += [(b.qkv, [q, k, k]), (b.o, [b.o.shape[0]]), (b.gate_up, [c.intermediate_size] * 2), (b.down, [b.down.shape[0]])]
        big = {id(p) for p, _ in self.matrices}
        self.others = [p for p in model.parameters() if id(p) not in big] + list(extra)
        self.adam = torch.optim.AdamW(self.others, lr=adam_lr, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0)
        self.momentum = [torch.zeros_like(p) for p, _ in self.matrices]

    def zero_grad(self):
        for p in [m for m, _ in self.matrices] + self.others:
            p.grad = None

    @staticmethod
    def orthogonal(g):
        flip = g.shape[0] > g.shape[1]
        x = g.t() if flip else g
        x = x / (x.norm() + 1e-7)
        if HALF and not x.is_cuda:
            x = x.bfloat16()
        for _ in range(5):
            a = x @ x.t()
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
        return (x.t() if flip else x).float()

    @torch.no_grad()
    def step(self, scale):
        for g in self.adam.param_groups:
            g["lr"] = self.adam_lr * scale
        self.adam.step()
        lr = self.lr * scale
        for (p, rows), m in zip(self.matrices, self.momentum):
            if p.grad is None:
                continue
            m.lerp_(p.grad, 0.05)
            g = p.grad.lerp(m, 0.95)
            u = torch.cat([self.orthogonal(z) * max(1.0, z.shape[0] / z.shape[1]) ** 0.5 for z in g.split(rows)])
            p.mul_(1 - lr * self.decay * 5).add_(u, alpha=-lr)

    def state_dict(self):
        return {"adam": self.adam.state_dict(), "momentum": self.momentum}

    def load_state_dict(self, s):
        self.adam.load_state_dict(s["adam"])
        for a, b in zip(self.momentum, s["momentum"]):
            a.copy_(b)
