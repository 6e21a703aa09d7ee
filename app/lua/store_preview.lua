-- Stores a preview of a prediction that has not ended.
local open, preview = unpack(KEYS)
local id, image, kept_s = unpack(ARGV)

if redis.call('ZSCORE', open, id) then redis.call('SET', preview, image, 'EX', kept_s) end
