// eventsource-parser on Node, as `benchmarks.node` runs it:
//   node peer.mjs check FILE COUNT   prints a digest of the names and data in a file of pieces
//   node peer.mjs parse FILE COUNT   prints the µs of CPU time to parse a file of pieces
//   node peer.mjs digest URL COUNT   as check, for a stream
//   node peer.mjs stream URL COUNT   prints the µs of CPU time to read a stream and parse its JSON
import {createParser} from 'eventsource-parser'
import {createHash} from 'node:crypto'
import {readFileSync} from 'node:fs'

const [mode, where, count] = process.argv.slice(2)
const hash = createHash('sha256')
const decoder = new TextDecoder()
let seen = 0

const digest = (event) => { seen++; hash.update(`${event.event}\n${event.data}\n`) }
const onEvent = {
  check: digest,
  parse: (event) => { if (event.data) seen++ },
  digest: digest,
  stream: (event) => { if (JSON.parse(event.data)) seen++ },
}[mode]

function finish(used) {
  if (seen !== Number(count)) throw new Error(`${seen} events instead of ${count}`)
  console.log(onEvent === digest ? hash.digest('hex') : used.user + used.system)
}

if (mode === 'check' || mode === 'parse') {
  const raw = readFileSync(where)
  const pieces = []
  for (let at = 0; at < raw.length; ) {
    const size = raw.readUInt32BE(at)
    pieces.push(raw.subarray(at + 4, at + 4 + size))
    at += 4 + size
  }
  const parser = createParser({onEvent})
  const began = process.cpuUsage()
  for (const piece of pieces) parser.feed(decoder.decode(piece, {stream: true}))
  finish(process.cpuUsage(began))
} else {
  const began = process.cpuUsage()
  const response = await fetch(where)
  const parser = createParser({onEvent})
  for await (const piece of response.body) parser.feed(decoder.decode(piece, {stream: true}))
  finish(process.cpuUsage(began))
}
