-- The sum of the held costs: kept in `reserved` from the first time that it is asked for.
local function reserved_sum(held, reserved)
  local sum = redis.call('GET', reserved)
  if not sum then
    sum = 0
    for _, cost in ipairs(redis.call('HVALS', held)) do sum = sum + tonumber(cost) end
    redis.call('SET', reserved, string.format('%.0f', sum))
  end
  return tonumber(sum)
end

-- Why a prediction is refused, or '' where it is not. `open`, `held`, `reserved` and `spent` are keys; amounts are
-- nanodollars, and a limit of '' is no limit. A key without a limit of its own may hold half of the queue's places that other
-- keys leave, so that there are always some left.
local function refusal(open, held, reserved, spent, month, cost, queue_limit, in_flight_limit, budget)
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
  local spent_now = tonumber(redis.call('HGET', spent, month) or 0)
  return spent_now + reserved_sum(held, reserved) + tonumber(cost) > tonumber(budget) and 'budget' or ''
end
