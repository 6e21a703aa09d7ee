-- Returns why a prediction would be refused now, or ''.
-- include limits.lua
local open, held, spent = unpack(KEYS)
local month, cost, queue_limit, in_flight_limit, budget = unpack(ARGV)

return refusal(open, held, spent, month, cost, queue_limit, in_flight_limit, budget)
