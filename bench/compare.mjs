// Compares our engine with ONNX Runtime and llama.cpp on this machine: see README.md.
import { execFileSync, fork } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import * as gguf from './gguf.mjs'
import { bert, llama } from './models.mjs'
import { cut, open } from './safetensors.mjs'

const here = import.meta.dirname
const work = path.join(here, 'work')

// HuggingFaceTB/SmolLM2-135M, config.json.
const smollm2 = {
  hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30, num_attention_heads: 9, num_key_value_heads: 3, head_dim: 64,
  vocab_size: 49152, max_position_embeddings: 8192, rms_norm_eps: 1e-5, rope_theta: 100000,
}
const checkpoint = path.join(work, 'smollm2-135m.safetensors')

const { values: flags } = parseArgs({
  options: {
    pairs: { type: 'string', default: 'smollm2-f32,smollm2-int8,half-int8,nano-int8' },
    lens: { type: 'string', default: '32,128,512' },
    threads: { type: 'string', default: '1,2' },
    layers: { type: 'string', default: '30' },
    rounds: { type: 'string', default: '5' },
    repeat: { type: 'string', default: '3' },
    tokenizer: { type: 'string' },
    binary: { type: 'string' },
    json: { type: 'string' },
    prepare: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
})
const binary = path.resolve(flags.binary ?? path.join(work, 'alknet-firewall'))
const layers = Number(flags.layers), rounds = Number(flags.rounds), repeat = Number(flags.repeat)
const numbers = s => s.split(',').map(Number)

// A pair is a run of our bench and the model that it is held against. Ours takes
// part in the same form and arithmetic, or, where the models differ, in that which
// a user would choose it in.
const shape = (name, ...more) => ['--shape', name, '--checkpoint', path.join(work, name + '.safetensors'), ...more]
const bertBase = {
  name: 'bert-base-int8.onnx',
  build: file => bert(file, { hidden: 768, intermediate: 3072, layers: 12, heads: 12, vocab: 30522, positions: 512, int8: true }),
}
const pairs = {
  'smollm2-f32': {
    title: `SmolLM2-135M, ${layers} layers, float32`,
    ours: shape('smollm2-135m', '--layers', layers, '--arithmetic', 'f32'),
    peer: { name: `smollm2-f32-${layers}.onnx`, build: file => writeLlama(file, false) },
  },
  'smollm2-int8': {
    title: `SmolLM2-135M, ${layers} layers, int8`,
    ours: shape('smollm2-135m', '--layers', layers, '--arithmetic', 'int8'),
    peer: { name: `smollm2-int8-${layers}.onnx`, build: file => writeLlama(file, true) },
  },
  'smollm2-q8': {
    title: `SmolLM2-135M, ${layers} layers, int8, against llama.cpp Q8_0`,
    ours: shape('smollm2-135m', '--layers', layers, '--arithmetic', 'int8'),
    peer: { name: `smollm2-q8-${layers}.gguf`, build: file => gguf.llama(file, { config: smollm2, weights: open(checkpoint).float32, layers }) },
  },
  'half-int8': {
    title: 'SmolLM2-135M, 15 of 30 layers, int8, against BERT-base int8',
    ours: shape('smollm2-135m', '--layers', 15, '--arithmetic', 'int8'),
    peer: bertBase,
  },
  'screen-int8': {
    title: 'whole screening with 15 layers of SmolLM2-135M, int8, against BERT-base int8',
    ours: ['--screen', '--callers', 1, '--for', '1s', '--model', path.join(work, 'half')],
    prepare: half,
    peer: bertBase,
  },
  'nano-int8': {
    title: 'nano, int8, against MiniLM-L6 int8',
    ours: shape('nano', '--arithmetic', 'int8'),
    peer: {
      name: 'minilm-l6-int8.onnx',
      build: file => bert(file, { hidden: 384, intermediate: 1536, layers: 6, heads: 12, vocab: 30522, positions: 512, int8: true }),
    },
  },
}

function writeLlama(file, int8) {
  llama(file, { config: smollm2, weights: open(checkpoint).float32, layers, int8 })
}

// half makes a detector of the first blocks of SmolLM2 that calibrate, which reads
// a deep model at a third, a half and two thirds, reads at 15 and no deeper. What it
// says means nothing, for its weights are random; what it costs does.
function half() {
  const dir = path.join(work, 'half'), codebook = path.join(dir, 'codebook.safetensors'), blocks = 23
  if (fs.existsSync(codebook)) return
  if (!flags.tokenizer) throw new Error('screen-int8 needs --tokenizer FILE: tokenizer.json of SmolLM2-135M')
  fs.mkdirSync(dir, { recursive: true })
  bench(...shape('smollm2-135m'), '--lens', 1, '--repeat', 1)
  cut(checkpoint, path.join(dir, 'model.safetensors'), name => !(Number(name.match(/layers\.(\d+)\./)?.[1]) >= blocks))
  fs.writeFileSync(path.join(dir, 'config.json'), JSON.stringify({ ...smollm2, model_type: 'llama', num_hidden_layers: blocks, tie_word_embeddings: true }))
  fs.copyFileSync(flags.tokenizer, path.join(dir, 'tokenizer.json'))
  const texts = path.join(path.dirname(here), 'calibration')
  const data = fs.readdirSync(texts).filter(name => /^(attacks|benign)-0/.test(name)).map(name => path.join(texts, name))
  execFileSync(binary, ['calibrate', '--model', dir, '--per-source', 12, '-o', codebook, ...data], { stdio: 'inherit' })
}

// bench runs our bench and returns its report.
const bench = (...args) => JSON.parse(execFileSync(binary, ['bench', '--json', ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }))

// prepare builds our command, unless one is given, and writes what models are not there yet.
function prepare(chosen) {
  fs.mkdirSync(work, { recursive: true })
  if (!flags.binary) execFileSync('go', ['build', '-o', binary, './cmd/alknet-firewall'], { cwd: path.dirname(here), stdio: 'inherit' })
  for (const { ours, peer, prepare } of chosen) {
    if (prepare) prepare()
    else bench(...ours, '--lens', 1, '--repeat', 1) // writes the checkpoint
    peer.file = path.join(work, peer.name)
    if (!fs.existsSync(peer.file)) peer.build(peer.file)
  }
}

// start starts a session and returns a function that asks it for something.
async function start(file, threads, spinning) {
  const child = fork(path.join(here, 'peer.mjs'), [file, threads, spinning], { serialization: 'advanced' })
  const answer = () => new Promise((resolve, reject) => {
    const gone = code => reject(new Error(`the session of ${file} ended with code ${code}`))
    child.once('exit', gone)
    child.once('message', m => { child.off('exit', gone); resolve(m) })
  })
  await answer()
  const ask = question => { child.send(question); return answer() }
  return { ask, stop: () => child.kill() }
}

const anyIDs = n => BigInt64Array.from({ length: n }, (_, i) => BigInt((i * 7919 + 13) % 30522))
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

// quiet waits until nobody spins any more, and then a little longer, to see how
// many cores others keep busy meanwhile; NaN where the system does not say.
async function quiet() {
  const busy = () => {
    try {
      const [user, nice, system, , , irq, softirq] = fs.readFileSync('/proc/stat', 'utf8').split(/\s+/).slice(1).map(Number)
      return user + nice + system + irq + softirq
    } catch {
      return NaN
    }
  }
  await sleep(50)
  const [begun, before] = [performance.now(), busy()]
  await sleep(100)
  return (busy() - before) * 10 / (performance.now() - begun) // a tick has 10 ms
}

function median(x) {
  const s = [...x].sort((a, b) => a - b)
  return (s[s.length - 1 >> 1] + s[s.length >> 1]) / 2
}
const spread = x => ({ median: median(x), min: Math.min(...x), max: Math.max(...x) })
const show = (x, digits) => `${x.median.toFixed(digits)} [${x.min.toFixed(digits)}–${x.max.toFixed(digits)}]`

// compare takes turns: a few passes of ours, a few of each session, and again. A
// ratio is that of two neighbours, so that a machine that slows down slows both.
async function compare({ title, ours, peer }, n, threads) {
  const sessions = [await start(peer.file, threads, 1)]
  if (threads > 1 && peer.file.endsWith('.onnx')) sessions.push(await start(peer.file, threads, 0)) // one thread has nobody to wait for
  const times = [[], [], []], ratios = [[], []]
  let own
  const theirs = [], others = []
  for (let r = 0; r < rounds; r++) {
    const screen = ours.includes('--screen')
    own = bench(...ours, '--lens', n, '--threads', threads, ...(screen ? [] : ['--repeat', repeat]))
    times[0].push((screen ? own.screens : own.runs)[0].ms_median)
    for (const [i, s] of sessions.entries()) {
      others.push(await quiet())
      theirs[i] = await s.ask({ ids: anyIDs(n), repeat })
      times[i + 1].push(median(theirs[i].times))
      ratios[i].push(times[i + 1][r] / times[0][r])
    }
    others.push(await quiet())
  }
  for (const s of sessions) s.stop()
  const figures = i => ({ ms: spread(times[i + 1]), ratio: spread(ratios[i]), load_ms: theirs[i].load, rss_mb: theirs[i].rss, peak_rss_mb: theirs[i].peak })
  return {
    pair: title, tokens: n, threads, rounds, repeat, busy_elsewhere: spread(others),
    ours: { load_ms: own.load_ms, rss_mb: own.rss_mb, peak_rss_mb: own.peak_rss_mb, kernel: own.kernel, peak: own.peak, ...(own.runs ?? own.screens)[0], ms: spread(times[0]) },
    spinning: figures(0), ...(sessions.length > 1 ? { waiting: figures(1) } : {}),
  }
}

function row(x) {
  const best = x.waiting && x.waiting.ms.median < x.spinning.ms.median ? x.waiting : x.spinning
  return [
    x.pair, x.tokens, x.threads, show(x.ours.ms, 1), show(x.spinning.ms, 1), x.waiting ? show(x.waiting.ms, 1) : '', show(best.ratio, 2),
    `${x.ours.load_ms.toFixed(0)} / ${best.load_ms.toFixed(0)}`, `${x.ours.rss_mb.toFixed(0)} / ${best.rss_mb.toFixed(0)}`,
    x.busy_elsewhere.median.toFixed(1),
  ]
}

// check holds the states of both engines against our float32.
async function check() {
  console.log('| tokens | ONNX Runtime float32 | ONNX Runtime int8 | ours int8 |\n|---|---|---|---|')
  const states = path.join(work, 'states.safetensors')
  const run = (n, arithmetic) => {
    bench(...shape('smollm2-135m', '--layers', layers, '--arithmetic', arithmetic, '--lens', n, '--repeat', 1, '--states', states))
    return open(states)
  }
  for (const n of numbers(flags.lens)) {
    const f32 = run(n, 'f32')
    const ids = f32.int64(`ids.${n}`), want = f32.float32(`states.${n}`)
    const error = got => {
      let difference = 0, square = 0
      for (let i = 0; i < want.length; i++) {
        difference += (got[i] - want[i]) ** 2
        square += want[i] ** 2
      }
      return (difference / square).toExponential(1)
    }
    const cells = []
    for (const name of ['smollm2-f32', 'smollm2-int8']) {
      const s = await start(pairs[name].peer.file, 1, 0)
      cells.push(error((await s.ask({ ids, repeat: 0, states: true })).states))
      s.stop()
    }
    cells.push(error(run(n, 'int8').float32(`states.${n}`)))
    console.log(`| ${[n, ...cells].join(' | ')} |`)
  }
}

const chosen = (flags.check ? ['smollm2-f32', 'smollm2-int8'] : flags.pairs.split(',')).map(name => {
  if (!pairs[name]) throw new Error(`no pair ${name}; there are ${Object.keys(pairs).join(', ')}`)
  return pairs[name]
})
prepare(chosen)
if (flags.check) {
  await check()
} else if (!flags.prepare) {
  const results = []
  console.log('| models | tokens | threads | ours, ms | theirs, ms | without spinning, ms | ratio | load, ms | memory, MB | cores busy elsewhere |\n|---|---|---|---|---|---|---|---|---|---|')
  for (const pair of chosen) {
    for (const n of numbers(flags.lens)) {
      for (const threads of numbers(flags.threads)) {
        const x = await compare(pair, n, threads)
        results.push(x)
        console.log(`| ${row(x).join(' | ')} |`)
        if (flags.json) fs.writeFileSync(flags.json, JSON.stringify(results, null, 1) + '\n')
      }
    }
  }
}
process.exit(0)
