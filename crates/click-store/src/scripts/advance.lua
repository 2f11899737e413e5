-- Adds the events of one counted batch to the totals of one partition.
-- KEYS[1] the partition's hash
-- ARGV    epoch, expected offset, new offset, then ad id and number of events in turn
-- Returns {1, offset} advanced; {2, offset} was past the batch's end already; {0, -1} a gap.
-- Harmless late and twice: once applied, the offset is no longer the expected one.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if held[1] ~= ARGV[1] then
  return {0, -1}
end
local offset, expected, new = tonumber(held[2]), tonumber(ARGV[2]), tonumber(ARGV[3])
if offset == expected then
  for i = 4, #ARGV, 2 do
    redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  end
  redis.call('HSET', KEYS[1], 'offset', ARGV[3])
  return {1, new}
end
-- "Past" is measured at the batch's end: a hash in the middle of the batch has counted part of it.
if offset >= new then
  return {2, offset}
end
return {0, -1}
