-- Takes this prediction out of its line, with a token, as if RQ had brought the token. Its key goes to the end of the
-- turns. Returns 0 where it is not in line, else 1. It is checked again after `check_ms`, in case it is never claimed.
-- include now.lua
-- include drop_token.lua
local turns, line, waiting, tokens, arrivals, open = unpack(KEYS)
local key_id, id, check_ms = unpack(ARGV)

if redis.call('ZREM', line, id) == 0 then return 0 end
redis.call('ZREM', waiting, id)
drop_token(tokens)
redis.call('ZREM', turns, key_id)
if redis.call('EXISTS', line) == 1 then
  redis.call('ZADD', turns, redis.call('INCR', arrivals), key_id)
end
redis.call('ZADD', open, 'XX', now_ms() + check_ms, id)
return 1
