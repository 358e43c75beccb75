-- Sends the requests of a file in turn, from the first to the last and again.
-- A line is a path; or path, TAB, body; or path, TAB, the body's beginning, TAB, its end. Between the
-- two goes a number that is never sent twice, so that every change changes something.

local lines, at, number

function init(args)
  lines, at, number = {}, 0, tonumber(args[2])
  for line in io.lines(args[1]) do lines[#lines + 1] = line end
end

function request()
  at = at % #lines + 1
  local path, head, tail = lines[at]:match("^([^\t]*)\t?([^\t]*)\t?([^\t]*)$")
  if tail ~= "" then
    number = number + 1
    head = head .. number .. tail
  end
  return wrk.format(nil, path, nil, head ~= "" and head or nil)
end
