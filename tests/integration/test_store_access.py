"""A team's users on a real server: all that they need, and nothing of another team."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import redis
from redis.exceptions import NoPermissionError

from tests.online_case import SCHEMA, Online, edition, fingerprint, online_view, read_all, started, view_record
from tests.online_cluster import cluster
from tiffin.core.errors import Denied, Invalid
from tiffin.online.access import publisher_rules, reader_rules, set_user
from tiffin.online.cluster import Cluster
from tiffin.online.fast_source import open_source
from tiffin.online.reader import FeatureReader
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.testing.online_store import RULES, generated_cases
from tiffin.wire.keys import token
from tiffin.wire.schema import RowSchema

TEAMS = ["network", "eta", "conformance"]
NASTY = [b"plain", b"*", b"[a-z]*", b"{tag}", b"a b", b"a\0b", b"\0", "é東京".encode(), b"\r\n", b"?", b"\\", b"~*", b"", b"x" * 300]


@dataclass
class House:
    """A server with a user per team and role, and how to be one."""

    online: Online

    def url(self, user: str) -> str:
        return f"redis://{user}:secret@127.0.0.1:{self.online.server.port}/0"

    def client(self, user: str) -> redis.Redis:
        return connect(self.url(user))


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Iterator[House]:
    with started(tmp_path_factory.mktemp("house")) as online:
        for team in TEAMS:
            online.admin.execute_command(*set_user(f"{team}_publisher", "secret", publisher_rules(team, teams=TEAMS)))
            online.admin.execute_command(*set_user(f"{team}_reader", "secret", reader_rules([team], teams=TEAMS)))
        online.admin.execute_command(*set_user("both_reader", "secret", reader_rules(["network", "eta"], teams=TEAMS)))
        for key in NASTY:
            online.admin.set(token("eta") + b"Gabc" + key, b"secret of eta")
            online.admin.hset(token("eta") + b"Gdef" + key, b"field", b"secret of eta")
        yield House(online)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["difficult keys", "dense"])
def test_a_publishers_rules_are_enough_for_the_whole_contract(rule: str, name: str, house: House) -> None:
    case = next(case for case in generated_cases(1) if case.name == name)

    RULES[rule](RedisStore(house.client("conformance_publisher"), batch=500, pause_s=0), case)


@pytest.mark.parametrize("layout", ["plain", "dense"])
def test_a_readers_rules_are_enough_to_read(layout: str, house: House) -> None:
    schema = SCHEMA if layout == "plain" else RowSchema(1, SCHEMA.columns[:4])  # a bucket takes short rows alone
    view = view_record(name=f"read_{layout}", schema=schema).model_copy(update={"layout": layout})
    whole = edition(1, range(40))
    rows = replace(whole, columns={column.name: whole.columns[column.name] for column in schema.columns})
    house.online.publish(view, rows, store=RedisStore(house.client("network_publisher")))

    for user in ("network_reader", "both_reader"):
        found = read_all(FeatureReader(open_source(house.url(user)), [online_view(view)], now_us=lambda: 0), view, rows.raw_keys)
        assert fingerprint(found.columns, found.found) == fingerprint(rows.columns, rows.event_time_us > 0)
    with pytest.raises(Denied):
        read_all(FeatureReader(open_source(house.url("eta_reader")), [online_view(view)], now_us=lambda: 0), view, rows.raw_keys)


TOUCHES = [
    ("GET", "{key}"),
    ("MGET", "{own}", "{key}"),
    ("GETRANGE", "{key}", 0, -1),
    ("SET", "{key}", "x"),
    ("MSET", "{own}", "x", "{key}", "x"),
    ("UNLINK", "{key}"),
    ("UNLINK", "{own}", "{key}"),
    ("HGET", "{hash}", "field"),
    ("HMGET", "{hash}", "field"),
    ("HSET", "{hash}", "field", "x"),
    ("HKEYS", "{hash}"),
    ("HDEL", "{hash}", "field"),
    ("OBJECT", "ENCODING", "{key}"),
    ("EVAL", "return redis.call('GET', KEYS[1])", 1, "{key}"),
    ("EVAL", "return redis.call('GET', ARGV[1])", 0, "{key}"),
    ("EVAL", "return redis.call('SET', KEYS[2], 'x')", 2, "{own}", "{key}"),
    ("DUMP", "{key}"),
    ("RENAME", "{key}", "{own}"),
    ("COPY", "{key}", "{own}"),
    ("SORT", "{own}", "BY", "nosort", "GET", "{key}"),
    ("EXISTS", "{key}"),
    ("EXPIRE", "{key}", 1),
    ("TYPE", "{key}"),
    ("MIGRATE", "127.0.0.1", 1, "{key}", 0, 1),
]


@pytest.mark.parametrize("user", ["network_publisher", "network_reader"])
@pytest.mark.parametrize("touch", TOUCHES, ids=lambda touch: " ".join(map(str, touch[:2])))
def test_no_command_reaches_another_teams_key(user: str, touch: tuple, house: House) -> None:
    client = house.client(user)

    for key in NASTY:
        words = {"{key}": token("eta") + b"Gabc" + key, "{hash}": token("eta") + b"Gdef" + key, "{own}": token("network") + b"Gabcown"}
        with pytest.raises((NoPermissionError, redis.ResponseError), match=r"(?i)permission|ACL"):
            client.execute_command(*[words.get(word, word) for word in touch])

    assert all(house.online.admin.get(token("eta") + b"Gabc" + key) == b"secret of eta" for key in NASTY)


WHOLE_SERVER = [
    ("SCAN", 0),
    ("SCAN", 0, "MATCH", "gae3*"),
    ("KEYS", "*"),
    ("RANDOMKEY",),
    ("DBSIZE",),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("SWAPDB", 0, 1),
    ("FUNCTION", "LIST"),
    ("FUNCTION", "FLUSH"),
    ("FCALL", "x", 0),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "KILL"),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "maxmemory", 1),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "network_reader", "~*"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("MONITOR",),
    ("SHUTDOWN",),
    ("SAVE",),
    ("REPLICAOF", "127.0.0.1", 1),
    ("MEMORY", "USAGE", "x"),
    ("SUBSCRIBE", "x"),
    ("PUBLISH", "x", "y"),
    ("SLOWLOG", "GET"),
    ("MODULE", "LIST"),
    ("CLUSTER", "RESET"),
    ("EVAL", "return redis.call('SCAN', 0)", 0),
    ("EVAL", "return redis.call('FLUSHALL')", 0),
    ("EVAL", "return redis.call('KEYS', '*')", 0),
]


@pytest.mark.parametrize("user", ["network_publisher", "network_reader"])
@pytest.mark.parametrize("words", WHOLE_SERVER, ids=lambda words: " ".join(map(str, words[:2])))
def test_no_command_lists_empties_or_configures_the_server(user: str, words: tuple, house: House) -> None:
    connection = house.client(user).connection_pool.get_connection()
    connection.send_command(*words)

    with pytest.raises((NoPermissionError, redis.ResponseError), match=r"(?i)permission|ACL"):
        connection.read_response()


def test_a_reader_writes_nothing_of_its_own_team(house: House) -> None:
    client, own = house.client("network_reader"), token("network") + b"Gabcown"

    for words in (("INFO",), ("SET", own, "x"), ("MSET", own, "x"), ("HSET", own, "f", "x"), ("UNLINK", own), ("EVAL", "return 1", 0)):
        with pytest.raises(NoPermissionError):
            client.execute_command(*words)


def test_a_team_whose_token_is_taken_gets_no_rules(monkeypatch) -> None:
    twins = ["team_1", "team_2"]
    monkeypatch.setattr("tiffin.online.access.token", lambda name: b"same")

    with pytest.raises(Invalid, match="'team_2'"):
        publisher_rules("team_1", teams=twins)
    with pytest.raises(Invalid, match="'team_1'"):
        reader_rules(["team_2"], teams=twins)


def test_the_rules_hold_on_a_cluster(tmp_path) -> None:
    with cluster(tmp_path) as real:
        for node in real.primaries:
            node.client.execute_command(*set_user("conformance_publisher", "secret", publisher_rules("conformance", teams=TEAMS)))
        urls = [url.replace("redis://", "redis://conformance_publisher:secret@") for url in real.urls]
        case = next(generated_cases(1))
        for rule in RULES.values():
            rule(RedisStore(Cluster(urls, shards=8), pause_s=0), case)
