-- Writes `part` at `offset` of a record that still has this SHA-1, and what follows from it. Returns 0 where it has changed, else 1.
-- Without `webhook_due_ms` the receiver is told nothing, and what is due before the end keeps its time. Without `due_ms` the time of the next check stays, without `channel` nothing is announced.
local record, open, webhooks_due, starts = unpack(KEYS)
local old_sha1, offset, part, id, due_ms, channel, webhook_due_ms, owes_start = unpack(ARGV)

local old = redis.call('GET', record)
if not old or redis.sha1hex(old) ~= old_sha1 then return 0 end
redis.call('SETRANGE', record, offset, part)
if due_ms ~= '' then redis.call('ZADD', open, due_ms, id) end
if webhook_due_ms ~= '' and redis.call('ZADD', webhooks_due, 'NX', webhook_due_ms, id) == 1 then redis.call('PUBLISH', webhooks_due, id) end
if owes_start == '1' then redis.call('SADD', starts, id) end
if channel ~= '' then redis.call('PUBLISH', channel, id) end
return 1
