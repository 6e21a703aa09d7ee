-- Returns how many predictions would be taken before one at this rank of the line of its API key.
-- Counts the first 1,000 keys only, so that the time is bounded.
local function count_ahead(turns, line_prefix, key_id, rank)
  local ahead, is_earlier = rank, 1
  for _, other in ipairs(redis.call('ZRANGE', turns, 0, 999)) do
    if other == key_id then
      is_earlier = 0
    else
      ahead = ahead + math.min(rank + is_earlier, redis.call('ZCARD', line_prefix .. other))
    end
  end
  return ahead
end
