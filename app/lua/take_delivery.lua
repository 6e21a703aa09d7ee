-- Takes the next delivery out of the lines, and returns its API key, its host and its id, or nil. It is due again after the lease.
-- The keys take turns, and so do the hosts of a key. `busy` lists in JSON the keys, and the lines as 'key host', that wait.
-- include now.lua
local turns, arrivals, due = unpack(KEYS)
local hosts_prefix, line_prefix, busy, lease_ms = unpack(ARGV)

local is_busy, count = {}, 0
for _, name in ipairs(cjson.decode(busy)) do
  is_busy[name] = true
  count = count + 1
end

-- As many keys and hosts as are busy may come before the one that is next.
local function next_line()
  for _, key_id in ipairs(redis.call('ZRANGE', turns, 0, count)) do
    if not is_busy[key_id] then
      for _, host in ipairs(redis.call('ZRANGE', hosts_prefix .. key_id, 0, count)) do
        if not is_busy[key_id .. ' ' .. host] then return key_id, host end
      end
    end
  end
end

-- Puts a member at the end of its turns, or removes it where nothing is left behind it.
local function end_turn(of, member, rest)
  if redis.call('EXISTS', rest) == 1 then
    redis.call('ZADD', of, redis.call('INCR', arrivals), member)
  else
    redis.call('ZREM', of, member)
  end
end

while true do
  local key_id, host = next_line()
  if not key_id then return nil end
  local hosts, line = hosts_prefix .. key_id, line_prefix .. key_id .. ':' .. host
  local id = redis.call('ZPOPMIN', line)[1]
  end_turn(hosts, host, line)
  end_turn(turns, key_id, hosts)
  if id and redis.call('ZSCORE', due, id) then -- else it was deleted, or an older courier delivered it
    redis.call('ZADD', due, now_ms() + lease_ms, id)
    return {key_id, host, id}
  end
end
