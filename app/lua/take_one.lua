-- Takes this prediction out of its line, with a token, as if RQ had brought the token. Its key goes to the end of the
-- turns. Returns 0 where it is not in line, else 1.
local turns, line, tokens, arrivals = unpack(KEYS)
local key_id, id, token_prefix = unpack(ARGV)

if redis.call('ZREM', line, id) == 0 then return 0 end
local token = redis.call('LPOP', tokens)
if token then redis.call('DEL', token_prefix .. token) end
redis.call('ZREM', turns, key_id)
if redis.call('EXISTS', line) == 1 then
  redis.call('ZADD', turns, redis.call('INCR', arrivals), key_id)
end
return 1
