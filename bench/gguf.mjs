// Writes a model of the Llama family as llama.cpp reads it, in the GGUF format
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), with matrices in
// Q8_0: blocks of 32 int8 values with a float16 scale.
import fs from 'node:fs'

const type = { uint32: 4, float32: 6, string: 8, array: 9 }
const tensorType = { float32: 0, q8_0: 8 }
const alignment = 32

const u32 = n => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b }
const u64 = n => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b }
const f32 = x => { const b = Buffer.alloc(4); b.writeFloatLE(x); return b }
const text = s => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)])
const value = { uint32: u32, float32: f32, string: text }
const pair = (key, kind, v) => Buffer.concat([text(key), u32(type[kind]), value[kind](v)])
const list = (key, kind, vs) => Buffer.concat([text(key), u32(type.array), u32(type[kind]), u64(vs.length), ...vs.map(value[kind])])

// half returns the bits of the float16 nearest to x, a small normal number > 0.
function half(x) {
  const bits = new Uint32Array(Float32Array.of(x).buffer)[0] + 0x1000 // rounds up what is dropped
  const exponent = (bits >>> 23) - 127 + 15
  if (exponent < 1) return 0
  return exponent << 10 | bits >>> 13 & 0x3ff
}

function q8(values) {
  const b = Buffer.alloc(values.length / 32 * 34)
  for (let i = 0; i < values.length / 32; i++) {
    let most = 0
    for (let j = 0; j < 32; j++) most = Math.max(most, Math.abs(values[i * 32 + j]))
    const scale = most / 127
    b.writeUInt16LE(half(scale), i * 34)
    for (let j = 0; j < 32; j++) b.writeInt8(scale ? Math.round(values[i * 32 + j] / scale) : 0, i * 34 + 2 + j)
  }
  return b
}

// llama writes the first layers of a model; config and weights as in models.mjs.
// The rows of queries and keys are left as they are, though llama.cpp turns pairs
// of neighbours and Hugging Face pairs of halves: speed does not depend on it.
export function llama(file, { config, weights, layers }) {
  const vocabulary = Array.from({ length: config.vocab_size }, (_, i) => `t${i}`)
  const pairs = [
    pair('general.architecture', 'string', 'llama'),
    pair('llama.context_length', 'uint32', config.max_position_embeddings),
    pair('llama.embedding_length', 'uint32', config.hidden_size),
    pair('llama.block_count', 'uint32', layers),
    pair('llama.feed_forward_length', 'uint32', config.intermediate_size),
    pair('llama.attention.head_count', 'uint32', config.num_attention_heads),
    pair('llama.attention.head_count_kv', 'uint32', config.num_key_value_heads),
    pair('llama.attention.layer_norm_rms_epsilon', 'float32', config.rms_norm_eps),
    pair('llama.rope.dimension_count', 'uint32', config.head_dim),
    pair('llama.rope.freq_base', 'float32', config.rope_theta),
    pair('llama.vocab_size', 'uint32', config.vocab_size),
    pair('tokenizer.ggml.model', 'string', 'gpt2'),
    pair('tokenizer.ggml.pre', 'string', 'smollm'),
    list('tokenizer.ggml.tokens', 'string', vocabulary),
    list('tokenizer.ggml.merges', 'string', ['t 1']),
  ]
  const names = { 'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm' }
  for (let i = 0; i < layers; i++) {
    for (const [theirs, ours] of Object.entries({
      input_layernorm: 'attn_norm', 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v', 'self_attn.o_proj': 'attn_output',
      post_attention_layernorm: 'ffn_norm', 'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down',
    })) names[`model.layers.${i}.${theirs}`] = `blk.${i}.${ours}`
  }
  const tensors = Object.entries(names).map(([theirs, ours]) => {
    const values = weights(theirs + '.weight')
    const vector = ours.endsWith('norm')
    const columns = vector ? values.length : ours.endsWith('ffn_down') ? config.intermediate_size : config.hidden_size
    const data = vector ? Buffer.from(values.buffer) : q8(values)
    return { name: ours + '.weight', shape: vector ? [columns] : [columns, values.length / columns], type: vector ? 'float32' : 'q8_0', data }
  })
  const padded = n => Math.ceil(n / alignment) * alignment
  let offset = 0
  const infos = tensors.map(t => {
    const info = Buffer.concat([text(t.name), u32(t.shape.length), ...t.shape.map(u64), u32(tensorType[t.type]), u64(offset)])
    offset += padded(t.data.length)
    return info
  })
  const header = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(pairs.length), ...pairs, ...infos])
  const fd = fs.openSync(file, 'w')
  for (const b of [header, ...tensors.map(t => t.data)]) {
    fs.writeSync(fd, b)
    fs.writeSync(fd, Buffer.alloc(padded(b.length) - b.length))
  }
  fs.closeSync(fd)
}
