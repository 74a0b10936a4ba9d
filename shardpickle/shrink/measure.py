"""Predicts with all smaller versions of a model in one pass over its trees. Knows no files.

No version is made. Under a limit, a row's prediction is the value of the first node on its path
that would be a leaf (`cut`). The sums after each tree are those of a prefix.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardpickle import lazy
from shardpickle.shrink import cut, table
from shardpickle.shrink.cut import Limits
from shardpickle.shrink.prune import prune_model, take_estimators
from shardpickle.sklearn_support import classes

Array = NDArray[Any]
MapEach = Callable[[Callable[[int], Any], Sequence[int]], list[Any]]

_DEPTHS = (0.25, 0.4, 0.55, 0.7, 0.85)  # of the deepest tree of a sample
_LEAVES = (2, 5, 10, 20)
_PREFIXES = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
_SAMPLE = 8  # trees
_TIMES = 3
_FEWEST = 50  # resamples under a low limit


@dataclass(frozen=True, slots=True)
class Version:
    """A smaller model: the first estimators, with trees within limits.

    Attributes
    ----------
    estimators : int
        Number of estimators.
    limits : int
        Index of its limits.
    nodes, nbytes : int
        Nodes of its trees, and bytes of their arrays.
    """

    estimators: int
    limits: int
    nodes: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What trees within limits cost, measured on a sample.

    Attributes
    ----------
    stored : float
        Bytes on disk per node.
    seconds : float
        Time to predict the rows with one tree.
    """

    stored: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Share:
    """How a memory limit is divided.

    Attributes
    ----------
    sample : int
        Bytes for the trees that costs are measured on.
    resamples : int
        Number of resamples of the rows, one byte per row. At least 50.
    limits : int
        Most limits, each of which needs its own sums. At least one.
    """

    sample: int
    resamples: int
    limits: int


def share(limit: int, rows: int, width: int, threads: int) -> Share:
    """Divide a memory limit for `rows` with `width` predicted numbers each."""
    answers = 8 * rows * width
    sample = limit // 8
    resamples = max(_FEWEST, min(table.RESAMPLES, limit // 4 // rows))
    overhead = (
        2 * threads + 4
    ) * answers + 32 * rows  # one tree's predictions, and the scored ones
    answers_left = limit - 2 * sample - resamples * rows - overhead
    return Share(sample, resamples, max(1, answers_left // answers))


class Scores:
    """Scores of predictions: on the rows themselves, then on each resample.

    A resample without a score is NaN (ROC where a class was not drawn).
    """

    def __init__(self, model: Any, scoring: Any, truth: Array, resamples: int) -> None:
        self._scorer = classes.AnswerScorer(model, scoring)
        self._truth = truth
        self._draws = table.resamples(len(truth), resamples)[1:]
        default = "accuracy" if classes.is_classifier(model) else "R²"
        self.name = default if scoring is None else str(getattr(scoring, "__name__", scoring))

    def of(self, answers: Array) -> Array:
        answers = np.asarray(answers)
        first = self._scorer.score(answers, self._truth)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # repeats the warnings for the rows, or has no score
            drawn = [self._scorer.score_drawn(answers, self._truth, draw) for draw in self._draws]
        return np.array([first, *drawn])


class Ensemble:
    """The ensemble in a model, its last step, and rows as this step takes them.

    Raises
    ------
    TypeError
        If shardpickle cannot cut such a model.
    ValueError
        If the model refuses the rows. Compiled trees do not check: they read past a short row.
    """

    def __init__(self, model: Any, rows: Any) -> None:
        while classes.is_pipeline(model):
            rows = model[:-1].transform(rows) if len(model.steps) > 1 else rows
            model = lazy.real(model.steps[-1][1])
        self.model = model
        self.rows = rows
        self.single = classes.is_cut_alike(type(model))
        self.staged = classes.has_stages(model)
        if not (self.single or self.staged or classes.is_average_of_trees(model)):
            raise TypeError(
                f"cannot make smaller versions of a {type(model).__qualname__}: this works for "
                f"{classes.CUT_NAMES}, prefixes of gradient boosting, and pipelines that end in "
                "one of them"
            )
        if not hasattr(model, "tree_" if self.single else "estimators_"):
            raise ValueError(f"the {type(model).__qualname__} is not fitted")
        if classes.is_classifier(model) and getattr(model, "n_outputs_", 1) != 1:
            raise TypeError("classifiers with several outputs are not supported")
        trees = self.trees(0)
        if not classes.is_cut_alike(type(trees[0])):
            raise TypeError(f"cannot cut a {type(trees[0]).__qualname__}")
        self._trees_each = len(trees)
        first = model if self.single else take_estimators(model, lambda _: [0])
        first.predict(rows)
        self._inputs = classes.inputs(rows)

    @property
    def count(self) -> int:
        return 1 if self.single else len(self.model.estimators_)

    def trees(self, number: int) -> list[Any]:
        """The trees of one estimator: several if boosting has several classes."""
        if self.single:
            return [self.model]
        estimators = self.model.estimators_[number]
        return [
            lazy.real(tree)
            for tree in (estimators if isinstance(estimators, np.ndarray) else [estimators])
        ]

    @property
    def samples(self) -> int:
        return int(self._inputs.shape[0])

    def targets(self, y_val: Any) -> Array:
        """Check the true values of the rows.

        Raises
        ------
        ValueError
            If their number of rows or outputs differs.
        """
        truth = np.asarray(y_val)
        width = 1 if classes.is_classifier(self.model) else self.width()
        if truth.shape[:1] != (self.samples,) or truth.size != self.samples * width:
            raise ValueError(
                f"y_val has the shape {truth.shape}, but the model has {width} output"
                f"{'s' if width > 1 else ''} and X_val has {self.samples} rows"
            )
        return truth.reshape(-1) if width == 1 else truth

    def sample(self, most: int) -> list[Any]:
        """Pick trees, evenly spaced: one, or more if they fit into `most` bytes."""
        count = self.count
        size = max(1, classes.head(self.trees(0)[0].tree_).nbytes)
        n_trees = max(1, min(_SAMPLE, most // size))
        numbers = sorted({number * count // n_trees for number in range(n_trees)})
        return [self.trees(number)[0] for number in numbers]

    def prefixes(self) -> list[int]:
        return [*(count for count in _PREFIXES if count < self.count), self.count]

    def limits(self, sample: Sequence[Any], most: int) -> list[Limits]:
        """At most `most` limits: none first, then depths and leaves alone, then together."""
        if self.staged:
            return [Limits()]
        deepest = max(tree.tree_.max_depth for tree in sample)
        depths = sorted({max(1, round(deepest * share)) for share in _DEPTHS} - {deepest})
        alone = [Limits(max_depth=depth) for depth in depths]
        alone += [Limits(min_samples_leaf=leaf) for leaf in _LEAVES]
        combined = [Limits(depth, leaf) for leaf in _LEAVES for depth in depths]
        return [Limits(), *alone, *combined][: max(1, most)]

    def width(self) -> int:
        """Number of values that are predicted for a row."""
        if classes.is_classifier(self.model):
            return len(self.model.classes_)
        return int(getattr(self.model, "n_outputs_", 1))

    def costs(self, sample: Sequence[Any], limits: Limits, stored: Callable[[Any], int]) -> Costs:
        """Measure trees within limits. `stored` gives the bytes on disk of an object."""
        trees = [prune_model(tree, None, limits) for tree in sample]
        nodes = sum(tree.tree_.node_count for tree in trees)
        rows = classes.inputs(self._inputs[:2000, : trees[0].tree_.n_features])
        seconds = []
        for _ in range(_TIMES):
            started = time.perf_counter()
            for tree in trees:
                tree.tree_.predict(rows)
            seconds.append(time.perf_counter() - started)
        scale = self.samples / rows.shape[0] / len(trees)
        return Costs(stored(trees) / nodes, min(seconds) * scale * self._trees_each)

    def versions(
        self, limits: Sequence[Limits], map_each: MapEach, advance: Callable[[int], None]
    ) -> Iterator[tuple[Version, Array]]:
        """Every prefix with every limit, prefixes ascending, and its predictions.

        These are values or class probabilities, of shape (rows, outputs).
        """
        if self.staged:
            yield from self._stages(advance)
            return
        prefixes = set(self.prefixes())
        rows = self._inputs
        sums = np.zeros((len(limits), self.samples, self.width()))
        nodes = np.zeros(len(limits), np.int64)
        for number in range(self.count):
            (tree,) = self.trees(number)
            features, columns = classes.member_of(self.model, number, tree)
            features_of_tree = rows if features is None else classes.inputs(rows[:, features])
            width = self._add(tree, features_of_tree, columns, limits, map_each, sums, nodes)
            advance(1)
            if number + 1 in prefixes:
                for place, total in enumerate(sums):
                    count = int(nodes[place])
                    version = Version(number + 1, place, count, count * width)
                    yield version, total / (number + 1)

    @staticmethod
    def _add(
        estimator: Any,
        rows: Array,
        columns: Any,
        limits: Sequence[Limits],
        map_each: MapEach,
        sums: Array,
        nodes: Array,
    ) -> int:
        """Add a tree's predictions to the sums. Returns the bytes of a node."""
        state = estimator.tree_.__getstate__()
        leaf = estimator.tree_.apply(rows)
        depth = cut.compute_depths(state["nodes"])
        values = state["values"].reshape(len(state["nodes"]), -1)

        def add(place: int) -> None:
            is_leaf = cut.find_leaves(state["nodes"], depth, limits[place])
            ends = cut.find_ends(state["nodes"], is_leaf)
            sums[place][:, columns] += values[ends[leaf]]
            nodes[place] += int((ends == np.arange(len(ends))).sum())

        map_each(add, range(len(limits)))
        return int(state["nodes"].itemsize + 8 * values.shape[1])

    def _stages(self, advance: Callable[[int], None]) -> Iterator[tuple[Version, Array]]:
        prefixes, nodes, nbytes = set(self.prefixes()), 0, 0
        for number, answers in enumerate(classes.stages(self.model, self.rows)):
            for tree in self.trees(number):
                nodes += tree.tree_.node_count
                nbytes += classes.head(tree.tree_).nbytes
            advance(1)
            if number + 1 in prefixes:
                yield Version(number + 1, 0, nodes, nbytes), answers.reshape(len(answers), -1)
