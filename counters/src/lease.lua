-- A token bucket on the server's clock. KEYS[1] holds "<µs> <debt in tokens>".
-- ARGV: capacity, requests, window in µs, tokens needed at once, tokens wanted.
-- A negative need gives tokens back.
-- Returns tokens granted, whole tokens left, µs until the next one.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local capacity = tonumber(ARGV[1])
local rate = tonumber(ARGV[2]) / tonumber(ARGV[3])
local need = tonumber(ARGV[4])
local want = tonumber(ARGV[5])

local debt = 0
local kept = redis.call('GET', KEYS[1])
if kept then
  local was, owed = string.match(kept, '^(%d+) (%S+)$')
  if was then
    debt = tonumber(owed) - math.max(0, now - tonumber(was)) * rate
  end
end
debt = math.min(math.max(debt, 0), capacity)

-- Beyond the immediate need only a sixteenth of what is left: where tokens are
-- scarce, none should expire unused at an instance.
local free = math.floor(capacity - debt + 0.000001)
local granted = math.min(free, math.max(need, math.min(want, math.floor(free / 16))))
debt = math.max(0, debt + granted)

if debt == 0 then
  redis.call('DEL', KEYS[1])
else
  local life = math.min(math.ceil(debt / rate / 1000) + 1000, 1e13)
  redis.call('SET', KEYS[1], string.format('%.0f %.17g', now, debt), 'PX', string.format('%.0f', life))
end

local left = math.floor(capacity - debt + 0.000001)
local wait = math.max(0, math.ceil((1 - (capacity - debt)) / rate))
return {granted, left, wait}
