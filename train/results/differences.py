"""What one method has more than another, in pairs of runs with equal seeds, and how likely that is by chance alone."""

import statistics

from train.methods import METHODS
from train.recipes import RECIPES
from train.results.results import Result


def differences(groups: dict, against: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows of a table: differences in points, their standard error, and p of a paired t-test.

    Every method has a row against the other: that of its own sparsity, or the only one; and against the best epoch of
    the other, chosen on the test set, which is the most that stopping early could have given. What trains in phases
    has one more, against the end of its own first phase.

    Args:
        groups: pairs of `train.compare.Entry` and `Result`, by method and sparsity.
        against: the other.
    """
    others = {sparsity: members for (method, sparsity), members in groups.items() if method == against}
    rows = []
    for (method, sparsity), members in groups.items():
        if method == against or not (sparsity in others or len(others) == 1):
            continue
        there = others.get(sparsity) or next(iter(others.values()))
        by_seed = {run.settings.seed: result for run, result in there}
        runs = [(run.settings, result, by_seed[run.settings.seed]) for run, result in members]
        rivals = {
            against: [other.test_score for _, _, other in runs],
            f"{against}, best epoch": [_best(other) for _, _, other in runs],
        }
        if method in METHODS and METHODS[method].has_phases:
            rivals["its first phase"] = [_after_first_phase(settings, result) for settings, result, _ in runs]
        scores = [result.test_score for _, result, _ in runs]
        rows += [(method, f"{sparsity:g}", name, *_compared(scores, rival)) for name, rival in rivals.items()]
    return ("method", "sparsity", "against", "difference", "error", "p", "pairs"), rows


def _best(result: Result) -> float:
    return (min if "error" in result.score else max)(result.test_scores)


def _after_first_phase(settings, result: Result) -> float:
    first, *_ = RECIPES[settings.recipe].method(settings.method).passes(settings.epochs)
    return result.test_scores[int(first) - 1]


def _compared(scores: list[float], others: list[float]) -> tuple[str, ...]:
    from scipy.stats import ttest_rel

    points = [100 * (score - other) for score, other in zip(scores, others, strict=True)]
    spread = ("", "")
    if len(points) > 1:
        error = statistics.stdev(points) / len(points) ** 0.5
        spread = f"{error:.2f}", f"{ttest_rel(scores, others).pvalue:.2g}"
    return f"{statistics.mean(points):+.2f}", *spread, f"{len(points)}"
