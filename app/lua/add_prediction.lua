-- Stores a new prediction and puts it in line. Returns the id that was accepted, '' and how many come before it, or '' and why it
-- was refused.
-- The id is another prediction's where the idempotency key has come before. The client repeats a call whose reply was
-- lost; by then the prediction may have changed, so a record that exists is accepted and not written again.
-- include limits.lua
-- include join.lua
-- include place.lua
local record, open, history, held, spent, line, waiting, turns, arrivals, tokens, ledger, idempotency = unpack(KEYS)
local value, id, key_id, created_ms, due_ms, look_at_ms, idempotency_kept_ms, month, cost, queue_limit, in_flight_limit, budget, line_prefix = unpack(ARGV)

if idempotency then
  local first = redis.call('SET', idempotency, id, 'NX', 'GET', 'PX', idempotency_kept_ms)
  if first and first ~= id then return {first, ''} end
end
if not redis.call('SET', record, value, 'NX') then return {id, ''} end
local refused = refusal(open, held, spent, month, cost, queue_limit, in_flight_limit, budget)
if refused ~= '' then
  redis.call('DEL', record)
  if idempotency then redis.call('DEL', idempotency) end
  return {'', refused}
end
redis.call('ZADD', open, due_ms, id)
if look_at_ms ~= '' then redis.call('ZADD', ledger, look_at_ms, id) end
redis.call('ZADD', history, created_ms, id)
redis.call('HSET', held, id, cost)
if budget ~= '' or redis.call('HEXISTS', spent, 'reserved') == 1 then redis.call('HINCRBY', spent, 'reserved', cost) end
local rank = join(line, waiting, turns, arrivals, tokens, id, key_id, '0')
return {id, '', count_ahead(turns, line_prefix, key_id, rank)}
