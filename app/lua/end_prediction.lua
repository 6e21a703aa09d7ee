-- Ends a prediction whose record still has this SHA-1: `part` replaces what the record has from `offset` on. Returns 0 where it has changed, else 1.
-- Without `webhook_due_ms` there is no webhook to deliver, without `sample` no success.
local record, open, ledger, expiry, preview, held, reserved, spent, recent, usage, webhooks_due, deliveries = unpack(KEYS)
local old_sha1, offset, part, id, expires_ms, channel, webhook_due_ms, month, cost, sample, samples, model, images, pixels, engine_ms, usage_kept_s, has_previews = unpack(ARGV)

local old = redis.call('GET', record)
if not old or redis.sha1hex(old) ~= old_sha1 then return 0 end
local new = old:sub(1, offset) .. part
redis.call('SET', record, new) -- SETRANGE would leave room for growth behind it
redis.call('ZREM', open, id)
redis.call('ZREM', ledger, id)
redis.call('ZADD', expiry, expires_ms, id)
if has_previews == '1' then redis.call('DEL', preview) end
if redis.call('EXISTS', reserved) == 0 then
  redis.call('HDEL', held, id)
else
  local held_cost = redis.call('HGET', held, id)
  redis.call('HDEL', held, id)
  if redis.call('EXISTS', held) == 0 then
    redis.call('DEL', reserved)
  elseif held_cost then
    redis.call('DECRBY', reserved, held_cost)
  end
end
if cost ~= '0' then redis.call('HINCRBY', spent, month, cost) end
if sample ~= '' and redis.call('LPUSH', recent, sample) >= 2 * samples then
  redis.call('LTRIM', recent, 0, samples - 1)
end
if images ~= '0' then
  local sums = redis.call('HGET', usage, model)
  local new_sums, place = {images, pixels, engine_ms, cost}, 1
  for sum in string.gmatch(sums or '', '%d+') do
    new_sums[place] = string.format('%.0f', sum + new_sums[place])
    place = place + 1
  end
  redis.call('HSET', usage, model, table.concat(new_sums, ' '))
  if not sums then redis.call('EXPIRE', usage, usage_kept_s) end
end
if webhook_due_ms ~= '' then
  redis.call('ZADD', webhooks_due, webhook_due_ms, id)
  redis.call('ZADD', deliveries, webhook_due_ms, id)
  redis.call('SADD', deliveries .. ':open', id)
end
redis.call('PUBLISH', channel, id .. '\n' .. new)
return 1
