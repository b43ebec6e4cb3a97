"""`FeatureReader` for an event loop: the same decisions and the same decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tiffin.online.asked import Keys
from tiffin.online.decode import ViewRows
from tiffin.online.metrics import ReadMetrics, Watched, measured
from tiffin.online.plan_read import Fetch, Known, Reading
from tiffin.online.reader import Features, ViewReader, chosen, decode_all
from tiffin.online.source import Answer, AsyncRowSource
from tiffin.online.views import OnlineView

__all__ = ["AsyncFeatureReader"]


class AsyncFeatureReader(ViewReader):
    """Reads rows of some views; the tasks of one event loop may share it. See `FeatureReader`."""

    def __init__(
        self,
        source: AsyncRowSource,
        views: Sequence[OnlineView],
        *,
        now_us: Callable[[], int],
        watch: Callable[[ReadMetrics], None] | None = None,
    ) -> None:
        super().__init__(views, now_us=now_us, watch=watch)
        self.source = source

    async def read(self, keys: Keys, features: Features | None = None) -> dict[str, ViewRows]:
        """Rows of every view, by `"team/view"`; arguments, answer and errors are those of `FeatureReader.read`."""
        watched = Watched.begin(self.watch)
        views = chosen(self.views, features)
        if not views:
            return {}
        asked, steps = self.begin(views, keys)
        found = await self.drive(steps, watched)
        rows = decode_all(views, found, asked, features, now_us=self.now_us)
        if watched is not None:
            watched.end(measured(rows))
        return rows

    async def drive(self, steps: Reading, watched: Watched | None) -> dict[str, tuple[Known, Answer]]:
        """As `FeatureReader.drive`."""
        answer: Any = None
        while True:
            try:
                question = steps.send(answer)
            except StopIteration as done:
                found: dict[str, tuple[Known, Answer]] = done.value
                return found
            if isinstance(question, Fetch):
                answer = await self.source.fetch(question.asks)
                if watched is not None:
                    watched.fetched(answer)
            else:
                answer = await self.source.words(question.names)
