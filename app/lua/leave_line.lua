-- Removes a prediction from its line, with its token. One that is not in line has no token: those left are others'.
local line, tokens, job = unpack(KEYS)
local id, token = unpack(ARGV)

if redis.call('ZREM', line, id) == 1 then
  redis.call('LREM', tokens, 0, token)
  redis.call('DEL', job)
end
