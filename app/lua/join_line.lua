-- Puts a prediction into the line of its API key; one that is there already keeps its place.
-- A retry goes to the front, and its key takes the next turn: both have had their turn before.
local line, turns, arrivals = unpack(KEYS)
local id, key_id, is_retry = unpack(ARGV)

local number = is_retry == '1' and 0 or redis.call('INCR', arrivals)
redis.call('ZADD', line, 'NX', number, id)
redis.call('ZADD', turns, number == 0 and 'LT' or 'NX', number, key_id)
