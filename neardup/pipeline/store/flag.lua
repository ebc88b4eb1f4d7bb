-- Apply envelopes of verdicts to Redis, all in one step; what was applied before is passed over.
--
-- KEYS[1]  prefix with hash tag, such as nd:{space}
-- ARGV[1]  MessagePack: a list of {offset, time, list of events}; a match is told by its key, bank "\n" reference, and
--          an event is
--          {"verdict", number, id, decision, head or "", n, m, until, keys of matches to be reviewed,
--            those of them that are unsure, those that are unproved}
--            its MessagePack is ARGV[3 + n], and ARGV[3 + m] what enters the feed, nothing if m is 0;
--            it is forgotten at this second since 1970, never if 0
--          {"withdrawn", number, id, list of keys}, before what takes the place of another verdict or later match
--          {"later", number, id, key, match as JSON or "", m, whether it lets the item pass, keys as in a verdict, …}
--          {"gone", number, id, until}; dead letters of one taken down are kept out up to this second since 1970
--          {"re-headed", number, new head, list of members}
--          {"reviewed", number, id, key, outcome}
--          {"changed", number, event as JSON}, for the audit trail
--          {"bank", number, name, list of fields and values}, {"bank-gone", number, name}
--          {"reference", number, bank, id, whether it is new, list of fields and values}
--          {"reference-gone", number, bank, id}
-- ARGV[2]  entries that the feed keeps, at least
-- ARGV[3]  offset of the envelope before the first; -1 if there is none
-- ARGV[4…] verdicts, for whoever reads them
-- Returns how many envelopes were applied; -1, having done nothing, if the one before was not.
--
-- Arguments are unpacked before the first write: a script is atomic, but it is not undone when it fails.

local prefix, keep = KEYS[1], ARGV[2]
local envelopes = cmsgpack.unpack(ARGV[1])
local call = redis.call
local applied = tonumber(call('GET', prefix .. ':applied') or '-1')
if applied < tonumber(ARGV[3]) then
  return -1
end

local function leave(id)
  local head = call('HGET', prefix .. ':v:' .. id, 'head')
  if head and head ~= '' then
    call('SREM', prefix .. ':members:' .. head, id)
  end
end

local function join(id, head)
  call('HSET', prefix .. ':v:' .. id, 'head', head)
  if head ~= '' then
    call('SADD', prefix .. ':members:' .. head, id)
  end
end

-- 0-0 is no id of a stream, so numbers start at 1 there.
local function place(offset, number)
  return string.format('%d-%d', offset, number + 1)
end

local function feed(offset, number, at, verdict, retro)
  call('XADD', prefix .. ':feed', 'MAXLEN', '~', keep, place(offset, number),
    'verdict', verdict, 'at', string.format('%d', at), 'retro', retro)
end

local function wait_in(queue, waits, queued, id)
  if waits then
    call('ZADD', prefix .. queue, queued, id)
  else
    call('ZREM', prefix .. queue, id)
  end
end

local function leave_queues(id)
  for _, queue in ipairs({ ':queue', ':queue:unproved', ':queue:all' }) do
    wait_in(queue, false, nil, id)
  end
end

-- As `interface.queues_of` says it.
local function queue_if_open(id)
  local item, open = prefix .. ':v:' .. id, prefix .. ':open:' .. id
  local unsure, unproved = prefix .. ':unsure:' .. id, prefix .. ':unproved:' .. id
  local queued = call('HGET', item, 'queued')
  if not queued or call('HEXISTS', item, 'confirmed') == 1 or call('SCARD', open) == 0 then
    leave_queues(id)
    return
  end
  local function is_seen(key)
    return string.sub(key, 1, 5) == 'seen\n'
  end
  local certain, certain_in_bank = false, false
  for _, key in ipairs(call('SDIFF', open, unsure)) do
    certain, certain_in_bank = true, certain_in_bank or not is_seen(key)
  end
  local waits, tried = false, false
  for _, key in ipairs(call('SINTER', open, unsure)) do
    if not certain_in_bank and not (certain and is_seen(key)) then
      waits, tried = true, tried or call('SISMEMBER', unproved, key) == 0
    end
  end
  wait_in(':queue', tried, queued, id)
  wait_in(':queue:unproved', waits and not tried, queued, id)
  wait_in(':queue:all', true, queued, id)
end

local function mark(set, keys, marked)
  for _, key in ipairs(keys) do
    call('SREM', set, key)
  end
  for _, key in ipairs(marked) do
    call('SADD', set, key)
  end
end

local function enqueue(id, offset, keys, unsure, unproved)
  local item = prefix .. ':v:' .. id
  mark(prefix .. ':unsure:' .. id, keys, unsure)
  mark(prefix .. ':unproved:' .. id, keys, unproved)
  for _, key in ipairs(keys) do
    if call('HEXISTS', item, 'judged ' .. key) == 0 then
      call('SADD', prefix .. ':open:' .. id, key)
    end
  end
  call('HSETNX', item, 'queued', string.format('%d', offset))
  queue_if_open(id)
end

local function judge(id, key, outcome)
  local item, open, done = prefix .. ':v:' .. id, prefix .. ':open:' .. id, prefix .. ':done:' .. id
  call('HDEL', item, 'judged ' .. key)
  if call('HGET', item, 'confirmed') == key then
    call('HDEL', item, 'confirmed')
  end
  call('SMOVE', done, open, key)
  if outcome ~= 'undo' then
    call('HSET', item, 'judged ' .. key, outcome)
    call('PERSIST', item)
  end
  if outcome == 'match' then
    call('HSET', item, 'confirmed', key)
  elseif outcome == 'not-a-match' then
    call('SMOVE', open, done, key)
  end
  queue_if_open(id)
end

local function forget(id)
  leave(id)
  call('DEL', prefix .. ':v:' .. id, prefix .. ':open:' .. id, prefix .. ':done:' .. id, prefix .. ':claim:' .. id)
  call('DEL', prefix .. ':unsure:' .. id, prefix .. ':unproved:' .. id)
  leave_queues(id)
end

local apply = {}

apply['verdict'] = function(offset, at, event)
  local number, id = event[2], event[3]
  local item = prefix .. ':v:' .. id
  leave(id)
  call('HSET', item, 'decision', event[4], 'verdict', ARGV[3 + event[6]])
  join(id, event[5])
  if event[8] > 0 then
    call('EXPIREAT', item, event[8])
  else
    call('PERSIST', item)
  end
  if event[7] > 0 then
    feed(offset, number, at, ARGV[3 + event[7]], '')
  end
  if #event[9] > 0 then
    enqueue(id, offset, event[9], event[10], event[11])
  end
end

apply['withdrawn'] = function(_, _, event)
  local id = event[3]
  for _, key in ipairs(event[4]) do
    call('SREM', prefix .. ':open:' .. id, key)
    call('SREM', prefix .. ':done:' .. id, key)
    call('SREM', prefix .. ':unsure:' .. id, key)
    call('SREM', prefix .. ':unproved:' .. id, key)
    call('HDEL', prefix .. ':v:' .. id, 'later ' .. key)
  end
  queue_if_open(id)
end

apply['later'] = function(offset, at, event)
  local number, id = event[2], event[3]
  if event[5] ~= '' then
    call('HSET', prefix .. ':v:' .. id, 'later ' .. event[4], event[5])
    call('PERSIST', prefix .. ':v:' .. id)
  end
  if event[6] > 0 then
    feed(offset, number, at, ARGV[3 + event[6]], '1')
  end
  if #event[8] > 0 then
    enqueue(id, offset, event[8], event[9], event[10])
  end
  if event[7] then
    leave_queues(id)
  end
end

apply['gone'] = function(_, _, event)
  forget(event[3])
  if event[4] > 0 then
    call('SET', prefix .. ':dead:seen:' .. event[3], '', 'EXAT', event[4])
  end
end

apply['re-headed'] = function(_, _, event)
  local head = event[3]
  leave(head)
  join(head, '')
  for _, member in ipairs(event[4]) do
    leave(member)
    join(member, head)
  end
end

apply['reviewed'] = function(_, _, event)
  judge(event[3], event[4], event[5])
end

apply['changed'] = function(offset, at, event)
  call('XADD', prefix .. ':audit', place(offset, event[2]), 'changed', event[3], 'at', string.format('%d', at))
end

apply['bank'] = function(_, _, event)
  call('SADD', prefix .. ':banks', event[3])
  call('HSET', prefix .. ':bank:' .. event[3], unpack(event[4]))
end

apply['bank-gone'] = function(_, _, event)
  local name = event[3]
  local references = prefix .. ':references:' .. name
  for _, id in ipairs(call('SMEMBERS', prefix .. ':settings:' .. name)) do
    call('DEL', prefix .. ':reference:' .. name .. ':' .. id)
  end
  call('DEL', references, prefix .. ':settings:' .. name, prefix .. ':bank:' .. name)
  call('SREM', prefix .. ':banks', name)
end

apply['reference'] = function(offset, _, event)
  local bank, id = event[3], event[4]
  if event[5] then
    call('ZADD', prefix .. ':references:' .. bank, string.format('%d', offset), id)
  end
  call('SADD', prefix .. ':settings:' .. bank, id)
  call('HSET', prefix .. ':reference:' .. bank .. ':' .. id, 'id', id, unpack(event[6]))
end

apply['reference-gone'] = function(_, _, event)
  local bank, id = event[3], event[4]
  call('ZREM', prefix .. ':references:' .. bank, id)
  call('SREM', prefix .. ':settings:' .. bank, id)
  call('DEL', prefix .. ':reference:' .. bank .. ':' .. id)
end

local count = 0
for _, envelope in ipairs(envelopes) do
  local offset = envelope[1]
  if offset > applied then
    for _, event in ipairs(envelope[3]) do
      apply[event[1]](offset, envelope[2], event)
    end
    applied = offset
    count = count + 1
  end
end
if count > 0 then
  call('SET', prefix .. ':applied', string.format('%d', applied))
end
return count
