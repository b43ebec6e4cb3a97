"""The steps that must not be interleaved with another publisher's, as Lua: each runs whole in the server.

The registry of a view is a hash: generation token → content digest, `applying <content>` while a delta is
being written into it, `retired` while its rows are removed.
"""

from __future__ import annotations

__all__ = ["APPLY", "CLAIM", "FLIP", "LOAD", "RETIRE"]

# KEYS team owner, view owner, registry; ARGV team, team/view, token, content
CLAIM = """
for i = 1, 2 do
  local owner = redis.call('GET', KEYS[i])
  if owner and owner ~= ARGV[i] then return owner end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
if redis.call('HSETNX', KEYS[3], ARGV[3], ARGV[4]) == 1 then return 1 end
if redis.call('HGET', KEYS[3], ARGV[3]) == ARGV[4] then return 1 end
return 0
"""

# KEYS registry, rows...; ARGV token, content, values...
LOAD = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1]) end
return 1
"""

# KEYS state, rows...; ARGV expected state, values...
# The event time is bytes 2 to 5 of a row. struct, because Lua compares strings by locale.
APPLY = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local written = 0
for i = 2, #KEYS do
  local row = ARGV[i]
  local old = redis.call('GETRANGE', KEYS[i], 2, 5)
  if #old < 4 or struct.unpack('<I4', old) <= struct.unpack('<I4', row, 3) then
    redis.call('SET', KEYS[i], row)
    written = written + 1
  end
end
return written
"""

# KEYS state, registry, pointer, schema; ARGV expected state or '', new state, pointer, schema, token, mark
FLIP = """
local live = redis.call('GET', KEYS[1]) or ''
if live ~= ARGV[2] and live ~= ARGV[1] then return 0 end
local mark = redis.call('HGET', KEYS[2], ARGV[5])
if not mark or mark == 'retired' then return -1 end
redis.call('HSET', KEYS[2], ARGV[5], ARGV[6])
redis.call('SET', KEYS[4], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
return 1
"""

# KEYS state, registry; ARGV expected state, token
RETIRE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], 'retired')
return 1
"""
