-- Removes a prediction from its line, with a token.
-- include drop_token.lua
local line, waiting, tokens = unpack(KEYS)
local id = unpack(ARGV)

if redis.call('ZREM', line, id) == 0 then return end
redis.call('ZREM', waiting, id)
drop_token(tokens)
