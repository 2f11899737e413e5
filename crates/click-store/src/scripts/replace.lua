-- Writes the totals of one partition anew, unless somebody has written them since they were seen.
-- KEYS[1] the partition's hash
-- ARGV    epoch and offset as they were seen ('' and '' for no hash), epoch, offset, then ad id and
--         number of events in turn
-- Returns 1 replaced; 0 it is no longer as it was seen.
-- Harmless late and twice: the hash is then no longer as it was seen, or it is written the same again.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
-- A hash that says no epoch (a UUID) or no offset was not written by these scripts: as good as none.
if not held[1] or #held[1] ~= 36 or not tonumber(held[2] or '') then
  held = {'', ''}
end
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'offset', ARGV[4])
for i = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 1
