"""`tiffin models`: which versions there are, what one is made of, how two differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import EPILOG, show, show_table
from tiffin.core.errors import Invalid, nearest

if TYPE_CHECKING:
    from tiffin.embedded.models import ModelsOf
    from tiffin.registry.model_history import Version

__all__ = ["models"]

models = typer.Typer(name="models", help="Model versions: metrics, gates, what they were made from.", epilog=EPILOG, no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The model, e.g. eta_model.")]
TeamOption = Annotated[str | None, typer.Option(help="Its team.  [default: the only one that has it]", show_default=False)]


@models.command("list", epilog=EPILOG)
def list_models(home: HomeOption = None, json: JsonOption = False) -> None:
    """Every model: its versions, which one is live, whether the newest passed its gates.

    Example: tiffin models list
    """
    from tiffin.embedded.models import models_of  # 1.2 s: boto3, pydantic

    found = models_of(home_of(home))
    if json:
        show({"models": [one.to_json() for one in found]}, as_json=True, text="")
        return
    show_table("", ["model", "versions", "newest", "gates", "metrics", "live", "owner"], [model_row(one) for one in found])


@models.command("show", epilog=EPILOG)
def show_model(
    name: NameArgument,
    version: Annotated[str | None, typer.Option(help="A digest or its first letters.  [default: the newest]", show_default=False)] = None,
    team: TeamOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """One version: metrics, gates with their evidence, parameters, inputs, features, table, code.

    Example: tiffin models show eta_model
    """
    from tiffin.embedded.models import model_of  # as above

    found = model_of(home_of(home), name, team=team)
    one = chosen(found, version or found.versions[0].digest)
    record = one.record
    if record is None:
        raise Invalid(f"version {one.digest} of model {found.ref!r} cannot be read: {one.trouble}", fix="train it again")
    if json:
        show({"digest": one.digest, "live": one.digest == found.live, **record.model_dump(mode="json")}, as_json=True, text="")
        return
    lines = [
        ["version", one.digest + (" (live)" if one.digest == found.live else "")],
        ["owner", record.owner],
        ["trainer", record.trainer],
        ["table", f"{record.table.ref} version {record.table.version}, {record.table.rows} rows"],
        ["code", f"{record.code.package}, commit {record.code.git_commit or 'unknown'}{' and changes' if record.code.git_dirty else ''}"],
        ["run", record.run_id or "by hand"],
        ["views", ", ".join(dict.fromkeys(one.view for one in record.features))],
        ["inputs", ", ".join(record.inputs)],
        ["params", ", ".join(f"{name}={value}" for name, value in record.params.items())],
    ]
    show_table(found.ref, ["", ""], lines)
    show_table("\nmetrics", ["metric", "value"], [[metric, f"{value:.6g}"] for metric, value in record.metrics.items()])
    gates = [[str(gate["gate"]), "passed" if gate["passed"] is True else "FAILED", evidence(gate)] for gate in record.gates]
    show_table("\ngates", ["gate", "", "evidence"], gates)


@models.command("compare", epilog=EPILOG)
def compare_models(
    name: NameArgument,
    first: Annotated[str | None, typer.Argument(help="A digest or its first letters.  [default: the live one]", show_default=False)] = None,
    second: Annotated[str | None, typer.Argument(help="Another.  [default: the newest]", show_default=False)] = None,
    team: TeamOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Two versions side by side: metrics, and what of parameters, inputs, features, table and code differs.

    Example: tiffin models compare eta_model
    """
    from tiffin.embedded.models import model_of  # as above
    from tiffin.registry.model_history import compare

    found = model_of(home_of(home), name, team=team)
    if first is None and found.live is None:
        raise Invalid(f"model {found.ref!r} has no live version to compare with", fix="name two versions, or deploy one")
    pair = [chosen(found, first or str(found.live)), chosen(found, second or found.versions[0].digest)]
    records = [one.record for one in pair]
    if records[0] is None or records[1] is None:
        raise Invalid(f"a version of model {found.ref!r} cannot be read: {pair[0].trouble or pair[1].trouble}", fix="train it again")
    result = compare(records[0], records[1])
    if json:
        show({"model": found.ref, "versions": [one.digest for one in pair], **result.to_json()}, as_json=True, text="")
        return
    heads = [one.digest[:12] for one in pair]
    rows = [[metric, number(one), number(other), change(one, other)] for metric, (one, other) in result.metrics.items()]
    show_table(found.ref, ["metric", *heads, "change"], rows)
    rows = [[f"param {key}", str(one), str(other)] for key, (one, other) in result.params.items()]
    rows += [[f"feature {key}", short(one), short(other)] for key, (one, other) in result.features.items()]
    rows += [[f"input {key}", "yes", ""] for key in result.inputs[0]] + [[f"input {key}", "", "yes"] for key in result.inputs[1]]
    if rows:
        show_table("\nwhat differs", ["", *heads], rows)
    print(f"\nequal in both: {', '.join(result.same) or 'nothing'}")


def chosen(found: ModelsOf, version: str) -> Version:
    """A version by the first letters of its digest."""
    fitting = [one for one in found.versions if one.digest.startswith(version)]
    if len(fitting) == 1:
        return fitting[0]
    short_names = [one.digest[:12] for one in found.versions]
    if fitting:
        raise Invalid(f"{len(fitting)} versions of model {found.ref!r} begin with {version!r}", fix="give more letters of the digest")
    raise Invalid(
        f"model {found.ref!r} has no version {version!r}", fix=f"{nearest(version, short_names)}; there are {', '.join(short_names)}"
    )


def model_row(one: ModelsOf) -> list[str]:
    """For people; a damaged record says so."""
    from tiffin.registry.model_history import passed

    newest = one.versions[0]
    if newest.record is None:
        return [one.ref, str(len(one.versions)), newest.digest[:12], "", newest.trouble or "", short(one.live), ""]
    shown = [metric for metric in ("mae", "rmse", "auc", "logloss") if metric in newest.record.metrics] or list(newest.record.metrics)[:2]
    metrics = ", ".join(f"{metric} {newest.record.metrics[metric]:.4g}" for metric in shown)
    verdict = "passed" if passed(newest.record) else "FAILED"
    return [one.ref, str(len(one.versions)), newest.digest[:12], verdict, metrics, short(one.live), newest.record.owner]


def short(digest: str | None) -> str:
    """Enough to compare by eye."""
    return "" if digest is None else digest[:12]


def number(value: float | None) -> str:
    """For people."""
    return "" if value is None else f"{value:.6g}"


def change(one: float | None, other: float | None) -> str:
    """By how much the second is more.

    Example:
        >>> change(20.0, 19.0), change(None, 1.0), change(0.0, 1.0)
        ('-5.00%', '', '+1')
    """
    if one is None or other is None:
        return ""
    return f"{(other - one) / abs(one):+.2%}" if one else f"{other - one:+g}"


def evidence(gate: dict[str, Any]) -> str:
    """A gate's figures."""
    return ", ".join(f"{name} {number(value)}" for name, value in gate["evidence"].items() if value is not None)
