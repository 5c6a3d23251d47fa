// The models that are compared, as ONNX graphs in the form in which ONNX Runtime
// runs them fastest. README.md says what else was tried.
import { Graph } from './onnx.mjs'

const ms = 'com.microsoft' // the domain of ONNX Runtime's own operators

// transpose turns (out, in) weights as Hugging Face stores them, several of them
// one below the other, into one matrix (in, out).
function transpose(parts, k) {
  const n = parts.reduce((sum, w) => sum + w.length / k, 0)
  const values = new Float32Array(k * n)
  let first = 0
  for (const w of parts) {
    const rows = w.length / k
    for (let i = 0; i < rows; i++) for (let p = 0; p < k; p++) values[p * n + first + i] = w[i * k + p]
    first += rows
  }
  return { k, n, values }
}

// quantize makes int8 of a matrix with one scale a column, as
// onnxruntime.quantization.quantize_dynamic does with per_channel and QInt8.
function quantize({ k, n, values }) {
  const scale = new Float32Array(n)
  for (let p = 0; p < k; p++) for (let j = 0; j < n; j++) scale[j] = Math.max(scale[j], Math.abs(values[p * n + j]))
  for (let j = 0; j < n; j++) scale[j] = scale[j] / 127 || 1
  const q = new Int8Array(k * n)
  for (let p = 0; p < k; p++) for (let j = 0; j < n; j++) q[p * n + j] = Math.round(values[p * n + j] / scale[j])
  return { q, scale }
}

// Layers is a graph with the layers that all models share, in float32 or in int8.
class Layers extends Graph {
  quantized = new Map() // activation: its integers, scale and zero point

  constructor(int8) {
    super()
    this.int8 = int8
  }

  float(shape, values) { return this.constant('float32', shape, values) }

  // linear multiplies x by a matrix w of (k, n) values.
  linear(x, w) {
    if (!this.int8) return this.node('MatMul', [x, this.float([w.k, w.n], w.values)])
    // As quantize_dynamic writes it. ONNX Runtime makes DynamicQuantizeMatMul or
    // MatMulIntegerToFloat of it.
    if (!this.quantized.has(x)) {
      const outputs = ['integers', 'scale', 'zero'].map(s => `${x}.${s}`)
      this.node('DynamicQuantizeLinear', [x], { outputs })
      this.quantized.set(x, outputs)
    }
    const [integers, scale, zero] = this.quantized.get(x)
    const weights = quantize(w)
    const sum = this.node('MatMulInteger', [
      integers, this.constant('int8', [w.k, w.n], weights.q), zero, this.constant('int8', [w.n], new Int8Array(w.n))])
    return this.node('Mul', [this.node('Cast', [sum], { to: 1 }), this.node('Mul', [scale, this.float([w.n], weights.scale)])])
  }

  // embedding looks ids up in a table of (rows, width) values.
  embedding(ids, rows, width, values) {
    if (!this.int8) return this.node('Gather', [this.float([rows, width], values), ids])
    const scale = values.reduce((most, v) => Math.max(most, Math.abs(v)), 0) / 127
    const table = this.constant('int8', [rows, width], Int8Array.from(values, v => Math.round(v / scale)))
    return this.node('DequantizeLinear', [
      this.node('Gather', [table, ids]), this.float([], Float32Array.of(scale)), this.constant('int8', [], Int8Array.of(0))])
  }
}

// llama writes the first layers of a model of the Llama family, up to the residual
// stream after the last of them, which is what our engine's Residual tap reads.
// config is its config.json; weights(name) gives a tensor as float32.
export function llama(file, { config, weights, layers, int8 }) {
  const g = new Layers(int8)
  const { hidden_size: hidden, intermediate_size: intermediate, num_attention_heads: heads, num_key_value_heads: kvHeads } = config
  const half = config.head_dim / 2
  const rotations = f => g.float([config.max_position_embeddings, half], Float32Array.from(
    { length: config.max_position_embeddings * half }, (_, i) => f(Math.floor(i / half) * config.rope_theta ** (-(i % half) / half))))
  const cos = rotations(Math.cos), sin = rotations(Math.sin)

  let x = g.embedding('ids', config.vocab_size, hidden, weights('model.embed_tokens.weight'))
  let added // to the residual stream x, but not yet summed
  const norm = name => {
    const weight = g.float([hidden], weights(name))
    if (!added) return g.node('SimplifiedLayerNormalization', [x, weight], { epsilon: config.rms_norm_eps, axis: -1 })
    const outputs = [g.name(), '', '', g.name()]
    g.node('SkipSimplifiedLayerNormalization', [x, added, weight], { domain: ms, outputs, epsilon: config.rms_norm_eps })
    x = outputs[3]
    return outputs[0]
  }
  for (let i = 0; i < layers; i++) {
    const linear = (x, k, ...names) => g.linear(x, transpose(names.map(n => weights(`model.layers.${i}.${n}_proj.weight`)), k))
    const a = norm(`model.layers.${i}.input_layernorm.weight`)
    const qkv = linear(a, hidden, 'self_attn.q', 'self_attn.k', 'self_attn.v')
    const attended = g.node('GroupQueryAttention', [qkv, '', '', '', '', 'last', 'tokens', cos, sin], {
      domain: ms, outputs: [g.name(), `keys.${i}`, `values.${i}`], num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1, rotary_interleaved: 0,
    })
    added = linear(attended, heads * config.head_dim, 'self_attn.o')
    const m = norm(`model.layers.${i}.post_attention_layernorm.weight`)
    const gate = g.node('QuickGelu', [linear(m, hidden, 'mlp.gate')], { domain: ms, alpha: { float: 1 } }) // SiLU
    added = linear(g.node('Mul', [gate, linear(m, hidden, 'mlp.up')]), intermediate, 'mlp.down')
  }
  g.node('Add', [x, added], { outputs: ['states'] })
  g.save(file, [
    { name: 'ids', dtype: 'int64', shape: [1, 'n'] },
    { name: 'last', dtype: 'int32', shape: [1] }, // position of the last token
    { name: 'tokens', dtype: 'int32', shape: [] },
  ], [{ name: 'states', dtype: 'float32', shape: [1, 'n', hidden] }])
}

// bert writes a model of BERT's shape with random weights: its speed does not
// depend on them.
export function bert(file, { hidden, intermediate, layers, heads, vocab, positions, int8 }) {
  const g = new Layers(int8)
  let state = 1
  const random = (n, scale) => Float32Array.from({ length: n }, () => {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0 // Numerical Recipes' generator
    return (state / 2 ** 31 - 1) * scale
  })
  const matrix = (k, n) => ({ k, n, values: random(k * n, Math.sqrt(3 / k)) })
  const bias = n => g.float([n], random(n, 0.1))
  const ones = g.float([hidden], new Float32Array(hidden).fill(1)), zeros = g.float([hidden], new Float32Array(hidden))
  const norm = (x, added, ...b) => g.node('SkipLayerNormalization', [x, added, ones, zeros, ...b], { domain: ms, epsilon: 1e-12 })

  let x = norm(g.embedding('ids', vocab, hidden, random(vocab * hidden, 0.05)), g.embedding('positions', positions, hidden, random(positions * hidden, 0.05)))
  for (let i = 0; i < layers; i++) {
    const qkv = [0, 1, 2].map(() => g.linear(x, matrix(hidden, hidden)))
    const a = g.node('MultiHeadAttention', [...qkv, bias(3 * hidden)], { domain: ms, num_heads: heads })
    x = norm(x, g.linear(a, matrix(hidden, hidden)), bias(hidden))
    const h = g.node('BiasGelu', [g.linear(x, matrix(hidden, intermediate)), bias(intermediate)], { domain: ms })
    x = norm(x, g.linear(h, matrix(intermediate, hidden)), bias(hidden))
  }
  g.node('Identity', [x], { outputs: ['states'] })
  g.save(file, [
    { name: 'ids', dtype: 'int64', shape: [1, 'n'] },
    { name: 'positions', dtype: 'int64', shape: [1, 'n'] },
  ], [{ name: 'states', dtype: 'float32', shape: [1, 'n', hidden] }])
}
