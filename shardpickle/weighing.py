"""What smaller versions of a model would answer, all in one pass over its trees. Knows no files.

No version is made: a row's answer under a limit is the value of the first node on its way that
would be a leaf under it (`cutting`), and the sums after each tree are those of a prefix.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardpickle import cutting, families, lazy, tradeoffs
from shardpickle.cutting import Limits
from shardpickle.pruning import pruned

Array = NDArray[Any]
Each = Callable[[Callable[[int], Any], Sequence[int]], list[Any]]

_DEPTHS = (0.25, 0.4, 0.55, 0.7, 0.85)  # of the deepest tree of a sample
_LEAVES = (2, 5, 10, 20)
_PREFIXES = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
_SAMPLE = 8  # trees
_TIMES = 3
_FEWER = 50  # resamples for a scoring of the caller's


@dataclass(frozen=True, slots=True)
class Version:
    """A smaller model: the first so many estimators, with trees within limits.

    Attributes
    ----------
    estimators : int
    limits : int
        Which of the limits.
    nodes, nbytes : int
        Nodes of its trees, and the bytes of their arrays.
    """

    estimators: int
    limits: int
    nodes: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What trees within limits cost, from a sample of them.

    Attributes
    ----------
    stored : float
        Bytes on disk for each node.
    seconds : float
        To predict the rows with one tree.
    """

    stored: float
    seconds: float


class Scores:
    """Scores of answers: on the rows as they are, then on each resample of them.

    Any `scoring` but the default is asked for each resample, so there are fewer of these.
    """

    def __init__(self, model: Any, scoring: Any, truth: Array) -> None:
        self._model, self._scoring, self._truth = model, scoring, truth
        self._draws = tradeoffs.resamples(len(truth))
        if scoring is not None:
            self._draws = self._draws[: _FEWER + 1]
        default = "accuracy" if families.is_classifier(model) else "R²"
        self.name = default if scoring is None else str(getattr(scoring, "__name__", scoring))

    def of(self, answers: Array) -> Array:
        if self._scoring is None and families.is_classifier(self._model):
            right = families.labels(self._model, answers) == self._truth
            return tradeoffs.accuracies(right, self._draws)
        if self._scoring is None:
            truth = self._truth.reshape(len(answers), -1).astype(np.float64)
            return tradeoffs.r2_scores(answers, truth, self._draws)
        found = []
        for draw in self._draws:
            rows = np.repeat(np.arange(len(draw)), draw)
            truth = self._truth[rows]
            found.append(families.scored(self._model, self._scoring, answers[rows], truth))
        return np.array(found)


class Ensemble:
    """What is asked of a model: its last step, and rows as this takes them.

    Raises
    ------
    TypeError
        If it is not known how such a model is cut.
    """

    def __init__(self, model: Any, rows: Any) -> None:
        while families.is_pipeline(model):
            rows = model[:-1].transform(rows) if len(model.steps) > 1 else rows
            model = lazy.real(model.steps[-1][1])
        self.model = model
        self.rows = rows
        self.single = families.is_cut_alike(type(model))
        self.staged = families.has_stages(model)
        if not (self.single or self.staged or families.is_average_of_trees(model)):
            raise TypeError(
                f"what smaller versions of a {type(model).__qualname__} would be is not known; it "
                f"is for {families.CUT_NAMES}, prefixes of gradient boosting, and for pipelines "
                "that end in one of them"
            )
        if not hasattr(model, "tree_" if self.single else "estimators_"):
            raise ValueError(f"the {type(model).__qualname__} is not fitted")
        if families.is_classifier(model) and getattr(model, "n_outputs_", 1) != 1:
            raise TypeError("classifiers of several outputs are not weighed")

    def check(self, truth: Array) -> None:
        """Refuse rows that are not the model's: compiled trees read whatever is there.

        Raises
        ------
        ValueError
            If there are other features, or targets of another number.
        """
        rows, features = families.inputs(self.rows).shape
        if features != self.model.n_features_in_:
            raise ValueError(f"X_val has {features} features, not {self.model.n_features_in_}")
        if len(truth) != rows or not rows:
            raise ValueError(f"y_val has {len(truth)} entries for {rows} rows of X_val")

    @property
    def count(self) -> int:
        return 1 if self.single else len(self.model.estimators_)

    def trees(self, number: int) -> list[Any]:
        """The trees of one estimator: several for boosting of classes."""
        if self.single:
            return [self.model]
        found = self.model.estimators_[number]
        return list(found) if isinstance(found, np.ndarray) else [lazy.real(found)]

    def _at_a_time(self) -> int:
        """Trees of one estimator."""
        held = None if self.single else self.model.estimators_
        return int(held.shape[1]) if isinstance(held, np.ndarray) else 1

    def sample(self) -> list[Any]:
        """Some trees, evenly apart."""
        count = self.count
        numbers = sorted({number * count // _SAMPLE for number in range(_SAMPLE)})
        return [lazy.real(self.trees(number)[0]) for number in numbers]

    def prefixes(self) -> list[int]:
        return [*(each for each in _PREFIXES if each < self.count), self.count]

    def limits(self, sample: Sequence[Any], most: int) -> list[Limits]:
        """The first is none; then depths and leaves alone, then together; at most so many."""
        if self.staged:
            return [Limits()]
        deepest = max(each.tree_.max_depth for each in sample)
        depths = sorted({max(1, round(deepest * share)) for share in _DEPTHS} - {deepest})
        alone = [Limits(max_depth=each) for each in depths]
        alone += [Limits(min_samples_leaf=each) for each in _LEAVES]
        both = [Limits(depth, leaf) for leaf in _LEAVES for depth in depths]
        return [Limits(), *alone, *both][: max(1, most)]

    def width(self) -> int:
        """Numbers that answer a row."""
        if families.is_classifier(self.model):
            return len(self.model.classes_)
        return int(getattr(self.model, "n_outputs_", 1))

    def costs(
        self, sample: Sequence[Any], limits: Limits, stored: Callable[[Any], int], rows: int
    ) -> Costs:
        """What its trees would cost within limits; `stored` says what an object takes on disk."""
        trees = [pruned(each, None, limits) for each in sample]
        nodes = sum(each.tree_.node_count for each in trees)
        shape = (min(rows, 2000), trees[0].tree_.n_features)
        some = np.resize(families.inputs(self.rows), shape)
        seconds = []
        for _ in range(_TIMES):
            began = time.perf_counter()
            for each in trees:
                each.tree_.predict(some)
            seconds.append(time.perf_counter() - began)
        scale = rows / len(some) / len(trees)
        return Costs(stored(trees) / nodes, min(seconds) * scale * self._at_a_time())

    def versions(
        self, limits: Sequence[Limits], each: Each, advance: Callable[[int], None]
    ) -> Iterator[tuple[Version, Array]]:
        """Every prefix with every limit, prefixes ascending, and its answers.

        These are values, or probabilities of classes, of shape (rows, outputs).
        """
        if self.staged:
            yield from self._stages(advance)
            return
        wanted = set(self.prefixes())
        rows = families.inputs(self.rows)
        sums = np.zeros((len(limits), len(rows), self.width()))
        nodes = np.zeros(len(limits), np.int64)
        for number in range(self.count):
            (tree,) = self.trees(number)
            features, columns = families.member_of(self.model, number, tree)
            own = rows if features is None else np.ascontiguousarray(rows[:, features])
            width = self._add(tree, own, columns, limits, each, sums, nodes)
            advance(1)
            if number + 1 in wanted:
                for place, total in enumerate(sums):
                    count = int(nodes[place])
                    yield (
                        Version(number + 1, place, count, count * width),
                        total / (number + 1),
                    )

    @staticmethod
    def _add(
        estimator: Any,
        rows: Array,
        columns: Any,
        limits: Sequence[Limits],
        each: Each,
        sums: Array,
        nodes: Array,
    ) -> int:
        """Add a tree's answers; the bytes of a node."""
        state = estimator.tree_.__getstate__()
        leaf = estimator.tree_.apply(rows)
        depth = cutting.depths(state["nodes"])
        values = state["values"].reshape(len(state["nodes"]), -1)

        def add(place: int) -> None:
            stop = cutting.stops(state["nodes"], depth, limits[place])
            ends = cutting.ends(state["nodes"], stop)
            sums[place][:, columns] += values[ends[leaf]]
            nodes[place] += int((ends == np.arange(len(ends))).sum())

        each(add, range(len(limits)))
        return int(state["nodes"].itemsize + 8 * values.shape[1])

    def _stages(self, advance: Callable[[int], None]) -> Iterator[tuple[Version, Array]]:
        wanted, nodes, nbytes = set(self.prefixes()), 0, 0
        for number, answers in enumerate(families.stages(self.model, self.rows)):
            for tree in map(lazy.real, self.trees(number)):
                nodes += tree.tree_.node_count
                nbytes += families.head(tree.tree_).nbytes
            advance(1)
            if number + 1 in wanted:
                yield Version(number + 1, 0, nodes, nbytes), answers.reshape(len(answers), -1)
