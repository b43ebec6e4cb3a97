"""What the serving agent does, round by round: decides what Triton runs, and says whether it answers.

It follows prod's pointers, and takes up a manifest only when signature, digests and golden rows are
right; else what is live goes on. It needs neither registry nor object store to go on serving, or to start
again with what it served last.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tiffin.core.errors import Conflict, PlatformError
from tiffin.serving.health import Edition
from tiffin.serving.loader import Loader
from tiffin.serving.online_copy import OnlineCopy
from tiffin.serving.repository import edition_names
from tiffin.serving.served import Memory, Refusal, Served
from tiffin.serving.watch import Seen

__all__ = ["Agent"]

logger = logging.getLogger(__name__)


class Agent:
    """One Triton server's agent. `round` is called again and again; `status` from any thread.

    Args:
        remember: stores which manifests are live; `memory` is what an earlier agent stored.
        surroundings_changed: running features steps must read `runtime.json` again.
        clock: seconds, for waiting between attempts.
    """

    def __init__(
        self,
        loader: Loader,
        online: OnlineCopy,
        *,
        memory: Memory,
        remember: Callable[[Memory], None],
        surroundings_changed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loader = loader
        self.online = online
        self.remember = remember
        self.clock = clock
        self.served: dict[tuple[str, str], Served] = {}
        for ref, digest in memory.live.items():
            team, _, name = ref.partition("/")
            self.served[team, name] = Served(team, name, remembered=digest)
        self.surroundings_changed = surroundings_changed
        self.store_error: str | None = None
        self.rounds = 0
        self.healed: deque[str] = deque(maxlen=50)
        self.known: dict[str, Any] = {}
        self.tell()

    def live(self) -> list[Edition]:
        """Editions under a public name."""
        return [one.live for one in list(self.served.values()) if one.live is not None]

    def round(self, seen: Seen | None) -> None:
        """Follow the pointers once, and ask every deployment once.

        Args:
            seen: what prod said last; None while it was never asked.
        """
        if seen is not None:
            self.list_wanted(seen)
        self.store_error = None if seen is None else seen.error
        self.renew_surroundings()
        for place, one in sorted(self.served.items()):
            if one.live is None and one.remembered is not None:
                self.restore(one)
            if seen is not None:
                self.follow(one, seen.manifests.get(place), seen.damaged.get(place))
            if one.live is not None:
                self.check(one, one.live)
            self.tell()
        self.rounds += 1
        self.tell()

    def list_wanted(self, seen: Seen) -> None:
        """A new pointer is a new deployment; one that never went live is forgotten with its pointer."""
        wanted = {*seen.manifests, *seen.damaged}
        for place in wanted:
            self.served.setdefault(place, Served(*place))
        for place, one in list(self.served.items()):
            if place not in wanted and not one.promised:
                del self.served[place]

    def renew_surroundings(self) -> None:
        """Once, as soon as the server answers."""
        if self.surroundings_changed and self.loader.triton.live():
            try:
                self.loader.reload_steps("features--")
            except PlatformError as err:
                logger.warning("a features step does not start with the new surroundings", extra={"reason": err.message})
            self.surroundings_changed = False

    def restore(self, one: Served) -> None:
        """After a restart: what was live before, from the local cache, verified again."""
        assert one.remembered is not None
        try:
            edition = self.loader.fetch(one.team, one.name, one.remembered)
            self.bring_up(edition, instead_of=None)
        except PlatformError as err:
            one.reason = err.message
            return
        one.live, one.remembered, one.reason = edition, None, None
        logger.info("serving again", extra={"deployment": one.ref, "manifest": edition.digest})
        self.tidy()

    def follow(self, one: Served, wanted: str | None, damage: PlatformError | None) -> None:
        """Take up what the pointer names; on any fault the live edition goes on."""
        if damage is not None:
            one.refused = Refusal.of("", damage, one.refused, now=self.clock())
            one.reason = damage.message if one.live is None else one.reason
            return
        if wanted is None or (one.live is not None and one.live.digest == wanted):
            one.refused = None
            return
        if one.refused is not None and one.refused.digest == wanted and self.clock() < one.refused.retry_at:
            return
        try:
            edition = self.take_up(one, wanted)
        except PlatformError as err:
            one.refused = Refusal.of(wanted, err, one.refused, now=self.clock())
            if one.live is None:
                one.reason = err.message
            logger.error("refused", extra={"deployment": one.ref, "manifest": wanted, "reason": err.message})
            self.tidy()
            return
        one.previous, one.live, one.remembered, one.refused, one.reason = one.live, edition, None, None, None
        self.remember(Memory(live={each.ref: each.live.digest for each in self.served.values() if each.live is not None}))
        logger.info("live", extra={"deployment": one.ref, "manifest": wanted, "ensemble": edition.record.ensemble})
        self.tidy()

    def take_up(self, one: Served, digest: str) -> Edition:
        """Fetch, load, ask, name. The edition before is loaded still, so going back to it is one reload."""
        for other in self.served.values():
            if other.name == one.name and other.team != one.team and other.live is not None:
                raise Conflict(
                    f"deployment '{one.ref}' cannot have the public name {one.name!r}: '{other.ref}' has it", fix="rename one of the two"
                )
        kept = one.previous
        edition = kept if kept is not None and kept.digest == digest else self.loader.fetch(one.team, one.name, digest)
        self.bring_up(edition, instead_of=one.live)
        return edition

    def bring_up(self, edition: Edition, *, instead_of: Edition | None) -> None:
        """Everything that must succeed before the public name moves, then the name."""
        self.loader.start(edition)
        self.online.ensure(edition.record.views)
        self.loader.probe.ask_whole(edition, edition.record.ensemble)
        self.loader.publish(edition, instead_of=instead_of)

    def check(self, one: Served, edition: Edition) -> None:
        """Ask for real; refill what is empty, reload what a restarted server lost."""
        try:
            for view in self.online.missing(edition.record.views):
                one.reason = f"view '{view.team}/{view.name}' is missing in the online store and is being refilled"
                self.tell()
                self.online.fill(view)
            try:
                self.ask(edition)
            except PlatformError:
                if not self.lost(edition):
                    raise
                logger.warning("the server lost its models, loading them again", extra={"deployment": one.ref})
                self.bring_up(edition, instead_of=None)
        except PlatformError as err:
            if one.reason is None:
                logger.error("not ready", extra={"deployment": one.ref, "reason": err.message})
            one.reason = err.message
            return
        if one.reason is not None:
            logger.info("ready again", extra={"deployment": one.ref})
        one.reason = None

    def ask(self, edition: Edition) -> None:
        """The golden rows through the steps, and one row of ids through the public name."""
        self.loader.probe.ask_golden(edition)
        self.loader.probe.ask_whole(edition, edition.record.name)

    def lost(self, edition: Edition) -> bool:
        """Whether Triton does not have all of an edition, as after its restart."""
        index = self.loader.triton.index()
        return not all(index.get(name, False) for name in edition_names(edition.record) | {edition.record.name})

    def tidy(self) -> None:
        """Let go of what nobody needs, once it is known what everybody needs."""
        if any(one.remembered is not None for one in self.served.values()):
            return
        kept = [edition for one in self.served.values() for edition in (one.live, one.previous) if edition is not None]
        try:
            self.loader.tidy(kept)
        except PlatformError as err:
            logger.warning("could not tidy", extra={"reason": err.message})

    def tell(self) -> None:
        """Make the current state what `status` answers."""
        served = {one.ref: one.to_json() for one in self.served.values()}
        # a deployment that never went live must not take the others out of rotation
        counted = [one for one in self.served.values() if one.promised] or list(self.served.values())
        reasons = [f"{one.ref}: {one.reason}" for one in counted if one.reason is not None]
        if not self.rounds:
            reasons.append("the agent is starting")
        elif not served and self.store_error is not None:
            reasons.append(f"nothing was ever served here, and the object store cannot be read: {self.store_error}")
        self.known = {
            "ready": not reasons,
            "reasons": reasons,
            "deployments": served,
            "object_store": {"error": self.store_error},
            "triton": self.loader.triton.address,
            "healed": list(self.healed),
            "rounds": self.rounds,
        }

    def failed(self, err: Exception) -> None:
        """A round ended by an error that nobody expected: not ready until one succeeds."""
        self.known = {**self.known, "ready": False, "reasons": [f"the agent itself failed: {type(err).__name__}: {err}"]}

    def status(self) -> dict[str, Any]:
        """A JSON value: `ready`, `reasons`, and the rest for people."""
        return self.known
