"""The promises (DESIGN §7), looked at after every change of the server and after every read."""

from __future__ import annotations

from tiffin.core.errors import Corrupt, NotReady
from tiffin.online.editions import Edition
from tiffin.online.simulate.actors import Actor, Seen, World
from tiffin.online.simulate.universe import KEYS
from tiffin.online.source import Answer

__all__ = ["check_finished", "check_read", "check_server", "check_settled"]


def check_server(world: World) -> None:
    """What is live and what a rollback would bring back is whole; it was durable first; the watermark is honest."""
    state = world.server.state
    if state is None:
        return
    whole(world, state.current, "the live generation")
    if state.previous is not None:
        whole(world, state.previous, "the previous generation")
    if state.current.watermark_us > world.universe.watermarks[state.current.content]:
        world.broken.append(f"the watermark {state.current.watermark_us} promises more than is served")
    if all(made.edition.manifest != state.current.manifest for _, made in world.promoted):
        world.broken.append("what is live was never promoted")


def whole(world: World, edition: Edition, what: str) -> None:
    """Every row is one of the edition's, none is missing, none is left over."""
    rows = world.server.rows.get(edition.generation, {})
    for key, allowed in world.universe.allowed(edition).items():
        if rows.get(key) not in allowed:
            world.broken.append(f"{what} holds {rows.get(key)} under {key!r}: allowed are {sorted(map(str, allowed))}")


def check_finished(world: World, actor: Actor) -> None:
    """Who is told that it succeeded has succeeded."""
    if actor.job.kind == "rollback" and actor.result.current.applying:
        world.broken.append("a rollback brought a half-written delta back")
    if actor.record is not None and actor.record.edition.manifest not in world.server.manifests:
        world.broken.append(f"{actor} was told that it is live, and never was")


def check_read(world: World, actor: Actor) -> None:
    """A read gives rows of the generation that was live in the step in which it read them, or says that it cannot."""
    if actor.error is not None:
        if isinstance(actor.error, Corrupt) or not isinstance(actor.error, NotReady):
            world.broken.append(f"a reader got {type(actor.error).__name__}: {actor.error}")
        return
    if actor.result is None:
        return
    known, answer = actor.result
    assert isinstance(answer, Answer)
    seen = answer.rows
    if not isinstance(seen, Seen):
        world.broken.append("a reader took an empty server for an empty view")
        return
    if known.pointer.generation != seen.generation:
        world.broken.append("a reader took rows of another generation for those of the live one")
    for key in KEYS:
        if seen.rows.get(key) not in seen.allowed[key]:
            world.broken.append(f"a reader got {seen.rows.get(key)} under {key!r}: allowed are {sorted(map(str, seen.allowed[key]))}")


def check_settled(world: World, reader: Actor) -> None:
    """In the end the server serves the durable record, exactly; nothing is left of dead generations; no success was lost."""
    server = world.server
    if world.durable is None:
        return
    if server.state is None or server.state.current.content != world.durable.edition.content or server.state.current.applying:
        world.broken.append("the server does not serve the durable record in the end")
        return
    if reader.error is not None:
        world.broken.append(f"the view cannot be read in the end: {reader.error}")
    kept = {server.state.current.generation} | ({server.state.previous.generation} if server.state.previous else set())
    left = {token for token, rows in server.rows.items() if rows} | set(server.registry)
    if left - kept:
        world.broken.append(f"rows or marks of dead generations are left: {sorted(left - kept)}")
    for actor in world.finished:
        if actor.job.kind != "delta" or actor.promoted_at is None:
            continue
        for kind, made in world.promoted[actor.promoted_at :]:
            if kind == "generation":
                break
            if actor.job.number not in made.deltas:
                world.broken.append(f"{actor.job} succeeded, and a later record lacks it")
