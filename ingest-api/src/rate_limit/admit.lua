-- Takes events off allowances that several processes share.
--
-- An allowance is one number under one key: the microsecond at which its whole burst would be there
-- again. A key whose time has passed is as good as none, so each key expires by itself. It is
-- Redis's own clock that counts, the same for everybody.
--
-- ARGV: for each event an allowance of its address and one of its ad there, and of each of these the
-- number of its key (0: there is no such limit), how long one event takes to come back, and how
-- long the whole burst does, in microseconds.
--
-- Answers for each event and allowance whether the event was taken off it (1) or more than it held
-- (0), or was not measured by it (2), and how many microseconds are missing to its whole burst.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local whole_at, changed = {}, {}

local function take(key, interval, window)
  if key == 0 then
    return 2, 0
  end
  if not whole_at[key] then
    whole_at[key] = math.max(tonumber(redis.call('GET', KEYS[key]) or 0), now)
  end
  local after = whole_at[key] + interval
  if after - now > window then
    return 0, whole_at[key] - now
  end
  whole_at[key] = after
  changed[key] = true
  return 1, after - now
end

local answers = {}
for event = 0, #ARGV / 6 - 1 do
  local first = event * 6
  local taken = 1
  for allowance = 0, 1 do
    local at = first + allowance * 3
    local missing = 0
    -- What one allowance refuses is not taken off the next.
    if taken == 0 then
      taken = 0
      answers[#answers + 1] = 2
    else
      taken, missing = take(tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]))
      answers[#answers + 1] = taken
    end
    answers[#answers + 1] = missing
  end
end

for key in pairs(changed) do
  local missing_ms = math.ceil((whole_at[key] - now) / 1000)
  redis.call('SET', KEYS[key], string.format('%.0f', whole_at[key]), 'PX', missing_ms)
end
return answers
