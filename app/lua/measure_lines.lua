-- Returns how many predictions are in line, and the id of the one that arrived first.
local turns = unpack(KEYS)
local line_prefix = unpack(ARGV)

local count, first, first_number = 0, false, math.huge
for _, key_id in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
  local line = line_prefix .. key_id
  count = count + redis.call('ZCARD', line)
  local id, number = unpack(redis.call('ZRANGE', line, 0, 0, 'WITHSCORES'))
  if id and tonumber(number) < first_number then first, first_number = id, tonumber(number) end
end
return {count, first}
