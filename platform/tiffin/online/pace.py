"""How long a publisher pauses between two batches, so that readers keep their latency: it yields when the server is busy."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Pace"]


@dataclass(slots=True)
class Pace:
    """Doubles the pause while a small question takes longer than usual, halves it when it does not.

    "Usual" is the quickest answer so far, forgotten slowly, so that a server that became slower for good does not
    hold a publication up for ever.

    Args:
        patience: how many times the usual latency is still fine.
        slack_s: and how much longer than usual at least, so that noise does not count.
        first_s, longest_s: bounds of a pause.
        share: a pause is never longer than this share of the time worked since the last one: on a machine that is
            busy anyway a publication takes twice as long, not for ever.
        every_s: how often the question is asked.
    """

    patience: float = 3.0
    slack_s: float = 0.002
    first_s: float = 0.002
    longest_s: float = 0.1
    share: float = 1.0
    every_s: float = 0.02
    pause_s: float = field(init=False, default=0.0)
    usual_s: float = field(init=False, default=float("inf"))

    def after(self, latency_s: float, *, worked_s: float) -> float:
        """The pause to make, given how long the question took just now, and how long was worked since the last one.

        Example:
            >>> pace = Pace()
            >>> [pace.after(latency, worked_s=1.0) for latency in (0.001, 0.02, 0.02, 0.001, 0.001, 0.001)]
            [0.0, 0.002, 0.004, 0.002, 0.001, 0.0]
            >>> pace.after(0.02, worked_s=0.0005)
            0.0005
        """
        self.usual_s = min(self.usual_s * 1.05, latency_s)
        if latency_s > max(self.patience * self.usual_s, self.usual_s + self.slack_s):
            self.pause_s = min(max(self.pause_s * 2, self.first_s), self.longest_s)
        else:
            self.pause_s /= 2
            if self.pause_s < self.first_s / 2:
                self.pause_s = 0.0
        return min(self.pause_s, worked_s * self.share)
