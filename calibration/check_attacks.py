#!/usr/bin/env python3
"""Checks the hand-written attack files beside this script and prints what is in them.

    python3 calibration/check_attacks.py

Exits 1 at the first row that breaks the format: fields, unique ids and texts, spans in UTF-8 bytes on
character boundaries, given for indirect injections and for nothing else. Writes nothing.
"""

import collections
import json
import pathlib
import sys

KINDS = {"direct_injection", "indirect_injection", "jailbreak", "extraction"}
CHANNELS = {"user", "document", "tool"}
FIELDS = ["id", "text", "label", "kind", "source", "lang", "channel"]
HERE = pathlib.Path(__file__).parent


def rows(pattern):
    for path in sorted(HERE.glob(pattern)):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield f"{path.name}:{number}", json.loads(line)


def check(ok, where, what):
    if not ok:
        sys.exit(f"{where}: {what}")


def main():
    ids, texts = set(), set()
    counts = {name: collections.Counter() for name in ("kind", "lang", "channel", "source")}
    for where, row in rows("attacks-*.jsonl"):
        indirect = row["kind"] == "indirect_injection"
        check(list(row) == FIELDS + ["spans"] * indirect, where, f"fields are {list(row)}")
        check(row["label"] == "attack" and row["kind"] in KINDS and row["channel"] in CHANNELS, where, "unknown value")
        check(row["id"].rpartition("-")[0] == row["source"], where, "the id does not start with the source")
        check(row["id"] not in ids and row["text"] not in texts, where, "seen before")
        ids.add(row["id"])
        texts.add(row["text"])
        text = row["text"].encode()
        for start, end in row.get("spans", []):
            check(0 <= start < end <= len(text), where, f"span {start}:{end} of {len(text)} bytes")
            try:
                text[:start].decode(), text[start:end].decode()
            except UnicodeDecodeError:
                sys.exit(f"{where}: span {start}:{end} cuts a character")
        for name, counter in counts.items():
            counter[row[name]] += 1
    payloads = [row["payload"] for _, row in rows("parts-payloads.jsonl")]
    wrappers = [(row["before"], row["after"]) for _, row in rows("parts-wrappers.jsonl")]
    check(len(set(payloads)) == len(payloads), "parts-payloads.jsonl", "a payload occurs twice")
    check(len(set(wrappers)) == len(wrappers), "parts-wrappers.jsonl", "a wrapper occurs twice")
    print(f"{len(ids)} attacks, {len(payloads)} payloads, {len(wrappers)} wrappers")
    for name, counter in counts.items():
        print(f"{name}: " + ", ".join(f"{value} {count}" for value, count in counter.most_common()))


if __name__ == "__main__":
    main()
