-- Replaces a record that still has this SHA-1, and everything that follows from it. Returns 0 where it has changed, else 1.
-- Without `due_ms` the time of the next check stays, without `ends_by_ms` the time in the ledger; without `webhook_due_ms` there is no webhook to deliver.
-- One that is due before the end keeps its time.
local record, open, expiry, webhooks_due, starts, deliveries, held, reserved, spent, preview, ledger, recent, usage = unpack(KEYS)
local old_sha1, new, id, is_end, due_ms, ends_by_ms, expires_ms, channel, ended_channel, webhook_due_ms, owes_start, month, cost, sample, samples, model, images, pixels, engine_ms, usage_kept_s = unpack(ARGV)

local old = redis.call('GET', record)
if not old or redis.sha1hex(old) ~= old_sha1 then return 0 end
redis.call('SET', record, new)
if is_end == '0' then
  if due_ms ~= '' then redis.call('ZADD', open, due_ms, id) end
  if ends_by_ms ~= '' then redis.call('ZADD', ledger, ends_by_ms, id) end
  if webhook_due_ms ~= '' then redis.call('ZADD', webhooks_due, 'NX', webhook_due_ms, id) end
  if owes_start == '1' then redis.call('SADD', starts, id) end
else
  redis.call('PUBLISH', ended_channel, id .. '\n' .. new)
  redis.call('ZREM', open, id)
  redis.call('ZREM', ledger, id)
  redis.call('ZADD', expiry, expires_ms, id)
  redis.call('DEL', preview)
  local held_cost = redis.call('HGET', held, id)
  redis.call('HDEL', held, id)
  if redis.call('EXISTS', held) == 0 then
    redis.call('DEL', reserved)
  elseif held_cost and redis.call('EXISTS', reserved) == 1 then
    redis.call('DECRBY', reserved, held_cost)
  end
  if cost ~= '0' then redis.call('HINCRBY', spent, month, cost) end
  if sample ~= '' then
    redis.call('LPUSH', recent, sample)
    redis.call('LTRIM', recent, 0, samples - 1)
  end
  if images ~= '0' then
    redis.call('HINCRBY', usage, model .. ' images', images)
    redis.call('HINCRBY', usage, model .. ' pixels', pixels)
    redis.call('HINCRBY', usage, model .. ' engine_ms', engine_ms)
    redis.call('HINCRBY', usage, model .. ' nanodollars', cost)
    redis.call('EXPIRE', usage, usage_kept_s)
  end
  if webhook_due_ms ~= '' then
    redis.call('ZADD', webhooks_due, webhook_due_ms, id)
    redis.call('ZADD', deliveries, webhook_due_ms, id)
    redis.call('SADD', deliveries .. ':open', id)
  end
end
redis.call('PUBLISH', channel, id)
return 1
