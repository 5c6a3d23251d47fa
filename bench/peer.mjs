// One model in another engine, in a process of its own. compare.mjs starts it with
// the model's file, the number of threads and whether they may spin, and asks for
// passes.
import fs from 'node:fs'

const [file, threads, spinning] = process.argv.slice(2)

// memory returns resident memory now and at most so far, in units of 2²⁰ bytes.
function memory() {
  const status = fs.readFileSync('/proc/self/status', 'utf8')
  return ['VmRSS', 'VmHWM'].map(key => Number(status.match(new RegExp(`${key}:\\s+(\\d+) kB`))[1]) / 1024)
}

// An engine loads a model and returns a function that makes a pass of ids ready,
// and returns the pass itself.
const engines = {
  async onnx() {
    const { default: ort } = await import('onnxruntime-node')
    return async () => {
      const session = await ort.InferenceSession.create(file, {
        intraOpNumThreads: Number(threads), interOpNumThreads: 1, logSeverityLevel: 3,
        extra: { session: { intra_op: { allow_spinning: spinning } } },
      })
      return ids => {
        const n = ids.length
        const all = {
          ids: new ort.Tensor('int64', ids, [1, n]),
          positions: new ort.Tensor('int64', BigInt64Array.from({ length: n }, (_, i) => BigInt(i)), [1, n]),
          last: new ort.Tensor('int32', Int32Array.of(n - 1), [1]),
          tokens: new ort.Tensor('int32', Int32Array.of(n), []),
        }
        const feeds = Object.fromEntries(session.inputNames.map(name => [name, all[name]]))
        return { pass: async () => (await session.run(feeds)).states.data }
      }
    }
  },
  async gguf() {
    const { getLlama } = await import('node-llama-cpp')
    const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', progressLogs: false })
    return async () => {
      const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 })
      const context = await model.createContext({ contextSize: 2304, batchSize: 2304, threads: Number(threads) })
      const sequence = context.getSequence()
      return ids => {
        const tokens = Array.from(ids, Number)
        return {
          between: () => sequence.clearHistory(),
          pass: () => sequence.evaluateWithoutGeneratingNewTokens(tokens),
        }
      }
    }
  },
}

const load = await engines[file.split('.').pop()]()
const [before] = memory() // of Node and the library
const begun = performance.now()
const ready = await load()
const loaded = performance.now() - begun

process.on('message', async ({ ids, repeat, states }) => {
  const { pass, between } = ready(ids)
  const times = []
  let out
  for (let i = 0; i <= repeat; i++) { // the first is to warm up
    await between?.()
    const begun = performance.now()
    out = await pass()
    if (i > 0) times.push(performance.now() - begun)
  }
  const [rss, peak] = memory()
  process.send({ times, load: loaded, rss: rss - before, peak: peak - before, states: states && out })
})
process.send({ ready: true })
