-- Replaces the record of an upload that is still `old`. Returns 0 where it has changed, else 1.
local record = unpack(KEYS)
local old, new = unpack(ARGV)

if redis.call('GET', record) ~= old then return 0 end
redis.call('SET', record, new)
return 1
