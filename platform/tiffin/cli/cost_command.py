"""`tiffin cost`: what a period has cost, by team, asset, partition, run or model; every grouping adds up to the same bill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import say, show, show_table, working
from tiffin.core.errors import Invalid, nearest

if TYPE_CHECKING:
    from tiffin.compute.cost import Bill, By
    from tiffin.embedded.cost_report import CostReport

__all__ = ["cost"]

PLATFORM = Path("deploy/platform.yaml")


def cost(
    by: Annotated[
        str, typer.Option("--by", help="team, asset, partition, run, model, kind, flavor or day; several with commas between.")
    ] = "team",
    since: Annotated[str, typer.Option("--since", help="First day, or how long back: 2026-11-01, 7d.")] = "30d",
    until: Annotated[str | None, typer.Option("--until", help="Last day.  [default: today]", show_default=False)] = None,
    team: Annotated[str | None, typer.Option("--team", help="Only what this team pays.", show_default=False)] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option("--predictions", help="MODEL=COUNT of the period: adds the cost of 1,000; may be repeated.", show_default=False),
    ] = None,
    platform: Annotated[Path, typer.Option("--platform", help="Where the prices are.")] = PLATFORM,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """What steps, serving and the online store have cost, by the prices of the platform's file.

    A step costs what it asked for while it had its quota: waiting is free. What was borrowed is paid by the borrower and
    shown to both. Without a cluster, the steps that ran on this machine are counted as if each had asked for the default.

    Example: tiffin cost --by asset --since 7d

    Example: tiffin cost --by team,day --since 2026-11-01 --json
    """
    from tiffin.core.clock import wall_clock
    from tiffin.embedded.cost_report import cost_report, period_of  # 1.2 s: boto3, pydantic, signing

    words = words_of(by)
    counts = counts_of(predictions or [])
    first, last = period_of(since, until, today=wall_clock().date())
    with working("reading usage records", quiet=json):
        found = cost_report(home_of(home), platform, first, last)
    bill = found.bill if team is None else only(found.bill, team)
    told = as_json(found, bill, words, counts)
    if json:
        show(told, as_json=True, text="")
        return
    total = bill.usd_micro
    rows = [[*names, dollars(micro), f"{micro / total:.1%}" if total else ""] for names, micro in bill.by(*words).items()]
    show_table(f"cost from {first} to {last}", [*words, "USD", "share"], [*rows, ["total", *[""] * (len(words) - 1), dollars(total), ""]])
    if told["borrowed"]:
        lent = [[one["borrower"], one["lender"], dollars(one["usd_micro"])] for one in told["borrowed"]]
        show_table("\nborrowed: paid by the borrower, of the lender's idle quota", ["borrower", "lender", "USD"], lent)
    if counts:
        show_table("\n1,000 predictions", ["model", "USD"], [[name, dollars(micro)] for name, micro in told["per_1000_usd_micro"].items()])
    if found.trouble:
        say(f"the cluster could not be asked for what is new: {found.trouble}")
    if found.local:
        say("steps that ran without a cluster are counted as local: one core and 1Gi for as long as they ran")
    if found.guessed_s:
        say(f"{found.guessed_s} s of admitted time were seen by nobody and are known from Kueue's own sum")


def words_of(by: str) -> list[By]:
    """What to group by. Raises Invalid with the nearest word."""
    from tiffin.compute.cost import BY

    known = {word: word for word in BY}
    for word in by.split(","):
        if word.strip() not in known:
            raise Invalid(f"--by {word.strip()!r} is nothing that a cost has", fix=nearest(word.strip(), known))
    return [known[word.strip()] for word in by.split(",")]  # type: ignore[index]  # looked up just above


def counts_of(predictions: list[str]) -> dict[str, int]:
    """`eta/eta=120000` as a count."""
    found = {}
    for text in predictions:
        model, _, count = text.partition("=")
        if not model or not count.isdigit():
            raise Invalid(f"--predictions {text!r} is not MODEL=COUNT", fix="write it like eta/eta=120000")
        found[model] = int(count)
    return found


def only(bill: Bill, team: str) -> Bill:
    """The lines of one team. Raises Invalid for a team that pays nothing in the period and is misspelt."""
    from tiffin.compute.cost import Bill

    known = {line.team for line in bill.lines}
    if team not in known:
        raise Invalid(f"team {team!r} has no cost in this period", fix=nearest(team, known))
    return Bill(tuple(line for line in bill.lines if line.team == team))


def as_json(found: CostReport, bill: Bill, words: list[By], counts: dict[str, int]) -> dict[str, Any]:
    """One object: whole millionths of a dollar, so that nothing is lost in rounding."""
    from tiffin.compute.cost import per_thousand

    return {
        "from": found.first.isoformat(),
        "to": found.last.isoformat(),
        "by": list(words),
        "usd_micro": bill.usd_micro,
        "costs": [{**dict(zip(words, names, strict=True)), "usd_micro": micro} for names, micro in bill.by(*words).items()],
        "borrowed": [{"borrower": borrower, "lender": lender, "usd_micro": micro} for (borrower, lender), micro in bill.borrowed().items()],
        "per_1000_usd_micro": per_thousand(bill, counts),
        "records": found.records,
        "local": found.local,
        "guessed_s": found.guessed_s,
        "trouble": found.trouble,
    }


def dollars(micro: int) -> str:
    """For people: cents, and more digits where there is less than a dollar.

    Example:
        >>> dollars(12_345_678), dollars(1_234), dollars(0)
        ('12.35', '0.001234', '0.00')
    """
    return f"{micro / 1e6:.2f}" if micro == 0 or abs(micro) >= 1_000_000 else f"{micro / 1e6:.6f}"
