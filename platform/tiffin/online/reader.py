"""Read whole rows by entity key. Runs inside Triton: numpy and the Redis client, nothing heavier.

One request is one round trip: per view one MGET whose first key is the view's pointer. The server runs an MGET
as one step, so the pointer says which generation the rows beside it belong to; when it moved since the
last request the rows are thrown away and asked for again. A read never mixes generations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiffin.core.errors import Invalid, nearest
from tiffin.online.asked import Asked, Keys
from tiffin.online.decode import ViewRows, decode
from tiffin.online.metrics import ReadMetrics, Watched, measured
from tiffin.online.plan_read import Fetch, Known, Reading, reading
from tiffin.online.source import Answer, RowSource
from tiffin.online.views import OnlineView

__all__ = ["FeatureReader", "ViewReader", "ViewRows"]

Features = Mapping[str, Sequence[str]]


class ViewReader:
    """What a reader holds whose source it awaits or waits for: its views, its clock, and what it has learnt of them.

    Args:
        views: what to read; fixed for the reader's life.
        now_us: the wall in µs; a generation that replays history brings its own instant.
        watch: called after every read, with what it cost.
    """

    def __init__(
        self, views: Sequence[OnlineView], *, now_us: Callable[[], int], watch: Callable[[ReadMetrics], None] | None = None
    ) -> None:
        self.views = tuple(views)
        self.now_us = now_us
        self.watch = watch
        self.known: dict[str, Known] = {}

    def begin(self, views: Sequence[OnlineView], keys: Keys) -> tuple[dict[str, Asked], Reading]:
        """What is asked of each view, and the decisions that ask for it."""
        asked = ask_all(views, keys)
        return asked, reading(views, {ref: one.unique for ref, one in asked.items()}, self.known)


class FeatureReader(ViewReader):
    """Reads rows of some views; threads may share it.

    Args:
        source: from `tiffin.online.fast_source.open_source`, or any other `RowSource`.
        views, now_us, watch: see `ViewReader`.
    """

    def __init__(
        self,
        source: RowSource,
        views: Sequence[OnlineView],
        *,
        now_us: Callable[[], int],
        watch: Callable[[ReadMetrics], None] | None = None,
    ) -> None:
        super().__init__(views, now_us=now_us, watch=watch)
        self.source = source

    def read(self, keys: Keys, features: Features | None = None) -> dict[str, ViewRows]:
        """Rows of every view, by `"team/view"`.

        Args:
            keys: by key column name, each `(rows,)`; a null part means an unknown entity.
            features: `{"team/view": [feature, ...]}`: only these views are read, only these columns decoded; None: all.

        Raises:
            NotReady: a view has no generation in the server, or the server does not answer.
            Corrupt: wrong bytes in the server; names view and key.
            Invalid: a key column is missing or of the wrong type, or a feature is not this reader's.
        """
        watched = Watched.begin(self.watch)
        views = chosen(self.views, features)
        if not views:
            return {}
        asked, steps = self.begin(views, keys)
        found = self.drive(steps, watched)
        rows = decode_all(views, found, asked, features, now_us=self.now_us)
        if watched is not None:
            watched.end(measured(rows))
        return rows

    def drive(self, steps: Reading, watched: Watched | None) -> dict[str, tuple[Known, Answer]]:
        """Ask the source what the decisions want to know, until they are done."""
        answer: Any = None
        while True:
            try:
                question = steps.send(answer)
            except StopIteration as done:
                found: dict[str, tuple[Known, Answer]] = done.value
                return found
            if isinstance(question, Fetch):
                answer = self.source.fetch(question.asks)
                if watched is not None:
                    watched.fetched(answer)
            else:
                answer = self.source.words(question.names)


def chosen(views: Sequence[OnlineView], features: Features | None) -> Sequence[OnlineView]:
    """The views of which features are wanted."""
    if features is None:
        return views
    known = {view.ref: view for view in views}
    for ref, names in features.items():
        if ref not in known:
            raise Invalid(f"this reader has no view {ref!r}", fix=nearest(ref, known))
        columns = [column.name for column in known[ref].schema.columns]
        for name in names:
            if name not in columns:
                raise Invalid(f"view {ref} has no feature {name!r}", fix=nearest(name, columns))
    return [view for view in views if view.ref in features]


def ask_all(views: Sequence[OnlineView], keys: Keys) -> dict[str, Asked]:
    """The keys of every view; views of one entity share them."""
    made: dict[tuple[tuple[str, str], ...], Asked] = {}
    for view in views:
        if view.keys not in made:
            made[view.keys] = Asked.of(view.keys, keys)
    return {view.ref: made[view.keys] for view in views}


def decode_all(
    views: Sequence[OnlineView],
    found: Mapping[str, tuple[Known, Answer]],
    asked: Mapping[str, Asked],
    features: Features | None,
    *,
    now_us: Callable[[], int],
) -> dict[str, ViewRows]:
    """The rows of every view."""
    return {
        view.ref: decode(view, *found_of(found, asked, view), now_us=now_us, names=None if features is None else features[view.ref])
        for view in views
    }


def found_of(found: Mapping[str, tuple[Known, Answer]], asked: Mapping[str, Asked], view: OnlineView) -> tuple[Known, Asked, Answer]:
    """What `decode` needs of a view."""
    known, answer = found[view.ref]
    return known, asked[view.ref], answer
