// One ONNX Runtime session in a process of its own. compare.mjs starts it with the
// model's file, the number of threads and whether they may spin, and asks for
// passes.
import fs from 'node:fs'
import ort from 'onnxruntime-node'

const [file, threads, spinning] = process.argv.slice(2)

// memory returns resident memory now and at most so far, in units of 2²⁰ bytes.
function memory() {
  const status = fs.readFileSync('/proc/self/status', 'utf8')
  return ['VmRSS', 'VmHWM'].map(key => Number(status.match(new RegExp(`${key}:\\s+(\\d+) kB`))[1]) / 1024)
}

const [before] = memory() // of Node and the library
const begun = performance.now()
const session = await ort.InferenceSession.create(file, {
  intraOpNumThreads: Number(threads), interOpNumThreads: 1, logSeverityLevel: 3,
  extra: { session: { intra_op: { allow_spinning: spinning } } },
})
const load = performance.now() - begun

function feeds(ids) {
  const n = ids.length
  const all = {
    ids: new ort.Tensor('int64', ids, [1, n]),
    positions: new ort.Tensor('int64', BigInt64Array.from({ length: n }, (_, i) => BigInt(i)), [1, n]),
    last: new ort.Tensor('int32', Int32Array.of(n - 1), [1]),
    tokens: new ort.Tensor('int32', Int32Array.of(n), []),
  }
  return Object.fromEntries(session.inputNames.map(name => [name, all[name]]))
}

process.on('message', async ({ ids, repeat, states }) => {
  const times = []
  let out
  const input = feeds(ids)
  for (let i = 0; i <= repeat; i++) { // the first is to warm up
    const begun = performance.now()
    out = await session.run(input)
    if (i > 0) times.push(performance.now() - begun)
  }
  const [rss, peak] = memory()
  process.send({ times, load, rss: rss - before, peak: peak - before, states: states && out.states.data })
})
process.send({ ready: true })
