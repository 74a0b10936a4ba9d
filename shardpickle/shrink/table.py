"""Tables of scores and sizes of smaller versions of a model. Pure: numbers in, text out.

The interval of a difference comes from a paired bootstrap over the rows. Both models are scored on
the same resampled rows, and the interval goes from the 2.5th to the 97.5th percentile of the
differences (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardpickle._util.pages import render
from shardpickle._util.sizes import text

Array = NDArray[Any]

RESAMPLES = 100
_MOST_LINES = 40


@dataclass(frozen=True, slots=True)
class Smaller:
    """A smaller version of a model, and what it costs.

    Attributes
    ----------
    n_estimators : int
    max_depth, min_samples_leaf : int or None
        Arguments of `prune` that make it.
    stored_bytes : int
        Estimated size of the directory that `dump` would write: the number of nodes times the
        bytes per node in a sample of such trees.
    memory_bytes : int
        Exact size of the arrays of its trees.
    seconds : float
        Time to predict the validation rows, measured on a sample of such trees in one thread.
    score : float
    difference, interval : float
        The score minus that of the whole model, and half of the 95 % interval of this difference.
    best : bool
        False if another version is as small and scores better, or is smaller and scores as well.
    """

    n_estimators: int
    max_depth: int | None
    min_samples_leaf: int | None
    stored_bytes: int
    memory_bytes: int
    seconds: float
    score: float
    difference: float
    interval: float
    best: bool = False

    @property
    def name(self) -> str:
        """A short description."""
        words = [f"{self.n_estimators} estimators" if self.n_estimators > 1 else "1 tree"]
        if self.max_depth is not None:
            words.append(f"depth {self.max_depth}")
        if self.min_samples_leaf is not None:
            words.append(f"leaves of {self.min_samples_leaf}")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """Smaller versions of a model, and the model itself.

    Attributes
    ----------
    scoring : str
        Name of the score.
    samples : int
        Validation rows.
    rows : tuple of Smaller
        Smallest first.
    """

    scoring: str
    samples: int
    rows: tuple[Smaller, ...]

    @property
    def whole(self) -> Smaller:
        """The model as it is."""
        return next(
            row
            for row in sorted(self.rows, key=lambda row: -row.n_estimators)
            if row.max_depth is None and row.min_samples_leaf is None
        )

    @property
    def best(self) -> tuple[Smaller, ...]:
        """The best rows, smallest first."""
        return tuple(row for row in self.rows if row.best)

    def to_dict(self) -> dict[str, Any]:
        """The table as plain JSON."""
        return asdict(self)

    def to_pandas(self) -> Any:
        """The rows as a DataFrame (needs pandas)."""
        import pandas  # type: ignore[import-untyped]

        table = pandas.DataFrame([{"name": row.name, **asdict(row)} for row in self.rows])
        return table.astype({"max_depth": "Int64", "min_samples_leaf": "Int64"})

    def to_html(self) -> str:
        """A self-contained page with a chart and the table. It loads and runs nothing."""
        return _page(self)

    def plot(self, axes: Any = None) -> Any:
        """Plot size against score with matplotlib (``pip install shardpickle[plot]``)."""
        if axes is None:
            import matplotlib.pyplot as plt

            _, axes = plt.subplots()
        for is_best, marker, label in ((False, ".", "beaten by another"), (True, "o", "best")):
            rows = [row for row in self.rows if row.best is is_best]
            if rows:
                axes.plot(
                    *([row.stored_bytes for row in rows], [row.score for row in rows]),
                    *(marker,),
                    label=label,
                )
        axes.set(xscale="log", xlabel="stored bytes", ylabel=self.scoring)
        axes.legend()
        return axes

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def make_table(scoring: str, samples: int, rows: Sequence[Smaller]) -> Tradeoff:
    """Sort the rows and mark the best ones."""
    marked, best = [], float("-inf")
    for row in sorted(rows, key=lambda row: (row.stored_bytes, -row.score)):
        marked.append(replace(row, best=row.score > best))
        best = max(best, row.score)
    return Tradeoff(scoring, samples, tuple(marked))


# Scores -------------------------------------------------------------------------------------------


def resamples(rows: int, count: int = RESAMPLES) -> NDArray[np.uint8]:
    """How often each row is drawn: once each first, then in every resample.

    A byte is enough: the chance that a row is drawn 256 times is less than 1e-500.

    Returns
    -------
    ndarray of shape (count + 1, rows)
    """
    generator, probabilities = np.random.default_rng(0), np.full(rows, 1 / rows)
    counts = np.ones((count + 1, rows), np.uint8)
    for drawn in counts[1:]:
        drawn[:] = generator.multinomial(rows, probabilities)
    return counts


def half_interval(scores: Array, others: Array) -> float:
    """Half of the 95 % interval of a difference. Resamples without a score do not count."""
    differences = (scores - others)[1:]
    differences = differences[np.isfinite(differences)]
    if len(differences) < 2:
        return float("nan")
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(high - low) / 2


# Text -------------------------------------------------------------------------------------------


def _lines(tradeoff: Tradeoff) -> Iterator[str]:
    whole = tradeoff.whole
    yield f"{tradeoff.scoring} on {tradeoff.samples} rows; * no other one is as small and as good"
    yield f"  {'':<36}{'stored':>10}{'memory':>10}{'smaller':>9}{'score':>9}  difference"
    shown = [row for row in tradeoff.rows if row.best or row == whole]
    for row in shown[:_MOST_LINES]:
        yield (
            f"{'*' if row.best else ' '} {row.name:<36}{text(row.stored_bytes):>10}"
            f"{text(row.memory_bytes):>10}{whole.stored_bytes / max(1, row.stored_bytes):>8.1f}x"
            f"{row.score:>9.4f}  {_difference(row)}"
        )
    rest = len(tradeoff.rows) - len(shown)
    if rest:
        yield f"  and {rest} that others beat (.rows has all)"


def _difference(row: Smaller) -> str:
    return f"{row.difference:+.4f} ± {row.interval:.4f}"


_WIDE, _HIGH, _LEFT, _LOW = 640, 320, 60, 40


def _page(tradeoff: Tradeoff) -> str:
    sizes = np.log10([max(1, row.stored_bytes) for row in tradeoff.rows])
    scores = np.array([row.score for row in tradeoff.rows])
    span = max(float(np.ptp(sizes)), 1e-9), max(float(np.ptp(scores)), 1e-9)
    xs = _LEFT + 10 + (sizes - sizes.min()) / span[0] * (_WIDE - _LEFT - 30)
    ys = _HIGH - _LOW - 10 - (scores - scores.min()) / span[1] * (_HIGH - _LOW - 30)
    return render(
        Path(__file__).with_name("tradeoff.html"),
        of=tradeoff,
        rows=list(zip(tradeoff.rows, xs.tolist(), ys.tolist(), strict=True)),
        scores=(float(scores.min()), float(scores.max())),
        size=text,
        difference=_difference,
        wide=_WIDE,
        high=_HIGH,
        left=_LEFT,
        low=_LOW,
    )
