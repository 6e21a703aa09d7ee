-- Why a prediction is refused, or '' where it is not. `open`, `held` and `spent` are keys; amounts are nanodollars, and a
-- limit of '' is no limit.
local function refusal(open, held, spent, month, cost, queue_limit, in_flight_limit, budget)
  if queue_limit ~= '' and redis.call('ZCARD', open) >= tonumber(queue_limit) then return 'queue' end
  if in_flight_limit ~= '' and redis.call('HLEN', held) >= tonumber(in_flight_limit) then return 'in_flight' end
  if budget == '' then return '' end
  local sum = tonumber(redis.call('HGET', spent, month) or 0) + tonumber(cost)
  for _, held_cost in ipairs(redis.call('HVALS', held)) do sum = sum + tonumber(held_cost) end
  return sum > tonumber(budget) and 'budget' or ''
end
