// Reads safetensors files that our own bench has written, and cuts them.
import fs from 'node:fs'

export function open(file) {
  const b = fs.readFileSync(file)
  const n = Number(b.readBigUInt64LE(0))
  const header = JSON.parse(b.toString('utf8', 8, 8 + n))
  const bytes = name => {
    if (!header[name]) throw new Error(`${file}: no tensor ${name}`)
    const [begin, end] = header[name].data_offsets
    return b.buffer.slice(b.byteOffset + 8 + n + begin, b.byteOffset + 8 + n + end)
  }
  return {
    names: Object.keys(header),
    shape: name => header[name].shape,
    int64: name => new BigInt64Array(bytes(name)),
    // float32 widens bfloat16, which is the upper half of a float32.
    float32: name => {
      if (header[name]?.dtype === 'F32') return new Float32Array(bytes(name))
      if (header[name]?.dtype !== 'BF16') throw new Error(`${file}: tensor ${name} is ${header[name]?.dtype}, want F32 or BF16`)
      return new Float32Array(Uint32Array.from(new Uint16Array(bytes(name)), x => x << 16).buffer)
    },
  }
}

// cut writes those tensors of a file whose names keep accepts to another.
export function cut(from, to, keep) {
  const b = fs.readFileSync(from)
  const n = Number(b.readBigUInt64LE(0))
  const header = {}, data = []
  let at = 0
  for (const [name, t] of Object.entries(JSON.parse(b.toString('utf8', 8, 8 + n)))) {
    if (!keep(name)) continue
    const [begin, end] = t.data_offsets
    header[name] = { ...t, data_offsets: [at, at += end - begin] }
    data.push(b.subarray(8 + n + begin, 8 + n + end))
  }
  const json = JSON.stringify(header)
  const head = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(head.length))
  fs.writeFileSync(to, Buffer.concat([size, head, ...data]))
}
