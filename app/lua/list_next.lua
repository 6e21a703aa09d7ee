-- Lists the ids that take_next would return, in its order, and takes none.
local turns = unpack(KEYS)
local line_prefix, most = unpack(ARGV)

most = tonumber(most)
local key_ids, ids = redis.call('ZRANGE', turns, 0, -1), {}
for place = 0, most - 1 do
  local left = {}
  for _, key_id in ipairs(key_ids) do
    local id = redis.call('ZRANGE', line_prefix .. key_id, place, place)[1]
    if #ids >= most then return ids end
    if id then
      ids[#ids + 1] = id
      left[#left + 1] = key_id
    end
  end
  key_ids = left
end
return ids
