"""The steps that must not be interleaved with another publisher's, as Lua: each runs whole in the server.

The registry of a view is a hash: generation token → content digest, `applying <content>` while a delta is
being written into it, `retired` while its rows are removed. `.life <token>` is drawn anew whenever the token is: what was
claimed before the server was emptied, or before the token was given away again, is another life's. `.sequence` is the
live state's. On a cluster each shard has a registry of its own, whose `.home` names the home's that it follows.
"""

from __future__ import annotations

__all__ = ["APPLY", "APPLY_DENSE", "CLAIM", "CLAIM_SHARD", "FLIP", "FORGET", "OWN", "READY", "RETIRE", "RETIRE_SHARD", "SWEEP", "VANISH"]

# KEYS team owner, team tokens; ARGV team, token, view. Returns the owner of a name that is taken, 0 for a taken token, 1.
OWN = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1])
if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3]) == 1 or redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[3] then return 1 end
return 0
"""

# KEYS view owner, registry; ARGV team/view, token, content, a random word. Returns the owner, 0, or {life, home, sequence}.
CLAIM = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSETNX', KEYS[2], '.home', ARGV[4])
if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3]) == 1 then
  redis.call('HSET', KEYS[2], '.life ' .. ARGV[2], ARGV[4])
elseif redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] then
  return 0
end
return redis.call('HMGET', KEYS[2], '.life ' .. ARGV[2], '.home', '.sequence')
"""

# KEYS registry, whole; ARGV token, content, life, home, sequence. A shard that was emptied, or follows another home, or
# knew another life of the token, is no longer whole. Who has been overtaken by a delta is refused.
CLAIM_SHARD = """
local found = redis.call('HMGET', KEYS[1], '.home', '.sequence', '.life ' .. ARGV[1], ARGV[1])
if found[1] == ARGV[4] and tonumber(found[2] or 0) > tonumber(ARGV[5]) then return 0 end
if found[1] ~= ARGV[4] then redis.call('HDEL', KEYS[1], '.sequence') end
if found[3] == ARGV[3] and found[4] == 'retired' then return 0 end
if found[3] ~= ARGV[3] then redis.call('UNLINK', KEYS[2]) end
redis.call('HSET', KEYS[1], '.home', ARGV[4], '.life ' .. ARGV[1], ARGV[3], ARGV[1], ARGV[2])
return 1
"""

# KEYS registry, whole; ARGV token, life. All rows of a shard stand.
READY = """
local found = redis.call('HMGET', KEYS[1], '.life ' .. ARGV[1], ARGV[1])
if found[1] ~= ARGV[2] or found[2] == 'retired' then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""

# Begins every delta: KEYS registry, index, rows...; ARGV token, life, sequence, ... A late load is shut out.
FENCE = """
local standing = redis.call('HMGET', KEYS[1], '.life ' .. ARGV[1], '.sequence', ARGV[1])
if (standing[1] or '') ~= ARGV[2] or tonumber(standing[2] or 0) > tonumber(ARGV[3]) or standing[3] == 'retired' then return -1 end
if standing[2] ~= ARGV[3] then redis.call('HSET', KEYS[1], '.sequence', ARGV[3], ARGV[1], 'live') end
local call, unpack4 = redis.call, struct.unpack
"""

# ARGV token, life, sequence, 0 or 1 (rows expire), rows..., and when they expire: instants...
# The event time is bytes 2 to 5 of a row. struct, because Lua compares strings by locale. What is new is indexed,
# in the format of tiffin.online.row_index, or the collection would not find it.
APPLY = (
    FENCE
    + """
local rows, written, added, size = #KEYS - 2, 0, {}, 0
local expire = ARGV[4] == '1'
for i = 1, rows do
  local row, name = ARGV[i + 4], KEYS[i + 2]
  local old = call('GETRANGE', name, 2, 5)
  if #old < 4 or unpack4('<I4', old) <= unpack4('<I4', row, 3) then
    if #old < 4 then
      size = size + 1
      added[size] = struct.pack('<I4', #name) .. name
    end
    if expire then call('SET', name, row, 'PXAT', ARGV[i + 4 + rows]) else call('SET', name, row) end
    written = written + 1
  end
end
if size > 0 then
  call('HSET', KEYS[2], 'delta ' .. call('HLEN', KEYS[2]) .. '+' .. size, '\\0' .. table.concat(added))
end
return written
"""
)

# ARGV token, life, sequence, most rows of a bucket, keys..., rows...; a full bucket takes nothing new: -2.
APPLY_DENSE = (
    FENCE
    + """
local rows, written, added, most = #KEYS - 2, 0, 0, tonumber(ARGV[4])
for i = 1, rows do
  local bucket, key, row = KEYS[i + 2], ARGV[i + 4], ARGV[i + 4 + rows]
  local old = call('HGET', bucket, key)
  if not old then
    if call('HLEN', bucket) >= most then return -2 end
    added = added + 1
  end
  if not old or unpack4('<I4', old, 3) <= unpack4('<I4', row, 3) then
    call('HSET', bucket, key, row)
    written = written + 1
  end
end
if added > 0 then call('HSET', KEYS[2], 'delta ' .. call('HLEN', KEYS[2]) .. '+' .. added, '\\0') end
return written
"""
)

# KEYS state, registry, pointer, schema; ARGV expected state or '', new state, pointer, schema, token, mark, life, sequence
FLIP = """
local live = redis.call('GET', KEYS[1]) or ''
if live ~= ARGV[2] and live ~= ARGV[1] then return 0 end
local mark = redis.call('HGET', KEYS[2], ARGV[5])
if not mark or mark == 'retired' or (redis.call('HGET', KEYS[2], '.life ' .. ARGV[5]) or '') ~= ARGV[7] then return -1 end
redis.call('HSET', KEYS[2], ARGV[5], ARGV[6], '.sequence', ARGV[8])
redis.call('SET', KEYS[4], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
return 1
"""

# KEYS state, registry; ARGV expected state or '', token. Returns 0, or {life}.
RETIRE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], 'retired')
return {redis.call('HGET', KEYS[2], '.life ' .. ARGV[2]) or ''}
"""

# KEYS registry; ARGV token, life. A shard that knows another life of the token has been given away again.
RETIRE_SHARD = """
local life = redis.call('HGET', KEYS[1], '.life ' .. ARGV[1])
if not life then return 0 end
if life ~= ARGV[2] then return -1 end
redis.call('HSET', KEYS[1], ARGV[1], 'retired')
return 1
"""

# KEYS registry, names...; ARGV token, life, 0 or 1 (they are buckets). Returns how many rows were removed; -1: not ours any more.
SWEEP = """
local found = redis.call('HMGET', KEYS[1], ARGV[1], '.life ' .. ARGV[1])
if found[1] ~= 'retired' or (found[2] or '') ~= ARGV[2] then return -1 end
local removed = 0
for i = 2, #KEYS do
  local rows = 1
  if ARGV[3] == '1' then rows = redis.call('HLEN', KEYS[i]) end
  if redis.call('UNLINK', KEYS[i]) == 1 then removed = removed + rows end
end
return removed
"""

# KEYS registry, and what else is left of the token; ARGV token, life. The end of a collection.
FORGET = """
local found = redis.call('HMGET', KEYS[1], ARGV[1], '.life ' .. ARGV[1])
if found[1] ~= 'retired' or (found[2] or '') ~= ARGV[2] then return -1 end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('HDEL', KEYS[1], ARGV[1], '.life ' .. ARGV[1])
return 1
"""

# KEYS state, pointer; ARGV state. A cluster that lost a shard of the live generation serves nothing until it is refilled.
VANISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1], KEYS[2])
return 1
"""
