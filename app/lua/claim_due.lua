-- Claims ids whose time has come, and returns them. Each is due again after the lease.
-- A time further ahead than `horizon_ms` (none where it is '') was set before Redis's clock went back: it becomes one lease.
-- include now.lua
local due = unpack(KEYS)
local limit, lease_ms, horizon_ms = unpack(ARGV)

local now = now_ms()
local ids = redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
local again = {}
if horizon_ms ~= '' then
  again = redis.call('ZRANGE', due, '(' .. now + horizon_ms, '+inf', 'BYSCORE', 'LIMIT', 0, limit)
end
for _, part in ipairs({ids, again}) do
  for _, id in ipairs(part) do redis.call('ZADD', due, now + lease_ms, id) end
end
return ids
