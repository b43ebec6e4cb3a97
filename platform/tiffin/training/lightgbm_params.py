"""Which LightGBM parameters a model may set, and those that we set so that training repeats."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightgbm.basic import _ConfigAliases  # the only list of all parameters; lightgbm is pinned and a test watches it

from tiffin.core.errors import Invalid, nearest

__all__ = ["Resolved", "known_params", "resolve_params"]

OURS = ("seed", "num_threads", "deterministic", "force_row_wise", "force_col_wise", "device_type", "verbosity")
"""Set by the trainer: chance, threads, and the order of additions."""

OBJECTIVES = (
    *("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie"),
    *("binary", "cross_entropy", "cross_entropy_lambda"),
)
"""One number per row, learnt from the matrix and the label alone."""

ALLOWED = frozenset(
    re.findall(
        r"\w+",
        """
        alpha bagging_fraction bagging_freq bagging_seed bin_construct_sample_cnt boost_from_average boosting cat_l2
        cat_smooth categorical_feature data_random_seed data_sample_strategy drop_rate drop_seed enable_bundle
        extra_seed extra_trees fair_c feature_contri feature_fraction feature_fraction_bynode feature_fraction_seed
        feature_pre_filter interaction_constraints is_enable_sparse is_unbalance lambda_l1 lambda_l2 learning_rate
        linear_lambda linear_tree max_bin max_bin_by_feature max_cat_threshold max_cat_to_onehot max_delta_step
        max_depth max_drop min_data_in_bin min_data_in_leaf min_data_per_group min_gain_to_split min_sum_hessian_in_leaf
        monotone_constraints monotone_constraints_method monotone_penalty neg_bagging_fraction num_grad_quant_bins
        num_iterations num_leaves objective objective_seed other_rate path_smooth poisson_max_delta_step
        pos_bagging_fraction quant_train_renew_leaf reg_sqrt saved_feature_importance_type scale_pos_weight sigmoid
        skip_drop stochastic_rounding top_rate tweedie_variance_power uniform_drop use_missing use_quantized_grad
        xgboost_dart_mode zero_as_missing
        """,
    )
)
"""What shapes the trees. The rest names files, machines or devices, or is about other programs than `train`."""

INSTEAD = {
    "early_stopping_round": "set num_iterations",
    "metric": "remove it: the metrics of the label's kind are always measured; set objective to change what is learnt",
}
DEFAULT_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Resolved:
    """Parameters under their canonical names, ready for LightGBM."""

    settings: dict[str, Any]
    rounds: int
    categorical: tuple[str, ...]

    @property
    def recorded(self) -> dict[str, Any]:
        """What the manifest keeps: everything but the thread count, which has no influence."""
        kept = {name: value for name, value in self.settings.items() if name != "num_threads"}
        return {**kept, "num_iterations": self.rounds, "categorical_feature": list(self.categorical)}


def known_params() -> dict[str, str]:
    """Every spelling that LightGBM reads → its canonical name."""
    found: dict[str, str] = {}
    for name, spellings in _ConfigAliases._get_all_param_aliases().items():
        found.update(dict.fromkeys((name, *spellings), name))
    return found


def resolve_params(params: Mapping[str, Any], *, inputs: Sequence[str], seed: int, threads: int) -> Resolved:
    """Check the model's parameters and add ours.

    Raises:
        Invalid: unknown (with the nearest name), given twice under two spellings, set by us, not
            about training, or of a value that is no number, word, flag or list of these.
    """
    if not 0 <= seed < 2**31 or threads < 1:
        raise Invalid(f"seed {seed}, threads {threads}", fix="give a seed of 0 to 2**31-1 and at least one thread")
    spellings = known_params()
    given: dict[str, Any] = {}
    for spelling, value in params.items():
        name = spellings.get(spelling)
        if name is None:
            raise Invalid(f"LightGBM has no parameter {spelling!r}", fix=nearest(str(spelling), spellings))
        if name in OURS:
            raise Invalid(f"parameter {spelling!r} is set by the trainer, so that training repeats", fix=f"remove {spelling!r} from params")
        if name not in ALLOWED:
            raise Invalid(f"parameter {spelling!r} is not about growing one model's trees", fix=INSTEAD.get(name, f"remove {spelling!r}"))
        if name in given:
            raise Invalid(f"parameter {name!r} is given twice, once as {spelling!r}", fix="give it once")
        given[name] = check_value(spelling, value)

    objective = given.setdefault("objective", "regression")
    if plain_objective(objective) not in OBJECTIVES:
        raise Invalid(f"objective {objective!r} does not give one number per row", fix=nearest(str(objective), OBJECTIVES))
    rounds = given.pop("num_iterations", DEFAULT_ROUNDS)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise Invalid(f"num_iterations is {rounds!r}", fix="give a whole number of 1 or more")
    categorical = given.pop("categorical_feature", [])
    for name in categorical if isinstance(categorical, list) else [categorical]:
        if name not in inputs:
            raise Invalid(f"categorical_feature names {name!r}, which is no input of the model", fix=nearest(str(name), inputs))
    ours = {"seed": seed, "num_threads": threads, "deterministic": True, "force_row_wise": True, "device_type": "cpu", "verbosity": -1}
    return Resolved({**given, **ours}, rounds, tuple(categorical) if isinstance(categorical, list) else (categorical,))


def check_value(name: str, value: Any) -> Any:
    """A value that LightGBM and the manifest can both hold."""
    if isinstance(value, list | tuple):
        return [check_value(name, one) for one in value]
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise Invalid(f"parameter {name!r} is {value!r}", fix="give a finite number, a word, true or false, or a list of these")


def plain_objective(objective: Any) -> Any:
    """LightGBM's other words for its regression losses."""
    squared = dict.fromkeys(("regression_l2", "l2", "mean_squared_error", "mse", "rmse"), "regression")
    absolute = dict.fromkeys(("l1", "mean_absolute_error", "mae"), "regression_l1")
    return (squared | absolute).get(objective, objective)
