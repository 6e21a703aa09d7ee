-- Deletes a final prediction. Its idempotency key may name a younger prediction by now, and then stays.
-- With `late_ms` its id is due for deletion once more at that time.
local record, history, expiry, delivery, webhooks_due, starts, deliveries, preview, ledger, idempotency = unpack(KEYS)
local id, late_ms = unpack(ARGV)

redis.call('DEL', record, delivery, preview)
redis.call('ZREM', history, id)
redis.call('ZREM', ledger, id)
if late_ms == '' then
  redis.call('ZREM', expiry, id)
else
  redis.call('ZADD', expiry, late_ms, id)
end
redis.call('ZREM', webhooks_due, id)
redis.call('SREM', starts, id)
redis.call('ZREM', deliveries, id)
redis.call('SREM', deliveries .. ':open', id)
if idempotency and redis.call('GET', idempotency) == id then redis.call('DEL', idempotency) end
