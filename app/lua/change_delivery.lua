-- Replaces the record of a delivery that is still `old` ('': none yet), and plans the next attempt; without `pause_ms`
-- there is none, and it is no longer open. Returns 0 where the record has changed, else 1. Where the prediction is gone, the delivery is dropped.
-- include now.lua
local delivery, due, prediction, deliveries = unpack(KEYS)
local old, new, id, pause_ms = unpack(ARGV)

if redis.call('EXISTS', prediction) == 0 then
  redis.call('ZREM', due, id)
  return 1
end
if (redis.call('GET', delivery) or '') ~= old then return 0 end
redis.call('SET', delivery, new)
if pause_ms == '' then
  redis.call('ZREM', due, id)
  redis.call('SREM', deliveries .. ':open', id)
else
  redis.call('ZADD', due, now_ms() + pause_ms, id)
  redis.call('SADD', deliveries .. ':open', id)
end
return 1
