-- Returns the ids that take_next would return, this many at most, in its order.
local function next_ids(turns, line_prefix, limit)
  local key_ids, ids, from = {}, {}, 0
  repeat
    local part = redis.call('ZRANGE', turns, from, from + limit - 1)
    for _, key_id in ipairs(part) do
      local id = redis.call('ZRANGE', line_prefix .. key_id, 0, 0)[1]
      if id then
        ids[#ids + 1] = id
        key_ids[#key_ids + 1] = key_id
        if #ids == limit then return ids end
      end
    end
    from = from + limit
  until #part < limit
  local place, before = 1, 0
  while #ids > before do
    before = #ids
    for _, key_id in ipairs(key_ids) do
      local id = redis.call('ZRANGE', line_prefix .. key_id, place, place)[1]
      if id then
        ids[#ids + 1] = id
        if #ids == limit then return ids end
      end
    end
    place = place + 1
  end
  return ids
end
