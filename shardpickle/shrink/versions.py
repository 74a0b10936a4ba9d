"""Scores and sizes of every smaller version of a model, from one pass over its trees."""

from collections.abc import Callable
from typing import Any

from shardpickle._util.pool import Pool
from shardpickle._util.progress import Meter
from shardpickle.shrink import measure, table
from shardpickle.shrink.table import Smaller, Tradeoff


def compare_versions(
    ensemble: measure.Ensemble,
    score: measure.Scores,
    share: measure.Share,
    stored_bytes: Callable[[Any], int],
    *,
    threads: int,
    progress: bool | None,
) -> Tradeoff:
    """Compare smaller versions. `stored_bytes` gives the bytes on disk of an object."""
    sample = ensemble.sample(share.sample)
    limits = ensemble.limits(sample, share.limits)
    costs = [ensemble.costs(sample, limit, stored_bytes) for limit in limits]
    del sample
    with (
        Meter("tradeoff", ensemble.count, progress, None, unit="tree") as meter,
        Pool(threads) as pool,
    ):
        versions = [
            (version, score.of(answers))
            for version, answers in ensemble.versions(limits, pool.map, meter.advance)
        ]
    whole = next(
        scores
        for version, scores in versions
        if version.estimators == ensemble.count and version.limits == 0
    )
    rows = [
        Smaller(
            n_estimators=version.estimators,
            max_depth=limits[version.limits].max_depth,
            min_samples_leaf=limits[version.limits].min_samples_leaf,
            stored_bytes=round(costs[version.limits].stored * version.nodes),
            memory_bytes=version.nbytes,
            seconds=costs[version.limits].seconds * version.estimators,
            score=float(scores[0]),
            difference=float(scores[0] - whole[0]),
            interval=table.half_interval(scores, whole),
        )
        for version, scores in versions
    ]
    return table.make_table(score.name, ensemble.samples, rows)
