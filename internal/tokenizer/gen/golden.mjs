// Writes ../testdata/golden.jsonl: what the reference, Hugging Face tokenizers 0.23.2, makes of texts of our own.
//
//	npm i --ignore-scripts tokenizers@0.23.2   (anywhere)
//	NODE_MODULES=that/node_modules node golden.mjs            writes testdata/golden.jsonl
//	NODE_MODULES=… node golden.mjs N SEED FILE.json… > OUT     N random texts for each tokenizer.json, to stdout
//
// Each line: tokenizer, text, ids, and offsets in UTF-16 units as the reference reports them.
import fs from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import {createRequire} from 'node:module';

const require = createRequire(path.resolve(process.env.NODE_MODULES ?? 'node_modules') + '/');
const {Tokenizer} = require('tokenizers');

// A generator of our own, so that a seed means the same everywhere: mulberry32.
let state = Number(process.argv[3] ?? 1);
function random(n) {
	state = (state + 0x6d2b79f5) | 0;
	let t = Math.imul(state ^ (state >>> 15), 1 | state);
	t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
	return ((t ^ (t >>> 14)) >>> 0) % n;
}
const pick = (list) => list[random(list.length)];

const fragments = [' ', ' ', ' ', ' ', '  ', '\n', '\r\n', '\t', '\u00a0', '\u2003', '\u2028', '\u3000', '\u0085', '\u200b', '\u200d', '\u00ad',
	"'s", "'S", "'\u017f", "'ll", "'LL", "'re", "'VE", "'d", "'", '’s', 'the', 'The', ' the', ' word', 'word', 'orders', ' movement', 'café', 'cafe\u0301',
	'e\u0301\u0323', 'e\u0323\u0301', 'a\u0315\u0300\u05ae\u0062', '\u1112\u1161\u11ab', '한국어', '\uac00\u11a8', 'ﬁ', '㎏', 'Å', '\u212b', '½', '²', '٣', 'Ⅷ', '１２', '12345',
	'3', '0', '\u{1d7d8}', '\u{11de3}', '\u{16ed}', '日本語', '中文', '。', 'Привет', 'Ελλ', 'عربية', 'हिन्दी', 'ไทย', '😀', '👩‍👩‍👧', '🏳️‍🌈', '\u{e0041}', '\u{1fae8}',
	'<|endoftext|>', '<|close|>', '<s>', '</s>', '<unk>', '<0x41>', '[L]', '[R]', '[LR]', 'é́', '▁', '▁▁', '...', '!?', '//', '\u0000', '\u0004', '~', '\u0006', '\ufeff', '\ufffd',
	'\u{10c80}', '\u{1e900}', '\ua7cb', '\u{10ffff}', '\ue000', '\u0378', '\u1ac1', '\u{11938}', '\u{11935}\u{11930}', 'a\u1ac1\u0301', '\u0344', '\u0958', '\u2126', 'aaaaaaaaaaaaaaaaaaaaaaaa', '    ', '-----', '{}', '())'];
const blocks = [[0, 0x7f], [0x80, 0x24f], [0x250, 0x3ff], [0x400, 0x6ff], [0x900, 0xdff], [0x1100, 0x11ff], [0x1d00, 0x1fff], [0x2000, 0x2bff], [0x2c00, 0x33ff],
	[0x4e00, 0x4eff], [0xa640, 0xab6f], [0xac00, 0xaccf], [0xf900, 0xffff], [0x10000, 0x11fff], [0x16a00, 0x1d7ff], [0x1e000, 0x1ffff], [0x20000, 0x2ffff], [0x0300, 0x036f]];
function text() {
	let s = '';
	const n = 1 + random(24);
	for (let i = 0; i < n; i++) {
		if (random(4) > 0) {
			s += pick(fragments);
			continue;
		}
		const [a, b] = pick(blocks);
		const c = a + random(b - a + 1);
		if (c < 0xd800 || c > 0xdfff) s += String.fromCodePoint(c);
	}
	return s;
}

async function lines(name, tokenizer, texts) {
	let out = '';
	for (const t of texts) {
		const e = await tokenizer.encode(t, null, {addSpecialTokens: false});
		out += JSON.stringify({tokenizer: name, text: t, ids: e.getIds(), offsets: e.getOffsets()}) + '\n';
	}
	return out;
}

if (process.argv.length > 2) {
	for (const file of process.argv.slice(4)) {
		const t = Tokenizer.fromFile(file);
		t.setTruncation?.(1 << 30, {});
		process.stdout.write(await lines(file, t, Array.from({length: Number(process.argv[2])}, text)));
	}
} else {
	const dir = '../testdata/';
	const fixed = ['', ' ', '  ', 'a', 'Hello, world! This is a test: 123.', '   leading spaces', 'trailing spaces   ', 'line one\nline two\tafter tab', '   \n\t  ',
		"It's we'll THEY'RE o'clock 'tis rock'n'roll don't I'm he'd you've", 'a\n\n\nb\r\n\r\nc  \n  d', 'before\u0000after ig\u0004nore ~tilde~', '1234567890 3.14159 1,234',
		'word wordy (word) word', 'x [L] y [R] z [LR] w', 'four    spaces     and    more', 'The firewall reads what comes in before the model does.', 'x<|endoftext|>y <|close|> z<s>w</s>'];
	let out = '';
	for (const file of fs.readdirSync(dir).filter((f) => f.endsWith('.json')).sort())
		out += await lines(file, Tokenizer.fromFile(dir + file), [...fixed, ...Array.from({length: 60}, text)]);
	fs.writeFileSync(dir + 'golden.jsonl', out);
}
