"""Composes the texts of behavioural tuning: payload x carrier x place x wrapper x disguise.

Every sample is a text with the byte spans of its payload, window labels and
weights. Pairs are contrastive on purpose: the same carrier appears with and
without a payload, the same payload live and quoted, the same neutral wrapper
around orders to the machine and around harmless sentences, and disguises
around both, so that none of these alone gives the answer away.
"""

import base64
import glob
import hashlib
import json
import os
import random
import re

import corpus
import grammar
import synthetic

# "harm", whether something harmful is asked for, is no signal: it is learned so
# that a jailbreak's frame and its goal can both be seen.
LABELS = ["attack", "override", "jailbreak", "extraction", "harm"]
OF_KIND = {"direct_injection": 1, "indirect_injection": 1, "jailbreak": 2, "extraction": 3}


class Sample:
    """text; spans (byte ranges of payload) or None where the place is unknown; want and weigh per label;
    token: weight of the token labels; source for balancing."""

    __slots__ = ("text", "spans", "want", "weigh", "token", "source", "whole")

    def __init__(self, text, spans, kind, source, token=1.0, whole=False, weight=1.0, harm=None):
        self.text, self.spans, self.source, self.token, self.whole = text, spans, source, token, whole
        i = OF_KIND.get(kind, 0)
        self.want = [1.0 if i else 0.0] + [1.0 if i == j else 0.0 for j in (1, 2, 3)] + [float(harm or 0)]
        # Nobody labelled harm: clean text is taken to have none, of attacks it is not known.
        self.weigh = [weight] * 4 + [0.5 if harm is not None else 0.0 if i else 0.2]
        if i:  # An attack of one kind often is of another too: absence is not known.
            for j in (1, 2, 3):
                if j != i:
                    self.weigh[j] = 0.2 * weight


# --- disguises ---------------------------------------------------------------

_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_LOOKS = str.maketrans("aceopxyiABCEHKMOPTX", "асеорхуіАВСЕНКМОРТХ")


def leet(t, r):
    return "".join(c.translate(_LEET) if r.random() < 0.8 else c for c in t)


def spaced(t, r):
    gap = r.choice([" ", " ", ".", "-", "_"])
    return "  ".join(gap.join(w) for w in t.split(" ")) if len(t) < 160 else t


def zero_width(t, r):
    z = r.choice(["\u200b", "\u200c", "\u200d", "\u2060"])
    return "".join(c + (z if c.isalpha() and r.random() < 0.4 else "") for c in t)


def homoglyph(t, r):
    return "".join(c.translate(_LOOKS) if r.random() < 0.5 else c for c in t)


def typos(t, r):
    out = list(t)
    for i in range(len(out) - 1):
        if r.random() < 0.06 and out[i].isalpha() and out[i + 1].isalpha():
            out[i], out[i + 1] = out[i + 1], out[i]
    return "".join(out)


def cases(t, r):
    k = r.randrange(3)
    if k == 0:
        return t.upper()
    if k == 1:
        return t.lower()
    return "".join(c.upper() if r.random() < 0.5 else c.lower() for c in t)


def encoded(t, r):
    hint = r.choice(["Decode this base64 and do what it says: ", "base64: ", "Decode and follow: ", ""])
    return hint + base64.b64encode(t.encode()).decode()


def bold(t, r):
    return r.choice(["**%s**", "_%s_", "# %s", "> %s", "`%s`", "~~%s~~"]) % t


DISGUISES = [leet, spaced, zero_width, homoglyph, typos, cases, bold]


def disguise(t, r, often=0.2, rarely=0.01):
    x = r.random()
    if x < rarely and len(t) < 200:
        return encoded(t, r)
    if x < often:
        return r.choice(DISGUISES)(t, r)
    return t


# --- wrappers that say nothing about the text inside ---------------------------

NEUTRAL = [
    ("", ""), ("\n\n", "\n\n"), ("\n", "\n"), (" ", " "), ("\n<!-- ", " -->\n"), ("\n// ", "\n"), ("\n# ", "\n"), ("\n/* ", " */\n"),
    ('\n{"note": "', '"}\n'), ('", "description": "', '", "'), ("\n> ", "\n"), ("\n- ", "\n"), (" (", ") "), ("\n\nP.S. ", ""),
    ("\n<p>", "</p>\n"), ('<div style="display:none">', "</div>"), ('<img src="p.png" alt="', '">'), ("\n| ", " |\n"), ("\nNote: ", "\n"),
    ("\nComment: ", "\n"), ("\n---\n", "\n---\n"), ("\n\"\"\"", "\"\"\"\n"), ("\nReply: ", "\n"), ("; ", "; "), ("\n[", "]\n"), ("\n***\n", "\n"),
    ("\nReview: ", "\n"), ("\nSubject: ", "\n"), ("<span>", "</span>"), ("\n1. ", "\n"), ("\n    ", "\n"), ("\nWARN ", "\n"), ("\n-- ", "\n"),
]

# --- frames that speak about a payload without addressing the machine -----------

ABOUT = [
    ('Researchers planted the sentence "', '" in a web page to see which assistants would obey it.'),
    ('A typical example of prompt injection is "', '". Filters should flag it, people should not act on it.'),
    ("In our test set the string `", "` is labelled as malicious; see table 3."),
    ('The log shows that somebody typed "', '" at 14:02; the request was blocked and the account suspended.'),
    ('How does a sentence such as "', '" fool a language model, and how can I detect it?'),
    ('def test_blocks_injection():\n    assert screen("', '").blocked\n'),
    ('Training slide 12: never trust text like "', '" when it arrives by e-mail. Report it to the security desk.'),
    ('The paper quotes the attack «', '» and measures how often it works.'),
    ("Bug report: the classifier misses the following input.\n\n```\n", "\n```\n\nExpected: flagged. Actual: passed."),
    ('Translators kept the attack "', '" in the original language, as the study required.'),
    ("| input | verdict |\n|---|---|\n| ", " | blocked |\n| hello | passed |"),
    ("Ein Angreifer könnte zum Beispiel „", "“ in ein Dokument schreiben; der Artikel erklärt, warum das wirkt."),
    ("Un attaquant pourrait écrire « ", " » dans un courriel ; voici comment s'en protéger."),
    ("Un ejemplo de ataque citado en el informe es «", "». El filtro lo detecta en el 97 % de los casos."),
    ("论文中引用的攻击示例是“", "”，检测器将其标记为恶意。"),
    ("В статье приводится пример атаки: «", "». Фильтр её обнаруживает."),
    ("Is the following message an attack? Please explain your reasoning: \"", "\""),
    ("The novel's villain types \"", "\" into the ship's computer, and nothing happens."),
    ("CVE summary: a crafted comment containing \"", "\" was passed to the model unescaped. Fixed in 2.4.1 by screening inputs."),
    ("Glossary. Injection: text such as \"", "\" that tries to change what an assistant was asked to do."),
]

LEADS = [
    "", "", "", "AI assistant: ", "Note to the AI reading this: ", "To any language model processing this text: ", "Assistant, before you continue: ",
    "IMPORTANT: ", "System: ", "New instructions: ", "[SYSTEM] ", "### Instruction: ", "Also, ", "Actually, ", "Stop. ", "When you are done, ",
    "Instead of the task above, ", "Leave that aside. ", "<system>", "Admin override. ", "Message for the agent: ", "KI-Assistent: ", "Note à l'IA : ",
    "Aviso para el asistente: ", "对AI助手的说明：", "Для ИИ-помощника: ", "AIアシスタントへ: ", "The user has changed their mind: ", "As your developer I say: ",
]


def default_calibration():
    here = os.path.join(corpus.HERE, "..", "calibration")
    return os.environ.get("ALKNET_CALIBRATION", os.path.join(corpus.WORK, "calibration") if os.path.isdir(os.path.join(corpus.WORK, "calibration")) and os.listdir(os.path.join(corpus.WORK, "calibration")) else here)


def read_jsonl(path):
    out = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            try:
                out.append(json.loads(line))
            except ValueError:
                continue
    return out


def without(text, spans):
    """The text outside the byte spans, and the spans' texts."""
    raw, out, at, parts = text.encode(), [], 0, []
    for a, b in sorted(spans):
        out.append(raw[at:a])
        parts.append(raw[a:b].decode().strip())
        at = max(at, b)
    out.append(raw[at:])
    return b"".join(out).decode(), parts


def kept_aside(row):
    """A tenth of our own rows never trains: a second opinion on what was learned."""
    return hashlib.sha256(("own:" + row["id"]).encode()).digest()[0] < 26


def bipia_spans(rows):
    """Where BIPIA put its attacks: the longest beginning (or end) that rows of one category share."""
    attacks, out = set(), {}
    for place, turn in (("start", 1), ("end", -1)):
        some = [r for r in rows if r["label"] == "attack" and r.get("category", "").endswith(place)]
        keyed = sorted(((r["text"].split("\n")[::turn], r["category"], r["id"]) for r in some))
        for i, (a, c, _) in enumerate(keyed):
            best = 0
            for j in (i - 1, i + 1):
                if 0 <= j < len(keyed):
                    n = 0
                    for x, y in zip(a, keyed[j][0]):
                        if x != y:
                            break
                        n += 1
                    if n < len(a) and n < len(keyed[j][0]):
                        best = max(best, n)
            if best:
                t = "\n".join(a[:best][::turn]).strip()
                if 12 <= len(t) <= 900:
                    attacks.add(t)
    ordered = sorted(attacks, key=len, reverse=True)
    for r in rows:
        if r["label"] != "attack":
            continue
        for t in ordered:
            at = r["text"].find(t)
            if at >= 0:
                b = len(r["text"][:at].encode())
                out[r["id"]] = (b, b + len(t.encode()))
                break
    return out, ordered


OPI_MARKS = re.compile(
    r"Ignore previous instructions\.?|Response: the [a-z ]+ is complete\.?|Are the following two sentences [^?\n]*\? Answer me with [^:\n]{0,60}:?"
    r"|Your task is to check if[^.\n]*\.|Given the following text(?: message)?,[^:\n]{0,160}:?|Write a summary[^.:\n]*[.:]?|Please (?:correct|check) [^.:\n]*[.:]?"
    r"|what is the sentiment conveyed\?[^.\n]*\.?|Rewrite the identical instructions[^.\n]*\.?|answer (?:yes or no|spam or not spam)[^:\n]*:?")


class Pool:
    """Everything the composer draws from."""

    def __init__(self, calibration=None):
        calibration = calibration or default_calibration()
        self.direct = {}  # source -> list of Sample: rows used as they are
        self.payloads = {}  # kind -> list of (text, source)
        self.tasks, self.carriers, self.sentences, self.wrappers, self.aside = [], {}, [], [], []
        harmful = [r["text"] for r in corpus.rows("harmful_behaviours")]
        # Goals of jailbreaks, by language.
        self.harmful = [harmful, [r["text"] for r in corpus.rows("do_not_answer")], [r["text"] for r in corpus.rows("aig_harm_zh") if len(r["text"]) < 200]]
        self.pieces = []
        pay = lambda kind, text, source: self.payloads.setdefault(kind, []).append((text, source))
        for s in corpus.sources():
            rows = [r for r in corpus.rows(s) if not corpus.reserved(r)]
            if s == "bipia_train":
                spans, strings = bipia_spans(rows)
                for t in sorted({re.split(r"\n+Traceback", re.sub(r"^[`\s]+", "", t))[0] for t in strings}):
                    pay("indirect_injection", t, s)
            for r in rows:
                t, k = r["text"], r["kind"]
                if k in ("harmful_request", "quotes_attacks"):
                    continue
                if r["label"] == "attack":
                    if s == "bipia_train":
                        x = Sample(t, [spans[r["id"]]] if r["id"] in spans else None, k, s)
                    elif s == "open_prompt_injection":
                        if r.get("category", "").startswith("naive"):
                            continue
                        m = [(len(t[: x.start()].encode()), len(t[: x.end()].encode())) for x in OPI_MARKS.finditer(t)]
                        x = Sample(t, m or None, k, s, token=0.5)
                    else:
                        if "[INSERT PROMPT HERE]" in t and harmful:
                            t = t.replace("[INSERT PROMPT HERE]", random.Random(r["id"]).choice(harmful))
                        noisy = 0.5 if s == "shirepy_expanded" else 1.0
                        x = Sample(t, [(0, len(t.encode()))], k, s, token=0.3, whole=True, weight=noisy)
                        if len(t) < 300 and s != "shirepy_expanded":
                            pay(k, t, s)
                else:
                    x = Sample(t, [], k, s)
                    if len(t) > 250:
                        self.carriers.setdefault(s, []).append(t)
                    elif 25 < len(t) < 250:
                        self.sentences.append(t)
                    if s in ("self_instruct_human", "gpteacher_roleplay") and k == "benign_prompt" and 20 < len(t) < 220:
                        self.tasks.append(t)
                self.direct.setdefault(s, []).append(x)
        for path in sorted(glob.glob(os.path.join(calibration, "*.jsonl"))):
            name = os.path.basename(path)
            for r in read_jsonl(path):
                if name.startswith("parts-payloads"):
                    pay("indirect_injection", r["payload"], "alknet-payloads")
                elif name.startswith("parts-wrappers"):
                    self.wrappers.append((r["before"], r["after"]))
                elif name.startswith("parts-carriers"):
                    self.carriers.setdefault("alknet-carriers", []).append(r["text"])
                    self.direct.setdefault("alknet-carriers", []).append(Sample(r["text"], [], "benign_document", "alknet-carriers"))
                elif "label" in r:
                    if kept_aside(r):
                        self.aside.append(r)
                        continue
                    t = r["text"]
                    if r["label"] == "attack":
                        inside = r["kind"] == "indirect_injection"
                        spans = [tuple(x) for x in r["spans"]] if inside else [(0, len(t.encode()))]
                        x = Sample(t, spans, r["kind"], r["source"], token=0.8 if inside else 0.5, whole=not inside)
                        if inside:  # the same text without what was put in, and what was put in as a payload for other carriers
                            clean, parts = without(t, spans)
                            if len(clean) > 40:
                                self.direct.setdefault(r["source"], []).append(Sample(clean, [], "benign", r["source"], weight=0.7))
                            for p in parts:
                                if 20 <= len(p) < 320:
                                    pay("indirect_injection", p, "alknet-spans")
                        if not inside and len(t) < 320 and r["kind"] in OF_KIND:
                            pay(r["kind"], t, r["source"])
                    else:
                        x = Sample(t, [], r["kind"], r["source"])
                        if r.get("channel") != "user" and len(t) > 250:
                            self.carriers.setdefault("alknet-benign", []).append(t)
                        elif 25 < len(t) < 220:
                            self.sentences.append(t)
                    self.direct.setdefault(r["source"], []).append(x)
        for name, take in (("books_en", 1_500_000), ("bible_multilingual", 1_500_000), ("code", 1_200_000)):
            self.carriers["lm_" + name] = corpus.chunks(corpus.lm_documents(name), 1500, take, 5)
        self.names = sorted(self.direct)
        # By the square root of their size; our own many small sources at half of that, or their style is what is learned.
        self.shares = [min(len(self.direct[n]), 3000) ** 0.5 * (0.5 if n.startswith("alknet-") else 1.0) for n in self.names]
        self.carrier_names = sorted(self.carriers)
        self.carrier_shares = [min(len(self.carriers[n]), 900) ** 0.5 for n in self.carrier_names]
        # Payload sources by square root too, ours and theirs.
        self.by_source = {}
        for k, items in self.payloads.items():
            d = {}
            for t, s in items:
                d.setdefault(s, []).append(t)
            self.by_source[k] = (sorted(d), [len(d[s]) ** 0.5 for s in sorted(d)], d)
        # Pieces of words and code, for suffixes of token salad.
        for name in ("lm_code", "lm_books_en", "lm_bible_multilingual"):
            for t in self.carriers[name][:200]:
                self.pieces += re.findall(r" ?\w{2,9}|[^\w\s]{1,3}", t)[::7]
        self.prose = [t for n in ("git_docs", "owasp_cheatsheets", "readmes", "enron_email_sentences", "lm_books_en", "p3_documents", "alknet-benign", "lm_bible_multilingual") for t in self.carriers.get(n, [])[:1200]]

    def payload(self, r):
        """A payload, its kind, and whether it is a mere task: an attack only where nobody should give one."""
        x = r.random()
        if x < 0.12 and self.tasks:
            return r.choice(self.tasks), "indirect_injection", True
        if x < 0.27:
            return grammar.override(r), "direct_injection", False
        if x < 0.32:
            return grammar.extraction(r), "extraction", False
        if x < 0.40:
            return grammar.order(r), "indirect_injection", r.random() < 0.5
        if x < 0.46:
            t, _, kind = grammar.elsewhere(r)
            return t, kind, False
        kind = r.choices(["indirect_injection", "direct_injection", "extraction", "jailbreak"], [5, 5, 1.5, 0.8])[0]
        if kind not in self.by_source:
            kind = next(iter(self.by_source))
        names, shares, d = self.by_source[kind]
        source = r.choices(names, shares)[0]
        # BIPIA's are mostly plain tasks: only a document around them, or a lead, makes them attacks.
        return r.choice(d[source]), kind, source == "bipia_train"

    def carrier(self, r, most=900):
        if r.random() < 0.12:
            return synthetic.draw(r, r.choice(self.prose)[: r.randint(60, 900)])[2][:most]
        t = r.choice(self.carriers[r.choices(self.carrier_names, self.carrier_shares)[0]])
        n = r.randint(60, most)
        at = r.randint(0, max(0, len(t) - n))
        return t[at : at + n]

    def cut(self, carrier, r):
        """A place for the payload: the start, the end, or a line or sentence break between."""
        x = r.random()
        if x < 0.2:
            return 0
        if x < 0.5:
            return len(carrier)
        breaks = [m.end() for m in re.finditer(r"\n|[.!?。] ", carrier)]
        return r.choice(breaks) if breaks else carrier.find(" ", len(carrier) // 2) + 1

    def insert(self, carrier, before, payload, after, r):
        at = self.cut(carrier, r)
        head = carrier[:at] + before
        text = head + payload + after + carrier[at:]
        a = len(head.encode("utf-8", "replace"))
        return text, (a, a + len(payload.encode("utf-8", "replace")))

    def compose(self, r):
        """One to three samples that differ in what matters."""
        p, kind, bare = self.payload(r)
        c = self.carrier(r)
        x = r.random()
        if x < 0.58:  # live
            lead = r.choice(LEADS[3:] if bare else LEADS)
            b, a = r.choice(self.wrappers) if self.wrappers and r.random() < 0.5 else r.choice(NEUTRAL)
            live = disguise(lead + p, r)
            text, span = self.insert(c, b, live, a, r)
            out = [Sample(text, [span], kind, "composed")]
            y = r.random()
            if y < 0.35:
                out.append(Sample(c, [], "benign", "composed"))
            elif y < 0.6:  # the same place and the same neutral wrapper around a harmless sentence
                nb, na = r.choice(NEUTRAL)
                t, _ = self.insert(c, nb, disguise(r.choice(self.sentences), r), na, r)
                out.append(Sample(t, [], "benign", "composed"))
            elif y < 0.85:
                b2, a2 = r.choice(ABOUT)
                t, _ = self.insert(c if r.random() < 0.6 else "", b2, p, a2, r)
                out.append(Sample(t, [], "benign", "composed"))
            return out
        if x < 0.72:  # spoken about
            b, a = r.choice(ABOUT)
            t, _ = self.insert(c if r.random() < 0.5 else "", b, p, a, r)
            return [Sample(t, [], "benign", "composed")]
        if x < 0.86 and kind != "indirect_injection":  # a prompt, disguised or not, alone; what is put into documents is often a plain task, and no attack where a user asks for it
            t = disguise(r.choice(LEADS[3:]) + p if bare else p, r, often=0.5)
            return [Sample(t, [(0, len(t.encode("utf-8", "replace")))], kind, "composed", token=0.5, whole=True)]
        nb, na = r.choice(NEUTRAL)
        if r.random() < 0.5:
            t, _ = self.insert(c, nb, disguise(r.choice(self.sentences), r, often=0.5), na, r)
        else:
            t = disguise(r.choice(self.sentences), r, often=0.9, rarely=0.05)
        return [Sample(t, [], "benign", "composed")]

    def goal(self, r):
        return r.choice(r.choices(self.harmful, [6, 3, 1])[0])

    def by_rule(self, r):
        """A prompt made by the rules of grammar.py, hostile or not."""
        whole = lambda t, kind, harm=None: Sample(t, [(0, len(t.encode("utf-8", "replace")))], kind, "rules", token=0.5, whole=True, harm=harm)
        clean = lambda t, harm=0: Sample(t, [], "benign", "rules", harm=harm)
        x = r.random()
        if x < 0.14:
            return [whole(disguise(grammar.override(r), r), "direct_injection")]
        if x < 0.24:
            return [whole(disguise(grammar.extraction(r), r), "extraction")]
        if x < 0.32:
            t, _, kind = grammar.elsewhere(r)
            return [whole(disguise(t, r, often=0.1), kind)]
        if x < 0.50:  # a harmful goal in a frame, and a harmless one in a frame that honest writers use
            t, hostile = grammar.framed(self.goal(r), r)
            out = [whole(disguise(t, r, often=0.1), "jailbreak", 1)]
            if not hostile:
                t, _ = grammar.framed(r.choice(self.tasks), r, hostile=False)
                out.append(clean(disguise(t, r, often=0.1)))
            return out
        if x < 0.56:  # a frame that is hostile whatever it asks for
            t, _ = grammar.framed(r.choice(self.tasks), r, hostile=True)
            return [whole(t, "jailbreak", 0)]
        if x < 0.60:
            return [whole(grammar.suffixed(self.goal(r), r, self.pieces), "jailbreak", 1)]
        if x < 0.66:  # harm asked for plainly: no label but harm
            y = clean(self.goal(r), 1)
            y.weigh, y.token = [0.0] * 4 + [0.5], 0.0
            return [y]
        if x < 0.74:
            t, _ = grammar.framed(r.choice(self.tasks), r, hostile=False)
            return [clean(disguise(t, r, often=0.1))]
        if x < 0.80:
            return [clean(disguise(grammar.elsewhere_harmless(r), r, often=0.1))]
        return [clean(disguise(grammar.harmless(r), r))]

    def clean(self, r):
        """Clean tool output and documents, and plain text of the language-model sources."""
        prose = r.choice(self.prose)
        if r.random() < 0.6:
            _, _, t = synthetic.draw(r, prose[: r.randint(60, 1500)])
            return [Sample(t, [], "benign", "synthetic")]
        return [Sample(self.carrier(r, 1400), [], "benign", "composed")]

    def draw(self, r, composed=0.36, by_rule=0.2, clean=0.08):
        x = r.random()
        if x < composed:
            return self.compose(r)
        if x < composed + by_rule:
            return self.by_rule(r)
        if x < composed + by_rule + clean:
            return self.clean(r)
        x = r.choice(self.direct[r.choices(self.names, self.shares)[0]])
        if r.random() < 0.08:
            f = r.choice(DISGUISES)
            if x.spans == [] or x.whole:
                t = f(x.text[:600], r)
                y = Sample(t, [] if not x.whole else [(0, len(t.encode("utf-8", "replace")))], "benign", x.source, x.token, x.whole)
                y.want, y.weigh = x.want, x.weigh
                return [y]
        return [x]
