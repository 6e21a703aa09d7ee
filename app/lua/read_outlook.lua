-- Returns what estimates need: the samples of recent predictions, and the records of those that would be taken next.
-- include next_ids.lua
local turns, recent = unpack(KEYS)
local line_prefix, record_prefix, limit, samples = unpack(ARGV)

local records = {}
for place, id in ipairs(next_ids(turns, line_prefix, tonumber(limit))) do
  records[place] = redis.call('GET', record_prefix .. id)
end
return {redis.call('LRANGE', recent, 0, samples - 1), records}
