-- Puts a prediction into the line of its API key, with a token, and returns its rank there; one that is there already keeps its place.
-- A key without a line gets a turn. A retry goes to the front, and its key takes the next turn: both have had their turn before.
local function join(line, waiting, turns, arrivals, tokens, id, key_id, is_retry)
  local number = is_retry == '1' and 0 or redis.call('INCR', arrivals)
  local is_new = redis.call('ZADD', line, 'NX', number, id) == 1
  local rank = redis.call('ZRANK', line, id)
  if number == 0 then
    redis.call('ZADD', turns, 'LT', number, key_id)
  elseif rank == 0 then
    redis.call('ZADD', turns, is_new and 'GT' or 'NX', number, key_id) -- a turn may be left of a line that was empty
  end
  redis.call('ZADD', waiting, 'NX', number, id)
  redis.call('RPUSH', tokens, 'token') -- one too many is harmless
  return rank
end
