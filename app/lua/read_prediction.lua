-- Returns the time at which a record is read, and the record.
-- include now.lua
local record = unpack(KEYS)

return {now_ms(), redis.call('GET', record)}
