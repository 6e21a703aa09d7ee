-- What is spent this month, and the sum of the held costs: kept in `spent` from the first time that it is asked for.
local function committed(held, spent, month)
  local this_month, reserved = unpack(redis.call('HMGET', spent, month, 'reserved'))
  if not reserved then
    reserved = 0
    for _, cost in ipairs(redis.call('HVALS', held)) do reserved = reserved + cost end
    redis.call('HSET', spent, 'reserved', string.format('%.0f', reserved))
  end
  return (this_month or 0) + reserved
end

-- Why a prediction is refused, or '' where it is not. `open`, `held` and `spent` are keys; amounts are
-- nanodollars, and a limit of '' is no limit. A key without a limit of its own may hold half of the queue's places that other
-- keys leave, so that there are always some left.
local function refusal(open, held, spent, month, cost, queue_limit, in_flight_limit, budget)
  local open_count = queue_limit ~= '' and redis.call('ZCARD', open)
  if open_count and open_count >= tonumber(queue_limit) then return 'queue' end
  if in_flight_limit ~= '' then
    if redis.call('HLEN', held) >= tonumber(in_flight_limit) then return 'in_flight' end
  elseif open_count then
    local in_flight = redis.call('HLEN', held)
    local left = tonumber(queue_limit) - (open_count - in_flight)
    if in_flight >= math.ceil(left / 2) then return 'share' end
  end
  if budget == '' then return '' end
  return committed(held, spent, month) + cost > tonumber(budget) and 'budget' or ''
end
