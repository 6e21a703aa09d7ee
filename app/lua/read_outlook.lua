-- Returns what estimates need: the samples of recent predictions, the records of those that would be taken next, how many wait,
-- and the records of those that run. These are checked soon (`open`), when their leases end, and so may a few others be.
-- include next_ids.lua
-- include now.lua
local turns, waiting, recent, open = unpack(KEYS)
local line_prefix, record_prefix, limit, samples, soon_ms = unpack(ARGV)

local function read(ids)
  local records = {}
  for place, id in ipairs(ids) do records[place] = redis.call('GET', record_prefix .. id) end
  return records
end
local soon = redis.call('ZRANGEBYSCORE', open, '-inf', now_ms() + soon_ms, 'LIMIT', 0, limit)
return {
  redis.call('LRANGE', recent, 0, samples - 1),
  read(next_ids(turns, line_prefix, tonumber(limit))),
  redis.call('ZCARD', waiting),
  read(soon),
}
