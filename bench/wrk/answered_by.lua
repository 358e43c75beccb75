-- Counts who answered, by status and Cache-Status. It slows wrk down, hence only before the measured rounds.

local threads = {}
seen = ""
local counts = {}

function setup(thread) threads[#threads + 1] = thread end

function response(status, headers)
  local key = status .. " " .. (headers["Cache-Status"] or headers["cache-status"] or "-")
  counts[key] = (counts[key] or 0) + 1
  seen = ""
  for name, count in pairs(counts) do seen = seen .. name .. "\t" .. count .. "\n" end
end

function report_seen()
  for _, thread in ipairs(threads) do io.write(thread:get("seen")) end
end
