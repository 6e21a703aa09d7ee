-- Lists the ids that take_next would return, in its order, and takes none.
-- include next_ids.lua
local turns = unpack(KEYS)
local line_prefix, limit = unpack(ARGV)

return next_ids(turns, line_prefix, tonumber(limit))
