-- Takes the next prediction out of the lines and returns its id, or nil. Its key goes to the end of the turns.
local turns, arrivals = unpack(KEYS)
local line_prefix = unpack(ARGV)

while true do
  local key_id = redis.call('ZPOPMIN', turns)[1]
  if not key_id then return nil end
  local line = line_prefix .. key_id
  local id = redis.call('ZPOPMIN', line)[1]
  if redis.call('EXISTS', line) == 1 then
    redis.call('ZADD', turns, redis.call('INCR', arrivals), key_id)
  end
  if id then return id end
end
