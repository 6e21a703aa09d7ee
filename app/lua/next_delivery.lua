-- Returns in how many milliseconds the next delivery is due: 0 if one waits in a line, nil if there is none.
-- include now.lua
local due, turns = unpack(KEYS)

if redis.call('EXISTS', turns) == 1 then return 0 end
local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
if not first[2] then return nil end
return math.max(0, first[2] - now_ms())
