-- Script for wrk: posts one picture again and again, and checks every answer. load.py starts it and reads its last line.
-- Arguments after `--`: file with the body of the request, expected number of boxes, the sums of their x1, y1, x2 and y2
-- in pixels, and the mean pause of a client before it asks again, in milliseconds.
-- Sums do not depend on the order of boxes, and wrong boxes hardly ever have the same number and the same four sums.

local CORNERS = { "x1", "y1", "x2", "y2" }
local PIXELS = 1 -- tolerance of each coordinate on average: engines differ in their last bits
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method, wrk.body = "POST", file:read("*a")
  file:close()
  expected_boxes, expected_sums = tonumber(args[2]), {}
  for index, corner in ipairs(CORNERS) do
    expected_sums[corner] = tonumber(args[2 + index])
  end
  local pause = tonumber(args[7])
  if pause > 0 then
    -- wrk pauses only if this function exists. Pauses are exponentially distributed, as if clients came at random.
    math.randomseed(os.time())
    function delay()
      return math.floor(-pause * math.log(1 - math.random()) + 0.5)
    end
  end
  posted = wrk.format()
  wrong, first_wrong = 0, nil -- globals, so that done() can read them
end

function request()
  return posted
end

local function is_right(body)
  for _, corner in ipairs(CORNERS) do
    local boxes, sum = 0, 0
    -- Quotes are escaped if a server wraps the answer in a JSON string.
    for value in body:gmatch('"' .. corner .. '\\?":%s*(-?[%d.]+)') do
      boxes, sum = boxes + 1, sum + tonumber(value)
    end
    if boxes ~= expected_boxes or math.abs(sum - expected_sums[corner]) > PIXELS * expected_boxes then
      return false
    end
  end
  return true
end

function response(status, headers, body)
  if status ~= 200 or not is_right(body) then
    wrong = wrong + 1
    first_wrong = first_wrong or (status .. " " .. body:sub(1, 200))
  end
end

function done(summary, latency, requests)
  local all_wrong, example = 0, ""
  for _, thread in ipairs(threads) do
    all_wrong = all_wrong + thread:get("wrong")
    example = thread:get("first_wrong") or example
  end
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "wrong": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, '
      .. '"p50_us": %d, "p95_us": %d, "p99_us": %d, "first_wrong": "%s"}\n',
    summary.requests, summary.duration / 1e6, all_wrong, errors.connect, errors.read, errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99),
    example:gsub("[^%w .,:;_-]", "?")
  ))
end
