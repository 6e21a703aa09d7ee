-- Creates an upload that expects a file, unless its key has as many as it may ('': any number). Returns 0 where it is refused, else 1.
local record, expiry, held = unpack(KEYS)
local value, id, expires_s, limit = unpack(ARGV)

if limit ~= '' and redis.call('HLEN', held) >= tonumber(limit) then return 0 end
redis.call('SET', record, value)
redis.call('ZADD', expiry, expires_s, id)
redis.call('HSET', held, id, 0)
return 1
