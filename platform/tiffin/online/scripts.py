"""The steps that must not be interleaved with another publisher's, as Lua: each runs whole in the server.

The registry of a view is a hash: generation token → content digest, `applying <content>` while a delta is
being written into it, `retired` while its rows are removed. Its field `.life` is drawn when the server sees the view
for the first time since it was empty, `.sequence` is that of the live state.
"""

from __future__ import annotations

__all__ = ["APPLY", "CLAIM", "FLIP", "OWN", "RETIRE"]

# KEYS team owner, team tokens; ARGV team, token, view. Returns the owner of a name that is taken, 0 for a taken token, 1.
OWN = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1])
if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3]) == 1 or redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[3] then return 1 end
return 0
"""

# KEYS view owner, registry; ARGV team/view, token, content, a random life. Returns the owner, 0, or {life}.
CLAIM = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSETNX', KEYS[2], '.life', ARGV[4])
if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3]) == 1 or redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[3] then
  return {redis.call('HGET', KEYS[2], '.life')}
end
return 0
"""

# KEYS registry, index, rows...; ARGV life, sequence, 0 or 1 (rows expire), rows..., and when they expire: instants...
# The event time is bytes 2 to 5 of a row. struct, because Lua compares strings by locale. What is new is indexed,
# in the format of tiffin.online.row_index, or the collection would not find it.
APPLY = """
local standing = redis.call('HMGET', KEYS[1], '.life', '.sequence')
if (standing[1] or '') ~= ARGV[1] or tonumber(standing[2] or 0) > tonumber(ARGV[2]) then return -1 end
if standing[2] ~= ARGV[2] then redis.call('HSET', KEYS[1], '.sequence', ARGV[2]) end
local rows, written, added, size = #KEYS - 2, 0, {}, 0
local expire, call, unpack4 = ARGV[3] == '1', redis.call, struct.unpack
for i = 1, rows do
  local row, name = ARGV[i + 3], KEYS[i + 2]
  local old = call('GETRANGE', name, 2, 5)
  if #old < 4 or unpack4('<I4', old) <= unpack4('<I4', row, 3) then
    if #old < 4 then
      size = size + 1
      added[size] = struct.pack('<I4', #name) .. name
    end
    if expire then call('SET', name, row, 'PXAT', ARGV[i + 3 + rows]) else call('SET', name, row) end
    written = written + 1
  end
end
if size > 0 then
  redis.call('HSET', KEYS[2], 'delta ' .. redis.call('HLEN', KEYS[2]) .. '+' .. size, '\\0' .. table.concat(added))
end
return written
"""

# KEYS state, registry, pointer, schema; ARGV expected state or '', new state, pointer, schema, token, mark, life, sequence
FLIP = """
local live = redis.call('GET', KEYS[1]) or ''
if live ~= ARGV[2] and live ~= ARGV[1] then return 0 end
local mark = redis.call('HGET', KEYS[2], ARGV[5])
if not mark or mark == 'retired' or (redis.call('HGET', KEYS[2], '.life') or '') ~= ARGV[7] then return -1 end
redis.call('HSET', KEYS[2], ARGV[5], ARGV[6], '.sequence', ARGV[8])
redis.call('SET', KEYS[4], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
return 1
"""

# KEYS state, registry; ARGV expected state or '', token
RETIRE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], 'retired')
return 1
"""
