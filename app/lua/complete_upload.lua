-- Records that the file of an upload has come, and lists it. Returns 0 where the upload was deleted, else 1.
local record, uploads = unpack(KEYS)
local value, id, opened_s = unpack(ARGV)

if not redis.call('SET', record, value, 'XX') then return 0 end
redis.call('ZADD', uploads, opened_s, id)
return 1
