-- Ends a prediction whose record still has this SHA-1: `part` replaces what the record has from `offset` on. Returns 0 where it has changed, else 1.
-- Without `webhook_due_ms` there is no webhook to deliver, without `sample` no success.
-- `usage` is the field of `spent` that counts a model on this day. Those before `usage_from` are removed.
local record, open, ledger, expiry, preview, held, spent, recent, webhooks_due, deliveries = unpack(KEYS)
local old_sha1, offset, part, id, expires_ms, channel, webhook_due_ms, month, cost, sample, samples, usage, images, pixels, engine_ms, usage_from, has_previews = unpack(ARGV)

local old = redis.call('GET', record)
if not old or redis.sha1hex(old) ~= old_sha1 then return 0 end
local new = old:sub(1, offset) .. part
redis.call('SET', record, new) -- SETRANGE would leave room for growth behind it
redis.call('ZREM', open, id)
redis.call('ZREM', ledger, id)
redis.call('ZADD', expiry, expires_ms, id)
if has_previews == '1' then redis.call('DEL', preview) end
local this_month, reserved, day = unpack(redis.call('HMGET', spent, month, 'reserved', usage))
local account = {}
local function set(field, number)
  account[#account + 1] = field
  account[#account + 1] = string.format('%.0f', number)
end
local held_cost = reserved and redis.call('HGET', held, id)
if held_cost then set('reserved', reserved - held_cost) end
redis.call('HDEL', held, id)
if cost ~= '0' then set(month, (this_month or 0) + cost) end
if images ~= '0' then
  local sums, place = {images, pixels, engine_ms, cost}, 1
  for sum in string.gmatch(day or '', '%d+') do
    sums[place] = string.format('%.0f', sum + sums[place])
    place = place + 1
  end
  account[#account + 1] = usage
  account[#account + 1] = table.concat(sums, ' ')
end
if #account > 0 then redis.call('HSET', spent, unpack(account)) end
if images ~= '0' and not day then -- the first one of a day
  for _, field in ipairs(redis.call('HKEYS', spent)) do
    if field:find(' ', 1, true) and field < usage_from then redis.call('HDEL', spent, field) end
  end
end
if sample ~= '' and redis.call('LPUSH', recent, sample) >= 2 * samples then
  redis.call('LTRIM', recent, 0, samples - 1)
end
if webhook_due_ms ~= '' then
  redis.call('ZADD', webhooks_due, webhook_due_ms, id)
  redis.call('PUBLISH', webhooks_due, id)
  redis.call('ZADD', deliveries, webhook_due_ms, id)
  redis.call('SADD', deliveries .. ':open', id)
end
redis.call('PUBLISH', channel, id .. '\n' .. new)
return 1
