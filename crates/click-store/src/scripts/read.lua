#!lua flags=no-writes
-- Returns every hash of KEYS, all as they are at one moment.
local hashes = {}
for i, key in ipairs(KEYS) do
  hashes[i] = redis.call('HGETALL', key)
end
return hashes
