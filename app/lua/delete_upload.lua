-- Deletes an upload and what it counts for. Its file is deleted afterwards.
local record, uploads, held, bytes = unpack(KEYS)
local id = unpack(ARGV)

redis.call('DEL', record)
redis.call('ZREM', uploads, id)
redis.call('DECRBY', bytes, redis.call('HGET', held, id) or 0)
redis.call('HDEL', held, id)
if redis.call('EXISTS', held) == 0 then redis.call('DEL', bytes) end
