"""What Redis does to the records at one stroke, in Lua; the store says when."""

from app.predictions.accounts import REFUSAL

# binds `now`, in ms of Redis time, for the script that follows
NOW_MS = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
# KEYS record, open, history, held, spent, and with an idempotency key the id that it stands for
# ARGV record, id, created (ms), look again after (ms), idempotency key kept for (ms), and what `refusal` judges
# gives the id that was accepted, or why none was. Redis's client sends it again where the reply was lost: by then the
# prediction may have moved on.
ADD = f"""{NOW_MS}{REFUSAL}
if KEYS[6] then
  local first = redis.call('GET', KEYS[6])
  if first and first ~= ARGV[2] then return {{first, ''}} end
end
if not redis.call('SET', KEYS[1], ARGV[1], 'NX') then return {{ARGV[2], ''}} end
local refused = refusal(KEYS[2], KEYS[4], KEYS[5], unpack(ARGV, 6))
if refused ~= '' then
  redis.call('DEL', KEYS[1])
  return {{'', refused}}
end
if KEYS[6] then redis.call('SET', KEYS[6], ARGV[2], 'PX', ARGV[5]) end
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[2])
redis.call('HSET', KEYS[4], ARGV[2], ARGV[7])
return {{ARGV[2], ''}}
"""
# KEYS open, held, spent; ARGV what `refusal` judges
CHECK = f"{REFUSAL} return refusal(KEYS[1], KEYS[2], KEYS[3], unpack(ARGV))"
# KEYS record; the record beside the time (ms) at which it was read
READ = f"{NOW_MS} return {{now, redis.call('GET', KEYS[1])}}"
# KEYS open, preview; ARGV id, picture, kept for (s): there is none after the end
SHOW = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) end
"""
# KEYS record, open, expiry, webhooks due, webhooks of the key, held, spent, preview
# ARGV old, new, id, next look (ms; '' when final), expiry (ms), channel, webhook due (ms; '' for none), month, cost
CHANGE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[4] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
else
  redis.call('ZREM', KEYS[2], ARGV[3])
  redis.call('ZADD', KEYS[3], ARGV[5], ARGV[3])
  redis.call('DEL', KEYS[8])
  redis.call('HDEL', KEYS[6], ARGV[3])
  if ARGV[9] ~= '0' then redis.call('HINCRBY', KEYS[7], ARGV[8], ARGV[9]) end
  if ARGV[7] ~= '' then
    redis.call('ZADD', KEYS[4], ARGV[7], ARGV[3])
    redis.call('ZADD', KEYS[5], ARGV[7], ARGV[3])
  end
end
redis.call('PUBLISH', ARGV[6], ARGV[3])
return 1
"""
# KEYS open or expiry; ARGV most, look again after (ms): whoever gets an id has that long to deal with it
CLAIM_DUE = f"""{NOW_MS}
local ids = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], now + ARGV[2], id) end
return ids
"""
