-- Takes what is due of a prediction before its end out of the outbox. Returns 0 where it has ended, and then leaves it: its end is due.
local open, due = unpack(KEYS)
local id = unpack(ARGV)

if not redis.call('ZSCORE', open, id) then return 0 end
redis.call('ZREM', due, id)
return 1
