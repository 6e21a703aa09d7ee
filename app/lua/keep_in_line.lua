-- Plans the next check of a prediction that waits in line: after `check_ms`, or at its queue timeout if that is sooner.
-- Returns 0 where it is not in line, else 1.
-- include now.lua
local waiting, open = unpack(KEYS)
local id, check_ms, timeout_ms = unpack(ARGV)

if not redis.call('ZSCORE', waiting, id) then return 0 end
local due_ms = now_ms() + check_ms
if timeout_ms ~= '' then due_ms = math.min(due_ms, tonumber(timeout_ms)) end
redis.call('ZADD', open, 'XX', due_ms, id)
return 1
