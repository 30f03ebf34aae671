"""The functions of the Redis log, which run on the server: each call is one transaction.

The keys begin with a prefix, ``P`` here; ``S`` is a session, ``T`` a turn, ``R`` a relay.

======================  ==========================================================================
``P:session:S``         hash: epoch, newest, owner, token, bytes ever appended and deleted
``P:events:S``          stream: the events, with the ids ``epoch-sequence``
``P:last:S``            hash: the last sequence number of each earlier epoch
``P:turn:T``            hash: a turn
``P:key:DIGEST``        the turn of an idempotency key
``P:pending:S``         sorted set: the turns of a session that are not over
``P:pending``           sorted set: the sessions that have such turns
``P:relays``            sorted set: the relays, with the end of their leases by the server's clock
``P:bytes, P:sizes``    the bytes of all events, and of each session
``P:ages``              sorted set: when the oldest event of each session was appended
``P:values``            hash: remembered values
``P:number``            counts the turns
======================  ==========================================================================

The channels are ``P:events:S`` for the followers of a session, ``P:relay:R`` for one relay, and
``P:relays`` for all.

Rule 1  A library is loaded if it is absent, and never replaced: relays of two versions run side by
        side. A change of a function is a new version of the library, with new names.
Rule 2  An append that is repeated, because its response was lost, stores nothing a second time.
Rule 3  Times are those of the server's clock.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 1


def function(name: str) -> bytes:
    """Return the name of a function on the server."""
    return f"trio_mix_relay_{VERSION}_{name}".encode()


_SOURCE: Final = r"""#!lua name=trio_mix_relay_@

local SLICE = 1000

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function split(position)
  local epoch, sequence = string.match(position, '^(%d+)-(%d+)$')
  return epoch, tonumber(sequence)
end

-- Notes that the oldest events of a session were deleted.
local function deleted(p, s)
  local key = p .. ':session:' .. s
  local before = redis.call('HMGET', key, 'appended', 'deleted')
  local first = redis.call('XRANGE', p .. ':events:' .. s, '-', '+', 'COUNT', 1)[1]
  local total = before[1]
  if first then
    total = first[2][8]
    redis.call('ZADD', p .. ':ages', first[2][6], s)
  else
    redis.call('ZREM', p .. ':ages', s)
  end
  redis.call('HSET', key, 'deleted', total)
  redis.call('INCRBY', p .. ':bytes', tonumber(before[2] or '0') - total)
  redis.call('ZADD', p .. ':sizes', before[1] - total, s)
end

local function trim(p, s, how, value)
  local count = redis.call('XTRIM', p .. ':events:' .. s, how, '=', value)
  if count > 0 then deleted(p, s) end
  return count
end

-- Deletes up to a slice of events, while a condition on their fields holds.
local function trim_while(p, s, condition)
  local stream, start, count = p .. ':events:' .. s, '-', 0
  while count < SLICE do
    local entries = redis.call('XRANGE', stream, start, '+', 'COUNT', 50)
    for _, entry in ipairs(entries) do
      if not condition(entry[2]) then return trim(p, s, 'MINID', entry[1]) end
      count, start = count + 1, '(' .. entry[1]
    end
    if #entries == 0 then break end
  end
  return trim(p, s, 'MAXLEN', redis.call('XLEN', stream) - count)
end

local function trim_bytes(p, most)
  local excess = tonumber(redis.call('GET', p .. ':bytes') or '0') - most
  if excess <= 0 then return 0 end
  excess = excess + math.min(65536, math.floor(most / 64))
  local s = redis.call('ZREVRANGE', p .. ':sizes', 0, 0)[1]
  local start = tonumber(redis.call('HGET', p .. ':session:' .. s, 'deleted') or '0')
  return trim_while(p, s, function(fields) return fields[8] - start < excess end)
end

-- KEYS prefix; ARGV session, relay, token, the position that the relay has seen, the most epochs
local function acquire(keys, argv)
  local p, s, relay = keys[1], argv[1], argv[2]
  local key = p .. ':session:' .. s
  local found = redis.call('HMGET', key, 'owner', 'epoch', 'newest')
  local takeover = 0
  if found[1] and found[1] ~= '' and found[1] ~= relay then
    local ends = redis.call('ZSCORE', p .. ':relays', found[1])
    if ends and ends - now() > 0 then return {0, found[1], ends - now()} end
    takeover = 1
  end
  local seen, seen_sequence = split(argv[4])
  seen = tonumber(seen)
  local epoch = math.max(tonumber(found[2] or '0'), seen) + 1
  local newest = found[3]
  local last, sequence = 0, 0
  if newest then
    last, sequence = split(newest)
    last = tonumber(last)
    if sequence > 0 then redis.call('HSET', p .. ':last:' .. s, last, sequence) end
  else
    newest = epoch .. '-0'
  end
  if last < seen or (last == seen and sequence < seen_sequence) then  -- events were lost
    redis.call('HSET', key, 'forgotten', seen)
  end
  local counted = p .. ':last:' .. s
  if redis.call('HLEN', counted) > tonumber(argv[5]) then
    local oldest
    for _, each in ipairs(redis.call('HKEYS', counted)) do
      if not oldest or tonumber(each) < oldest then oldest = tonumber(each) end
    end
    redis.call('HDEL', counted, oldest)
    redis.call('HSET', key, 'forgotten', oldest)
  end
  redis.call('HSET', key, 'owner', relay, 'token', argv[3], 'epoch', epoch, 'newest', newest)
  return {1, epoch, newest, takeover}
end

-- KEYS prefix; ARGV session, token
local function release(keys, argv)
  local p, s = keys[1], argv[1]
  local key = p .. ':session:' .. s
  if redis.call('HGET', key, 'token') ~= argv[2] then return 0 end
  redis.call('HSET', key, 'owner', '', 'token', '')
  redis.call('PUBLISH', p .. ':events:' .. s, 'released')
  if redis.call('EXISTS', p .. ':pending:' .. s) == 1 then
    redis.call('PUBLISH', p .. ':relays', cjson.encode({kind = 'unowned', session = s}))
  end
  return 1
end

local function store(p, s, argv, before)
  local epoch, header, frames = argv[3], argv[4], argv[5]
  local stream = p .. ':events:' .. s
  local last_epoch, last = split(before[2])
  if last_epoch ~= epoch then last = 0 end
  local total, at, offset, stored = tonumber(before[3] or '0'), now(), 1, 0
  local start, count = total, redis.call('XLEN', stream)
  for index = 1, #header, 9 do
    local sequence, audience, size = struct.unpack('>I4BI4', header, index)
    if sequence > last then
      redis.call('XADD', stream, epoch .. '-' .. sequence,
        'f', string.sub(frames, offset, offset + size - 1), 'a', audience, 't', at, 'c', total)
      total, last, stored = total + size, sequence, stored + 1
    end
    offset = offset + size
  end
  if stored == 0 then return 0 end
  local key = p .. ':session:' .. s
  redis.call('HSET', key, 'newest', epoch .. '-' .. last, 'appended', total)
  redis.call('INCRBY', p .. ':bytes', total - start)
  redis.call('ZADD', p .. ':sizes', total - tonumber(before[4] or '0'), s)
  if count == 0 then redis.call('ZADD', p .. ':ages', at, s) end
  redis.call('PUBLISH', stream, before[2] .. ' ' .. epoch .. ' ' .. #header .. '\n'
    .. header .. frames)
  local most, gone = tonumber(argv[6]), 0
  count = count + stored
  if count > most + math.min(SLICE, math.floor(most / 10)) then
    gone = trim(p, s, 'MAXLEN', math.max(most, count - SLICE))
  end
  return gone + trim_bytes(p, tonumber(argv[7]))
end

-- KEYS prefix; ARGV session, token, epoch, header, frames, the most events, the most bytes,
-- milliseconds for which turns that are over are kept, then for each turn: id, when it ended, text
local function append(keys, argv)
  local p, s = keys[1], argv[1]
  local before = redis.call('HMGET', p .. ':session:' .. s,
    'token', 'newest', 'appended', 'deleted')
  if before[1] ~= argv[2] then return {0, 0} end
  local gone = 0
  if #argv[4] > 0 then gone = store(p, s, argv, before) end
  for index = 9, #argv, 3 do
    local id, ended, key = argv[index], argv[index + 1], p .. ':turn:' .. argv[index]
    if redis.call('EXISTS', key) == 1 then
      redis.call('HSET', key, 'ended', ended, 'text', argv[index + 2])
      if ended ~= '' then
        redis.call('PEXPIRE', key, argv[8])
        local digest = redis.call('HGET', key, 'key')
        if digest ~= '' then redis.call('PEXPIRE', p .. ':key:' .. digest, argv[8]) end
        redis.call('ZREM', p .. ':pending:' .. s, id)
        if redis.call('EXISTS', p .. ':pending:' .. s) == 0 then
          redis.call('ZREM', p .. ':pending', s)
        end
      end
    end
  end
  return {1, gone}
end

-- KEYS prefix; ARGV session, after, the most bytes
local function read(keys, argv)
  local stream, start, most = keys[1] .. ':events:' .. argv[1], '(' .. argv[2], tonumber(argv[3])
  local found, size = {}, 0
  while true do
    local entries = redis.call('XRANGE', stream, start, '+', 'COUNT', 100)
    for _, entry in ipairs(entries) do
      size = size + #entry[2][2]
      if #found > 0 and size > most then return found end
      table.insert(found, entry[1])
      table.insert(found, entry[2][4])
      table.insert(found, entry[2][2])
      start = '(' .. entry[1]
    end
    if #entries < 100 then return found end
  end
end

-- KEYS prefix; ARGV session
local function extent(keys, argv)
  local p, s = keys[1], argv[1]
  local found = redis.call('HMGET', p .. ':session:' .. s, 'epoch', 'newest', 'forgotten')
  if not found[1] then return {} end
  local first = redis.call('XRANGE', p .. ':events:' .. s, '-', '+', 'COUNT', 1)[1]
  return {found[2] or '', found[3] or '0', first and first[1] or '',
    redis.call('HGETALL', p .. ':last:' .. s)}
end

-- KEYS prefix; ARGV relay, milliseconds
local function beat(keys, argv)
  local relays, time = keys[1] .. ':relays', now()
  local ends = redis.call('ZSCORE', relays, argv[1])
  redis.call('ZADD', relays, time + argv[2], argv[1])
  redis.call('ZREMRANGEBYSCORE', relays, '-inf', time)
  local found = redis.call('ZRANGE', relays, 0, -1, 'WITHSCORES')
  for index = 2, #found, 2 do found[index] = found[index] - time end
  return {(ends and ends - time > 0) and 1 or 0, found}
end

-- KEYS prefix; ARGV for each lease: session, token
local function held(keys, argv)
  local found = {}
  for index = 1, #argv, 2 do
    local token = redis.call('HGET', keys[1] .. ':session:' .. argv[index], 'token')
    table.insert(found, token == argv[index + 1] and 1 or 0)
  end
  return found
end

-- KEYS prefix; ARGV milliseconds
local function expire(keys, argv)
  local p, oldest = keys[1], now() - argv[1]
  local s = redis.call('ZRANGEBYSCORE', p .. ':ages', '-inf', '(' .. oldest, 'LIMIT', 0, 1)[1]
  if not s then return 0 end
  local count = trim_while(p, s, function(fields) return tonumber(fields[6]) < oldest end)
  if count == 0 then deleted(p, s) end
  return count
end

-- KEYS prefix; ARGV session, turn, when it was accepted, key, the oldest key, text, relay
local function accept(keys, argv)
  local p, s, id = keys[1], argv[1], argv[2]
  local known = redis.call('HGET', p .. ':turn:' .. id, 'text')
  if known then return {0, known} end
  if argv[4] ~= '' then
    local name = p .. ':key:' .. argv[4]
    local other = redis.call('GET', name)
    if other then
      local turn = redis.call('HMGET', p .. ':turn:' .. other, 'ended', 'accepted', 'text')
      if turn[1] and (turn[1] == '' or tonumber(turn[2]) >= tonumber(argv[5])) then
        return {0, turn[3]}
      end
    end
    redis.call('SET', name, id)
  end
  redis.call('HSET', p .. ':turn:' .. id, 'session', s, 'accepted', argv[3], 'key', argv[4],
    'ended', '', 'text', argv[6])
  local key = p .. ':session:' .. s
  redis.call('HSETNX', key, 'epoch', 0)
  local number = redis.call('INCR', p .. ':number')
  redis.call('ZADD', p .. ':pending:' .. s, number, id)
  redis.call('ZADD', p .. ':pending', 'NX', number, s)
  local owner = redis.call('HGET', key, 'owner')
  if owner and owner ~= '' and owner ~= argv[7] then
    redis.call('PUBLISH', p .. ':relay:' .. owner,
      cjson.encode({kind = 'turn', session = s, turn = id}))
  end
  return {1, argv[6]}
end

-- KEYS prefix; ARGV session
local function pending(keys, argv)
  local p, found = keys[1], {}
  for _, id in ipairs(redis.call('ZRANGE', p .. ':pending:' .. argv[1], 0, -1)) do
    local text = redis.call('HGET', p .. ':turn:' .. id, 'text')
    if text then table.insert(found, text) end
  end
  return found
end

-- KEYS prefix; ARGV session, message
local function ask(keys, argv)
  local owner = redis.call('HGET', keys[1] .. ':session:' .. argv[1], 'owner')
  if not owner or owner == '' then return 0 end
  return redis.call('PUBLISH', keys[1] .. ':relay:' .. owner, argv[2])
end

-- KEYS prefix; ARGV relay (empty: all), message
local function publish(keys, argv)
  if argv[1] == '' then return redis.call('PUBLISH', keys[1] .. ':relays', argv[2]) end
  return redis.call('PUBLISH', keys[1] .. ':relay:' .. argv[1], argv[2])
end

redis.register_function('trio_mix_relay_@_acquire', acquire)
redis.register_function('trio_mix_relay_@_release', release)
redis.register_function('trio_mix_relay_@_append', append)
redis.register_function('trio_mix_relay_@_beat', beat)
redis.register_function('trio_mix_relay_@_expire', expire)
redis.register_function('trio_mix_relay_@_accept', accept)
redis.register_function('trio_mix_relay_@_ask', ask)
redis.register_function('trio_mix_relay_@_publish', publish)
redis.register_function{function_name = 'trio_mix_relay_@_held', callback = held,
  flags = {'no-writes'}}
redis.register_function{function_name = 'trio_mix_relay_@_read', callback = read,
  flags = {'no-writes'}}
redis.register_function{function_name = 'trio_mix_relay_@_extent', callback = extent,
  flags = {'no-writes'}}
redis.register_function{function_name = 'trio_mix_relay_@_pending', callback = pending,
  flags = {'no-writes'}}
"""

LIBRARY: Final = _SOURCE.replace("@", str(VERSION))
"""The source of the library."""
