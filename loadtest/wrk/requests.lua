-- Sends requests made of three pieces: what stands before a record, the record,
-- what stands after it. Records (signatures, route slugs) have one width and lie
-- in one file, so that no request is signed or drawn while the clock runs.
-- Arguments: BEFORE_FILE AFTER_FILE RECORDS_FILE WIDTH FIRST MEAN_PAUSE_MS
-- Without pause each connection sends as soon as it has its answer; with one it
-- waits a random time of that mean, which gives every target the same load.

local ffi = require("ffi")
ffi.cdef [[
    void *malloc(size_t size);
    size_t fread(void *into, size_t size, size_t count, void *file);
]]

local before, after, records
local width, count, position = 0, 0, 0

local function read(path)
    local file = assert(io.open(path, "rb"))
    local content = file:read("*a")
    file:close()
    return content
end

-- Outside of Lua's heap: tens of megabytes in it would keep the collector away
-- for so long that requests which differ in a few bytes alone, as signed ones
-- do, fill one slot of the table of strings; in some runs, making the next one
-- then took longer than any proxy takes.
local function read_outside(path)
    local file = assert(io.open(path, "rb"))
    local size = file:seek("end")
    file:seek("set")
    local bytes = ffi.cast("char *", ffi.C.malloc(size))
    assert(ffi.C.fread(bytes, 1, size, file) == size)
    file:close()
    return bytes, size
end

local function paced(mean)
    math.randomseed(20261122)
    return function()
        return math.floor(math.random() * 2 * mean + 0.5)
    end
end

local function fixed()
    return before .. after
end
local function varying()
    local start = position * width
    position = position + 1
    if position == count then
        position = 0
    end
    return before .. ffi.string(records + start, width) .. after
end

function init(args)
    before, after = read(args[1]), read(args[2])
    width, position = tonumber(args[4]), tonumber(args[5])
    if width == 0 then
        local whole = fixed()
        request = function() return whole end
    else
        local size
        records, size = read_outside(args[3])
        count = size / width
        request = varying
    end
    if tonumber(args[6]) > 0 then
        delay = paced(tonumber(args[6]))
    end
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d,' ..
        '"status_errors":%d,"socket_errors":%d}\n',
        summary.requests, summary.duration, summary.bytes,
        latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
