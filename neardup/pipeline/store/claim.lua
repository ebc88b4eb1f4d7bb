-- Give a reviewer the first items of the queue that no other looks at, in one step, so that no two get the same.
--
-- KEYS[1]  prefix with hash tag
-- ARGV[1]  key of the queue, ARGV[2] reviewer, ARGV[3] how many, ARGV[4] milliseconds after which another may have them
-- ARGV[5…] ids of items to pass over
-- Returns the ids.

local prefix, queue, reviewer, wanted = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local passed, found, start = {}, {}, 0
for n = 5, #ARGV do
  passed[ARGV[n]] = true
end
while #found < wanted do
  local items = redis.call('ZRANGE', queue, start, start + 99)
  for _, item in ipairs(items) do
    local key = prefix .. ':claim:' .. item
    local claimer = redis.call('GET', key)
    if #found < wanted and not passed[item] and (not claimer or claimer == reviewer) then
      redis.call('SET', key, reviewer, 'PX', ARGV[4])
      table.insert(found, item)
    end
  end
  if #items < 100 then
    break
  end
  start = start + 100
end
return found
