-- Returns how many predictions would be taken before one at this rank of the line of its API key.
-- Reads the lines of the first 50 keys, so that the time is bounded. Those of the others count as their mean.
local LIMIT = 50
local function count_ahead(turns, line_prefix, key_id, rank)
  local keys = redis.call('ZRANGE', turns, 0, LIMIT - 1)
  local ahead, is_earlier, read = rank, 1, 0
  local as_earlier, as_later = 0, 0 -- what the keys that are read take if all come earlier, or later
  for _, other in ipairs(keys) do
    if other == key_id then
      is_earlier = 0
    else
      local length = redis.call('ZCARD', line_prefix .. other)
      ahead = ahead + math.min(rank + is_earlier, length)
      as_earlier = as_earlier + math.min(rank + 1, length)
      as_later = as_later + math.min(rank, length)
      read = read + 1
    end
  end
  if #keys < LIMIT then return ahead end
  local total = redis.call('ZCARD', turns)
  local place = redis.call('ZRANK', turns, key_id) or total
  local earlier = math.max(0, place - LIMIT)
  local later = total - LIMIT - earlier
  if place >= LIMIT and place < total then later = later - 1 end
  return math.floor(ahead + (earlier * as_earlier + later * as_later) / read + 0.5)
end
