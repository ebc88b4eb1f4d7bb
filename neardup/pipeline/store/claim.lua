-- Give a reviewer the first items of the queue that no other looks at, in one step, so that no two get the same.
--
-- KEYS[1]  prefix with hash tag
-- ARGV[1]  reviewer, ARGV[2] how many, ARGV[3] milliseconds after which another may have them
-- ARGV[4…] ids of items to pass over
-- Returns the ids.

local prefix, reviewer, wanted = KEYS[1], ARGV[1], tonumber(ARGV[2])
local passed, found, start = {}, {}, 0
for n = 4, #ARGV do
  passed[ARGV[n]] = true
end
while #found < wanted do
  local items = redis.call('ZRANGE', prefix .. ':queue', start, start + 99)
  for _, item in ipairs(items) do
    local key = prefix .. ':claim:' .. item
    local claimer = redis.call('GET', key)
    if #found < wanted and not passed[item] and (not claimer or claimer == reviewer) then
      redis.call('SET', key, reviewer, 'PX', ARGV[3])
      table.insert(found, item)
    end
  end
  if #items < 100 then
    break
  end
  start = start + 100
end
return found
