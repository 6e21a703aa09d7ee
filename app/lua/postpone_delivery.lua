-- Makes a delivery that is still to be made due after a pause.
-- include now.lua
local due = unpack(KEYS)
local id, pause_ms = unpack(ARGV)

redis.call('ZADD', due, 'XX', now_ms() + pause_ms, id)
