#!/usr/bin/env python3
"""Checks the hand-written texts beside this script and prints what is in them.

    python3 calibration/check.py

Exits 1 at the first row that breaks the format: its fields and their values, unique ids and texts, spans in
UTF-8 bytes on character boundaries (given for indirect injections and for nothing else), or that repeats another
row, of whatever file, in more than NEAR of its runs of five words. Prints the tables of README.md. Writes nothing.
"""

import collections
import json
import pathlib
import re
import sys

KINDS = {
    "attack": {"direct_injection", "indirect_injection", "jailbreak", "extraction"},
    "benign": {"benign_prompt", "benign_document", "benign_tool_output", "hard_negative"},
}
CHANNELS = {"user", "document", "tool"}
FIELDS = ["id", "text", "label", "kind", "source", "lang", "channel"]
PARTS = {"payloads": ["id", "payload", "lang"], "wrappers": ["id", "before", "after"], "carriers": ["id", "text", "lang", "channel", "source"]}
RUN = 5  # words in a run; a letter of a script without spaces counts as a word
LEAST = 8  # runs of a text that is compared; shorter ones share everyday phrases
NEAR = 0.5  # share of the shorter text's runs
WORD = re.compile(r"[぀-ヿ㐀-鿿฀-๿]|[^\W_぀-ヿ㐀-鿿฀-๿]+")
HERE = pathlib.Path(__file__).parent


def rows(pattern):
    for path in sorted(HERE.glob(pattern)):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield f"{path.name}:{number}", json.loads(line)


def check(ok, where, what):
    if not ok:
        sys.exit(f"{where}: {what}")


def check_spans(where, row):
    text = row["text"].encode()
    check(row["spans"], where, "no spans")
    for start, end in row["spans"]:
        check(0 <= start < end <= len(text), where, f"span {start}:{end} of {len(text)} bytes")
        try:
            text[:start].decode(), text[start:end].decode()
        except UnicodeDecodeError:
            sys.exit(f"{where}: span {start}:{end} cuts a character")


def read_texts(label):
    """Returns the rows of one label with where they stand; a row's place is its id, unique within the label."""
    ids, out = set(), []
    for where, row in rows("attacks-*.jsonl" if label == "attack" else "benign-*.jsonl"):
        indirect = row.get("kind") == "indirect_injection"
        check(list(row) == FIELDS + ["spans"] * indirect, where, f"fields are {list(row)}")
        check(row["label"] == label and row["kind"] in KINDS[label] and row["channel"] in CHANNELS, where, "unknown value")
        check(re.fullmatch(r"[a-z]{2}", row["lang"]), where, f"language is {row['lang']!r}")
        check(row["text"] and row["text"] == row["text"].strip("\n"), where, "empty, or a line break at an end")
        check(re.fullmatch(re.escape(row["source"]) + r"-\d{3}", row["id"]), where, "the id is not the source and a number")
        check(row["id"] not in ids, where, "the id was seen before")
        ids.add(row["id"])
        if indirect:
            check_spans(where, row)
        out.append((where, row))
    return out


def read_part(name):
    ids, seen, out = set(), set(), []
    for where, row in rows(f"parts-{name}*.jsonl"):
        check(list(row) == PARTS[name], where, f"fields are {list(row)}")
        content = (row["before"], row["after"]) if name == "wrappers" else row.get("payload") or row["text"]
        check(row["id"] not in ids and content not in seen, where, "seen before")
        ids.add(row["id"])
        seen.add(content)
        out.append((where, row))
    return out


def check_repeats(texts):
    """Compares each text with all earlier ones through an index of their runs: time is linear in the runs shared."""
    exact, index, sizes = {}, collections.defaultdict(list), []
    for number, (where, text) in enumerate(texts):
        check(text not in exact, where, f"the same text as {exact.get(text)}")
        exact[text] = where
        words = [w.lower() for w in WORD.findall(text)]
        runs = {tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}
        sizes.append(len(runs))
        if len(runs) < LEAST:
            continue
        shared = collections.Counter(other for run in runs for other in index[run])
        for other, count in shared.items():
            part = count / min(len(runs), sizes[other])
            check(part <= NEAR, where, f"shares {part:.0%} of its runs with {texts[other][0]}")
        for run in runs:
            index[run].append(number)


def table(head, lines):
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for line in lines:
        print(f"| {' | '.join(map(str, line))} |")


def counts(texts, name):
    by = {label: collections.Counter(row[name] for _, row in texts[label]) for label in texts}
    both = sum(by.values(), collections.Counter())
    return [(value, *(by[label][value] for label in texts)) for value, _ in both.most_common()]


def main():
    texts = {label: read_texts(label) for label in KINDS}
    parts = {name: read_part(name) for name in PARTS}
    check_repeats([(where, row["text"]) for name in (*texts.values(), parts["carriers"]) for where, row in name])
    for label in texts:
        sources = {row["source"] for _, row in texts[label]}
        words = sorted(len(WORD.findall(row["text"])) for _, row in texts[label])
        print(f"{len(words)} {label} texts of {len(sources)} sources, {words[len(words) // 10]} to {words[-len(words) // 10]} words (first to last decile)")
    print(", ".join(f"{len(parts[name])} {name}" for name in parts))
    for name in ("kind", "channel", "lang"):
        table((name, *texts), counts(texts, name))


if __name__ == "__main__":
    main()
