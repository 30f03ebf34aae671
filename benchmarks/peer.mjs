// eventsource-parser on Node, as `benchmarks.node` runs it: prints µs of CPU time.
import {createParser} from 'eventsource-parser'
import {readFileSync} from 'node:fs'

const [mode, where, count] = process.argv.slice(2)

function cpu(since) {
  const used = process.cpuUsage(since)
  return used.user + used.system
}

function verify(seen) {
  if (seen !== Number(count)) throw new Error(`${seen} events for ${count}`)
}

if (mode === 'parse') {
  const raw = readFileSync(where)
  const pieces = []
  for (let at = 0; at < raw.length; ) {
    const size = raw.readUInt32BE(at)
    pieces.push(raw.subarray(at + 4, at + 4 + size))
    at += 4 + size
  }
  let seen = 0
  const parser = createParser({onEvent: (event) => { if (event.data) seen++ }})
  const decoder = new TextDecoder()
  const began = process.cpuUsage()
  for (const piece of pieces) parser.feed(decoder.decode(piece, {stream: true}))
  const took = cpu(began)
  verify(seen)
  console.log(took)
} else {
  const began = process.cpuUsage()
  let seen = 0
  const parser = createParser({onEvent: (event) => {
    if (event.event === 'content') seen += JSON.parse(event.data).content.length > 0
  }})
  const response = await fetch(where)
  const decoder = new TextDecoder()
  for await (const piece of response.body) parser.feed(decoder.decode(piece, {stream: true}))
  const took = cpu(began)
  verify(seen)
  console.log(took)
}
