-- Puts a prediction into the line of its API key, with a token; one that is there already keeps its place.
-- A retry goes to the front, and its key takes the next turn: both have had their turn before.
local function join(line, waiting, turns, arrivals, tokens, id, key_id, is_retry)
  local number = is_retry == '1' and 0 or redis.call('INCR', arrivals)
  redis.call('ZADD', line, 'NX', number, id)
  redis.call('ZADD', turns, number == 0 and 'LT' or 'NX', number, key_id)
  redis.call('ZADD', waiting, 'NX', number, id)
  redis.call('RPUSH', tokens, 'token') -- one too many is harmless
end
