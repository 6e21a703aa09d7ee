-- Stores a new prediction. Returns the id that was accepted and '', or '' and why it was refused.
-- The id is another prediction's where the idempotency key has come before. The client repeats a call whose reply was
-- lost; by then the prediction may have changed, so a record that exists is accepted and not written again.
-- include now.lua
-- include limits.lua
local record, open, history, held, spent, idempotency = unpack(KEYS)
local value, id, created_ms, due_in_ms, idempotency_kept_ms, month, cost, queue_limit, in_flight_limit, budget = unpack(ARGV)

if idempotency then
  local first = redis.call('GET', idempotency)
  if first and first ~= id then return {first, ''} end
end
if not redis.call('SET', record, value, 'NX') then return {id, ''} end
local refused = refusal(open, held, spent, month, cost, queue_limit, in_flight_limit, budget)
if refused ~= '' then
  redis.call('DEL', record)
  return {'', refused}
end
if idempotency then redis.call('SET', idempotency, id, 'PX', idempotency_kept_ms) end
redis.call('ZADD', open, now_ms() + due_in_ms, id)
redis.call('ZADD', history, created_ms, id)
redis.call('HSET', held, id, cost)
return {id, ''}
