-- Returns how many predictions take_next would return before this one, or nil where it is not in line.
-- Without an id it is one that would join its line now.
-- include place.lua
local turns, line = unpack(KEYS)
local line_prefix, key_id, id = unpack(ARGV)

local rank = id == '' and redis.call('ZCARD', line) or redis.call('ZRANK', line, id)
if not rank then return nil end
return count_ahead(turns, line_prefix, key_id, rank)
