-- Puts a prediction into the line of its API key, with a token.
-- include join.lua
local line, waiting, turns, arrivals, tokens = unpack(KEYS)
local id, key_id, is_retry = unpack(ARGV)

join(line, waiting, turns, arrivals, tokens, id, key_id, is_retry)
