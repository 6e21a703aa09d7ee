-- Drops one token of a queue, whichever it is: all are alike. Those of klein 0.1 have a job of RQ.
local function drop_token(tokens)
  local token = redis.call('LPOP', tokens)
  if token and token ~= 'token' then redis.call('DEL', 'rq:job:' .. token) end
end
