-- Apply envelopes of verdicts to Redis, all in one step; what was applied before is passed over.
--
-- KEYS[1]  prefix with hash tag, such as nd:{space}
-- ARGV[1]  MessagePack: a list of {offset, list of events}; an event is
--          {"verdict", number, id, decision, head or "", n, m, until}
--            its MessagePack is ARGV[3 + n], and ARGV[3 + m] what enters the feed, nothing if m is 0;
--            it is forgotten at this second since 1970, never if 0
--          {"gone", number, id}
--          {"re-headed", number, new head, list of members}
-- ARGV[2]  entries that the feed keeps, at least
-- ARGV[3]  offset of the envelope before the first; -1 if there is none
-- ARGV[4…] verdicts, for whoever reads them
-- Returns how many envelopes were applied; -1, having done nothing, if the one before was not.
--
-- Arguments are unpacked before the first write: a script is atomic, but it is not undone when it fails.

local prefix, keep = KEYS[1], ARGV[2]
local envelopes = cmsgpack.unpack(ARGV[1])
local applied = tonumber(redis.call('GET', prefix .. ':applied') or '-1')
if applied < tonumber(ARGV[3]) then
  return -1
end

local function leave(id)
  local head = redis.call('HGET', prefix .. ':v:' .. id, 'head')
  if head and head ~= '' then
    redis.call('SREM', prefix .. ':members:' .. head, id)
  end
end

local function join(id, head)
  redis.call('HSET', prefix .. ':v:' .. id, 'head', head)
  if head ~= '' then
    redis.call('SADD', prefix .. ':members:' .. head, id)
  end
end

local count = 0
for _, envelope in ipairs(envelopes) do
  local offset = envelope[1]
  if offset > applied then
    for _, event in ipairs(envelope[2]) do
      local kind, number, id = event[1], event[2], event[3]
      if kind == 'verdict' then
        local verdict = ARGV[3 + event[6]]
        leave(id)
        redis.call('HSET', prefix .. ':v:' .. id, 'decision', event[4], 'verdict', verdict)
        join(id, event[5])
        if event[8] > 0 then
          redis.call('EXPIREAT', prefix .. ':v:' .. id, event[8])
        else
          redis.call('PERSIST', prefix .. ':v:' .. id)
        end
        if event[7] > 0 then
          -- 0-0 is no id of a stream, so numbers start at 1 there.
          redis.call('XADD', prefix .. ':feed', 'MAXLEN', '~', keep,
            string.format('%d-%d', offset, number + 1), 'verdict', ARGV[3 + event[7]])
        end
      elseif kind == 'gone' then
        leave(id)
        redis.call('DEL', prefix .. ':v:' .. id)
      elseif kind == 're-headed' then
        leave(id)
        join(id, '')
        for _, member in ipairs(event[4]) do
          leave(member)
          join(member, id)
        end
      end
    end
    applied = offset
    count = count + 1
  end
end
if count > 0 then
  redis.call('SET', prefix .. ':applied', string.format('%d', applied))
end
return count
