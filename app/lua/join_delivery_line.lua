-- Puts a due delivery that still exists into the line of its API key and host; one that is there already keeps its place.
-- It is offered again after `check_ms`, in case it is lost.
-- include now.lua
local due, turns, hosts, line, arrivals = unpack(KEYS)
local id, key_id, host, check_ms = unpack(ARGV)

if not redis.call('ZSCORE', due, id) then return end
redis.call('ZADD', due, now_ms() + check_ms, id)
local number = redis.call('INCR', arrivals)
redis.call('ZADD', line, 'NX', number, id)
redis.call('ZADD', hosts, 'NX', number, host)
redis.call('ZADD', turns, 'NX', number, key_id)
