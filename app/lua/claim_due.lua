-- Claims ids whose time has come, and returns them. Each is due again after the lease.
-- include now.lua
local due = unpack(KEYS)
local most, lease_ms = unpack(ARGV)

local now = now_ms()
local ids = redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
for _, id in ipairs(ids) do redis.call('ZADD', due, now + lease_ms, id) end
return ids
