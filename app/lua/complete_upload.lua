-- Records that the file of an upload has come, lists it, counts its bytes, and plans its deletion. Returns 0 where the upload was
-- deleted, -1 where its key would have more bytes than it may ('': any number), else 1.
local record, uploads, expiry, held, bytes = unpack(KEYS)
local value, id, opened_s, size, max_bytes, expires_s = unpack(ARGV)

if redis.call('EXISTS', record) == 0 then return 0 end
local more = tonumber(size) - tonumber(redis.call('HGET', held, id) or 0)
if max_bytes ~= '' and tonumber(redis.call('GET', bytes) or 0) + more > tonumber(max_bytes) then return -1 end
redis.call('SET', record, value)
redis.call('ZADD', uploads, opened_s, id)
redis.call('ZADD', expiry, expires_s, id)
redis.call('HSET', held, id, size)
redis.call('INCRBY', bytes, more)
return 1
