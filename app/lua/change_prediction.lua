-- Replaces a record that is still `old`, and everything that follows from it. Returns 0 where it has changed, else 1.
-- A change without `due_ms` is the end of the prediction; one without `webhook_due_ms` has no webhook to deliver.
local record, open, expiry, webhooks_due, deliveries, held, spent, preview = unpack(KEYS)
local old, new, id, due_ms, expires_ms, channel, webhook_due_ms, month, cost = unpack(ARGV)

if redis.call('GET', record) ~= old then return 0 end
redis.call('SET', record, new)
if due_ms ~= '' then
  redis.call('ZADD', open, due_ms, id)
else
  redis.call('ZREM', open, id)
  redis.call('ZADD', expiry, expires_ms, id)
  redis.call('DEL', preview)
  redis.call('HDEL', held, id)
  if cost ~= '0' then redis.call('HINCRBY', spent, month, cost) end
  if webhook_due_ms ~= '' then
    redis.call('ZADD', webhooks_due, webhook_due_ms, id)
    redis.call('ZADD', deliveries, webhook_due_ms, id)
  end
end
redis.call('PUBLISH', channel, id)
return 1
