// Writes ONNX models: the few messages of onnx.proto3
// (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3) that a graph of
// constant weights needs, in the wire format of Protocol Buffers.
import fs from 'node:fs'

const type = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7 } // TensorProto.DataType
const attributeType = { float: 1, int: 2, string: 3, ints: 7 } // AttributeProto.AttributeType

function varint(n) {
  let x = BigInt.asUintN(64, BigInt(n))
  const bytes = []
  for (; x > 127n; x >>= 7n) bytes.push(Number(x & 127n) | 128)
  return Buffer.from([...bytes, Number(x)])
}

// A message is a list of buffers, so that weights are not copied into it.
const size = message => message.reduce((sum, b) => sum + b.length, 0)
const int = (field, n) => [varint(field << 3), varint(n)]
const bytes = (field, b) => [varint(field << 3 | 2), varint(b.length), b]
const text = (field, s) => bytes(field, Buffer.from(s))
const nested = (field, message) => [varint(field << 3 | 2), varint(size(message)), ...message]
const float = (field, x) => {
  const b = Buffer.alloc(4)
  b.writeFloatLE(x)
  return [varint(field << 3 | 5), b]
}

function attribute(name, value) {
  const kind = { number: Number.isInteger(value) ? 'int' : 'float', string: 'string', object: Array.isArray(value) ? 'ints' : 'float' }[typeof value]
  const field = {
    float: () => float(2, value.float ?? value),
    int: () => int(3, value),
    string: () => text(4, value),
    ints: () => value.flatMap(n => int(8, n)),
  }[kind]()
  return [...text(1, name), ...field, ...int(20, attributeType[kind])]
}

function valueInfo({ name, dtype, shape }) {
  const dims = shape.flatMap(d => nested(1, typeof d === 'number' ? int(1, d) : text(2, d)))
  return [...text(1, name), ...nested(2, nested(1, [...int(1, type[dtype]), ...nested(2, dims)]))]
}

// A Graph collects nodes and weights; save writes the model.
export class Graph {
  nodes = []
  initializers = []
  names = 0

  name() { return `t${this.names++}` }

  // node adds an operator and returns the name of its first output. Outputs may
  // be given by name; an operator of ONNX Runtime's own has domain
  // 'com.microsoft'. A whole number that is a float is written {float: 1}.
  node(op, inputs, { domain = '', outputs = [this.name()], ...attributes } = {}) {
    this.nodes.push([
      ...inputs.flatMap(s => text(1, s)), ...outputs.flatMap(s => text(2, s)), ...text(3, `n${this.nodes.length}`), ...text(4, op),
      ...Object.entries(attributes).flatMap(([k, v]) => nested(5, attribute(k, v))),
      ...(domain ? text(7, domain) : []),
    ])
    return outputs[0]
  }

  // constant adds a weight and returns its name.
  constant(dtype, shape, values) {
    const name = `w${this.initializers.length}`
    const raw = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
    this.initializers.push([...shape.flatMap(d => int(1, d)), ...int(2, type[dtype]), ...text(8, name), ...bytes(9, raw)])
    return name
  }

  save(file, inputs, outputs) {
    const graph = [
      ...this.nodes.flatMap(n => nested(1, n)), ...text(2, 'main'), ...this.initializers.flatMap(t => nested(5, t)),
      ...inputs.flatMap(v => nested(11, valueInfo(v))), ...outputs.flatMap(v => nested(12, valueInfo(v))),
    ]
    const opset = (domain, version) => nested(8, [...text(1, domain), ...int(2, version)])
    const model = [...int(1, 9), ...text(2, 'alknet-firewall'), ...nested(7, graph), ...opset('', 17), ...opset('com.microsoft', 1)]
    const fd = fs.openSync(file, 'w')
    for (const b of model) fs.writeSync(fd, b)
    fs.closeSync(fd)
  }
}
