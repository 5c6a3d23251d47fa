"""Byte-level BPE: training, encoding and the Hugging Face tokenizer.json.

Digits stand alone, pre-tokens are cut by the GPT-2 expression, and no merge
crosses a pre-token. Entries 0 and 1 are special, 2 to 257 the bytes.
"""

import argparse
import collections
import heapq
import json
import os
import time

import regex

SPECIAL = ["<|endoftext|>", "<|close|>"]
_NUMBER = regex.compile(r"\p{N}")
_GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
# One pass when the text has no digits, which is the common case.


def pretokens(text):
    """The pieces of text that merges never cross, in order."""
    out, at = [], 0
    for m in _NUMBER.finditer(text):
        if m.start() > at:
            out += _GPT2.findall(text[at : m.start()])
        out.append(m.group())
        at = m.end()
    if at < len(text):
        out += _GPT2.findall(text[at:])
    return out


def byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, n = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + n)
            n += 1
    return [table[b] for b in range(256)]


class Tokenizer:
    def __init__(self, merges):
        """merges: pairs of byte strings, best first."""
        self.merges = merges
        self.tokens = [s.encode() for s in SPECIAL] + [bytes([b]) for b in range(256)]
        self.ranks = {}
        self.ids = {bytes([b]): 2 + b for b in range(256)}
        for rank, (a, b) in enumerate(merges):
            self.ranks[a, b] = rank
            if a + b not in self.ids:
                self.ids[a + b] = len(self.tokens)
                self.tokens.append(a + b)
        self.cache = {}

    def word(self, piece):
        ids = self.cache.get(piece)
        if ids is not None:
            return ids
        parts = [bytes([b]) for b in piece.encode("utf-8", "replace")]
        get, none = self.ranks.get, len(self.ranks) + 1
        while len(parts) > 1:
            best, at = none, -1
            for i in range(len(parts) - 1):
                r = get((parts[i], parts[i + 1]), none)
                if r < best:
                    best, at = r, i
            if at < 0:
                break
            a, b = parts[at], parts[at + 1]
            merged, i = [], 0
            while i < len(parts):
                if i + 1 < len(parts) and parts[i] == a and parts[i + 1] == b:
                    merged.append(a + b)
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        ids = [self.ids[p] for p in parts]
        if len(self.cache) < 2_000_000 and len(piece) < 64:
            self.cache[piece] = ids
        return ids

    def encode(self, text):
        out = []
        for p in pretokens(text):
            out += self.word(p)
        return out

    def encode_spans(self, text):
        """Token ids and the byte offset each token starts at, and the text's length in bytes."""
        ids, starts, at = [], [], 0
        for p in pretokens(text):
            for i in self.word(p):
                ids.append(i)
                starts.append(at)
                at += len(self.tokens[i])
        return ids, starts, at

    def decode(self, ids):
        return b"".join(self.tokens[i] for i in ids if i >= len(SPECIAL)).decode("utf-8", "replace")

    def save(self, path):
        alphabet = byte_alphabet()
        shown = lambda t: "".join(alphabet[b] for b in t)
        vocab = {s: i for i, s in enumerate(SPECIAL)}
        for i in range(len(SPECIAL), len(self.tokens)):
            vocab[shown(self.tokens[i])] = i
        special = [
            {"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for i, s in enumerate(SPECIAL)
        ]
        out = {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocab, "merges": [shown(a) + " " + shown(b) for a, b in self.merges]},
        }
        with open(path + ".tmp", "w", encoding="utf-8") as f:
            json.dump(out, f, ensure_ascii=False, indent=1)
            f.write("\n")
        os.replace(path + ".tmp", path)


def load(path):
    with open(path, encoding="utf-8") as f:
        model = json.load(f)["model"]
    back = {c: b for b, c in enumerate(byte_alphabet())}
    raw = lambda s: bytes(back[c] for c in s)
    merges = []
    for m in model["merges"]:
        a, b = m.split(" ")
        merges.append((raw(a), raw(b)))
    return Tokenizer(merges)


def train(counts, vocab):
    """Merges learned from {pre-token: count}; ties go to the smaller pair, so a run repeats exactly."""
    words, weight = [], []
    for w, c in counts.items():
        b = w.encode("utf-8", "replace")
        if len(b) > 1:
            words.append(list(b))
            weight.append(c)
    names = [bytes([b]) for b in range(256)]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, w in enumerate(words):
        for p in zip(w, w[1:]):
            pairs[p] += weight[i]
            where[p].add(i)
    heap = [(-c, names[p[0]], names[p[1]], p) for p, c in pairs.items()]
    heapq.heapify(heap)
    merges, known = [], set(names)
    while heap and len(names) + len(SPECIAL) < vocab:
        c, _, _, pair = heapq.heappop(heap)
        if pairs.get(pair, 0) != -c:
            if pairs.get(pair, 0) > 0:
                heapq.heappush(heap, (-pairs[pair], names[pair[0]], names[pair[1]], pair))
            continue
        a, b = pair
        joined = names[a] + names[b]
        if joined in known:  # another split of a token we have: it would only waste an entry
            pairs.pop(pair)
            continue
        known.add(joined)
        new = len(names)
        names.append(joined)
        merges.append((names[a], names[b]))
        touched = set()
        for i in where.pop(pair):
            w, k = words[i], weight[i]
            j = 0
            while j < len(w) - 1:
                if w[j] == a and w[j + 1] == b:
                    if j > 0:
                        p = (w[j - 1], a)
                        pairs[p] -= k
                        q = (w[j - 1], new)
                        pairs[q] += k
                        where[q].add(i)
                        touched.add(q)
                    if j + 2 < len(w):
                        p = (b, w[j + 2])
                        pairs[p] -= k
                        q = (new, w[j + 2])
                        pairs[q] += k
                        where[q].add(i)
                        touched.add(q)
                    w[j : j + 2] = [new]
                j += 1
        pairs.pop(pair, None)
        for q in touched:
            if pairs[q] > 0:
                heapq.heappush(heap, (-pairs[q], names[q[0]], names[q[1]], q))
    return merges


def sample():
    """Text for the tokenizer: prose, code, forty-six languages, and what is screened."""
    import corpus

    yield from corpus.chunks(corpus.lm_documents("bible_multilingual"), 4000, 4_000_000, 3)
    yield from corpus.chunks(corpus.lm_documents("code"), 4000, 4_000_000, 3)
    yield from corpus.train_texts(per_source=700_000)
    # Two thirds of the book file's documents are never needed here; taking a piece of each is cheap enough.
    yield from corpus.chunks(corpus.lm_documents("books_en"), 4000, 6_000_000, 3)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--vocab", type=int, default=8192)
    p.add_argument("--out", default=None)
    args = p.parse_args()
    import corpus

    os.makedirs(corpus.WORK, exist_ok=True)
    t = time.time()
    counts, size = collections.Counter(), 0
    for text in sample():
        size += len(text)
        counts.update(pretokens(text))
    kept = {w: c for w, c in counts.items() if c > 1 or (not w.isascii() and len(w) < 40)}
    print(f"{size/1e6:.1f} M characters, {len(counts)} pre-tokens, {len(kept)} kept, {time.time()-t:.0f} s", flush=True)
    tok = Tokenizer(train(kept, args.vocab))
    path = args.out or os.path.join(corpus.WORK, "tokenizer.json")
    tok.save(path)
    print(len(tok.tokens), "entries,", f"{time.time()-t:.0f} s ->", path, flush=True)


if __name__ == "__main__":
    main()
