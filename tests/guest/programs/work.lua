-- Integers, floats, strings, tables, closures and coroutines; prints what came out.
local x = 88172645463325252
local function random()
  x = x ~ (x << 13); x = x ~ (x >> 7); x = x ~ (x << 17)
  return x
end

local t = {}
for i = 1, 20000 do t[i] = random() end
table.sort(t)
print("sorted", t[1], t[10000], t[20000])

local sum = 0.0
for i = 1, 200000 do sum = sum + math.sin(i) / i end
print("sines", string.format("%.17g", sum), string.format("%a", math.exp(sum)))

local words = {}
for w in (("the quick brown fox jumps over the lazy dog "):rep(500)):gmatch("%a+") do
  words[w] = (words[w] or 0) + 1
end
local keys = {}
for w in pairs(words) do keys[#keys + 1] = w end
table.sort(keys)
for _, w in ipairs(keys) do print(w, words[w]) end

local function queens(n)
  local count, cols, up, down = 0, {}, {}, {}
  local function place(row)
    if row > n then count = count + 1 return end
    for c = 1, n do
      if not (cols[c] or up[row + c] or down[row - c]) then
        cols[c], up[row + c], down[row - c] = true, true, true
        place(row + 1)
        cols[c], up[row + c], down[row - c] = nil, nil, nil
      end
    end
  end
  place(1)
  return count
end
print("queens", queens(8))

local squares = coroutine.wrap(function() for i = 1, 1000 do coroutine.yield(i * i) end end)
local total = 0
for i = 1, 1000 do total = total + squares() end
print("squares", total, 2^53, 7 // -2, 7 % -2, 1 / 3)
