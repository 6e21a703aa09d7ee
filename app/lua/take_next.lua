-- Takes the next prediction out of the lines. Returns its id, whether it is claimed now, and its record as it was, or nil. Its key goes to the end of the turns.
-- `claim` ends the text of a record that was never changed, and is all that its claim changes. The caller decides about any other record:
-- one that was changed, whose failure is known, that is due for a check, or that sends a webhook at its start. Without `claim` it decides about each.
-- What is not claimed is checked again after `check_ms`, in case it never is.
-- include now.lua
local turns, waiting, arrivals, open = unpack(KEYS)
local line_prefix, record_prefix, claim, lease_until_ms, channel, check_ms = unpack(ARGV)

local DECIDED_BY_CALLER = {'"status":', '"attempt":', '"queued_at":', '"known_failure":', '"events":'} -- never in a string: JSON escapes the quotes
local function has_one_claim(record)
  if claim == '' or not record or record:sub(-1) ~= '}' then return false end
  for _, field in ipairs(DECIDED_BY_CALLER) do
    if record:find(field, 1, true) then return false end
  end
  return true
end

-- A call whose reply was lost comes again, and gets what it has claimed.
local function claimed_before()
  for _, id in ipairs(redis.call('ZRANGE', open, lease_until_ms, lease_until_ms, 'BYSCORE')) do
    local record = redis.call('GET', record_prefix .. id)
    if record and record:sub(-#claim) == claim then return {id, 1, record:sub(1, -#claim - 1) .. '}'} end
  end
end

local before = claim ~= '' and claimed_before()
if before then return before end

while true do
  local key_id, next_key_id = unpack(redis.call('ZRANGE', turns, 0, 1))
  if not key_id then
    redis.call('DEL', waiting) -- no line is left; a klein without this set took what is still in it
    return nil
  end
  local line = line_prefix .. key_id
  local id = redis.call('ZPOPMIN', line)[1]
  if not id or next_key_id and redis.call('EXISTS', line) == 0 then
    redis.call('ZREM', turns, key_id)
  elseif next_key_id then -- a key alone keeps its turn, also behind its last one: what arrives gets a later one
    redis.call('ZADD', turns, redis.call('INCR', arrivals), key_id)
  end
  if id then
    redis.call('ZREM', waiting, id)
    local record = redis.call('GET', record_prefix .. id)
    -- LT: what is due for a check before the lease would end may be past its queue timeout
    if has_one_claim(record) and redis.call('ZADD', open, 'XX', 'LT', 'CH', lease_until_ms, id) == 1 then
      redis.call('SETRANGE', record_prefix .. id, #record - 1, claim)
      redis.call('PUBLISH', channel, id)
      return {id, 1, record}
    end
    redis.call('ZADD', open, 'XX', now_ms() + check_ms, id)
    return {id, 0, record}
  end
end
