-- Takes the next prediction out of the lines and returns its id, its record and the time, or nil. Its key goes to the end of the turns.
-- It is checked again after `check_ms`, in case it is never claimed.
-- include now.lua
local turns, waiting, arrivals, open = unpack(KEYS)
local line_prefix, record_prefix, check_ms = unpack(ARGV)

while true do
  local key_id = redis.call('ZPOPMIN', turns)[1]
  if not key_id then
    redis.call('DEL', waiting) -- no line is left; a klein without this set took what is still in it
    return nil
  end
  local line = line_prefix .. key_id
  local id = redis.call('ZPOPMIN', line)[1]
  if redis.call('EXISTS', line) == 1 then
    redis.call('ZADD', turns, redis.call('INCR', arrivals), key_id)
  end
  if id then
    redis.call('ZREM', waiting, id)
    local now = now_ms()
    redis.call('ZADD', open, 'XX', now + check_ms, id)
    return {id, redis.call('GET', record_prefix .. id), now}
  end
end
