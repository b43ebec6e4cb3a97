"""Who may do what in the online store: the rules of a team's two users, as a Redis or Valkey server reads them.

All that a team keeps begins with its token of four characters, none of which means anything in a pattern, so one pattern
is exactly the team (docs/adr/0015). No rule allows a command that lists, empties or configures the server: the
publisher finds its rows by an index of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tiffin.core.errors import Invalid
from tiffin.core.names import check_name
from tiffin.wire.keys import token

__all__ = ["PUBLISHER_COMMANDS", "READER_COMMANDS", "publisher_rules", "reader_rules", "set_user"]

# what a connection itself says, and what it asks of a cluster
SESSION = (
    *("ping", "echo", "auth", "hello", "select", "reset", "quit", "asking", "cluster|slots"),
    *("client|setinfo", "client|setname", "client|getname", "client|id"),
)
READER_COMMANDS = ("get", "mget", "hget", "hmget", *SESSION)
"""Commands of those who serve rows."""
PUBLISHER_COMMANDS = (
    *("get", "mget", "getrange", "set", "mset", "unlink", "object|encoding"),
    *("hget", "hmget", "hset", "hsetnx", "hdel", "hlen", "hkeys"),
    *("eval", "evalsha", "script|load", "watch", "unwatch", "multi", "exec", "wait"),
    "info",  # a server that evicts rows is refused; it tells nothing of keys
    *SESSION,
)
"""Commands of those who publish them. What a script does is judged by the same rules."""


def patterns(teams: Sequence[str], known: Sequence[str]) -> list[str]:
    """One pattern per team."""
    for team in teams:
        check_name(team, what="team")
        for other in known:
            if other != team and token(other) == token(team):
                raise Invalid(
                    f"teams {team!r} and {other!r} have the same key token {token(team).decode()!r}: a rule for one would open the other",
                    fix=f"rename {team!r}",
                    context={"team": team, "other": other},
                )
    return [f"~{token(team).decode()}*" for team in teams]


def publisher_rules(team: str, *, teams: Sequence[str]) -> list[str]:
    """Rules of the user that publishes a team's views.

    Args:
        teams: all teams of the installation, to be sure that none shares the token.

    Raises:
        Invalid: one does.

    Example:
        >>> publisher_rules("network", teams=["network", "eta"])[:5]
        ['reset', 'on', '~gae3*', '-@all', '+get']
    """
    return ["reset", "on", *patterns([team], teams), "-@all", *(f"+{command}" for command in PUBLISHER_COMMANDS)]


def reader_rules(reads: Sequence[str], *, teams: Sequence[str]) -> list[str]:
    """Rules of a user that reads the views of some teams: a deployment's, which may use several.

    Raises:
        Invalid: as `publisher_rules`.
    """
    return ["reset", "on", *patterns(reads, teams), "-@all", *(f"+{command}" for command in READER_COMMANDS)]


def set_user(name: str, password: str, rules: Sequence[str]) -> list[str]:
    """The words of the command that makes the server know a user; they hold the password's hash, not the password."""
    reset, *others = rules
    return ["ACL", "SETUSER", name, reset, f"#{hashlib.sha256(password.encode()).hexdigest()}", *others]
