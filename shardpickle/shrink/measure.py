"""What smaller versions of a model would answer, all in one pass over its trees. Knows no files.

No version is made: a row's answer under a limit is the value of the first node on its way that
would be a leaf under it (`cut`), and the sums after each tree are those of a prefix.
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
from shardpickle.shrink.prune import pruned, taken
from shardpickle.sklearn_support import classes

Array = NDArray[Any]
Each = Callable[[Callable[[int], Any], Sequence[int]], list[Any]]

_DEPTHS = (0.25, 0.4, 0.55, 0.7, 0.85)  # of the deepest tree of a sample
_LEAVES = (2, 5, 10, 20)
_PREFIXES = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
_SAMPLE = 8  # trees
_TIMES = 3
_FEWEST = 50  # resamples under a low limit


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


@dataclass(frozen=True, slots=True)
class Share:
    """How a memory limit is shared out.

    Attributes
    ----------
    sample : int
        Bytes of trees that costs are measured with.
    resamples : int
        Of the rows, a byte each; not fewer than 50.
    limits : int
        How many limits there can be: each has sums of its own. At least one.
    """

    sample: int
    resamples: int
    limits: int


def share(limit: int, rows: int, width: int, threads: int) -> Share:
    """The shares of `rows` that are answered with `width` numbers each."""
    answers = 8 * rows * width
    sample = limit // 8
    resamples = max(_FEWEST, min(table.RESAMPLES, limit // 4 // rows))
    passing = (2 * threads + 4) * answers + 32 * rows  # what a tree adds, and what is scored
    left = limit - 2 * sample - resamples * rows - passing
    return Share(sample, resamples, max(1, left // answers))


class Scores:
    """Scores of answers: on the rows as they are, then on each resample of them.

    One without a score (ROC where a class was not drawn) is NaN.
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
            warnings.simplefilter("ignore")  # of each resample the same as of the rows, or no score
            drawn = [self._scorer.score_drawn(answers, self._truth, draw) for draw in self._draws]
        return np.array([first, *drawn])


class Ensemble:
    """What is asked of a model: its last step, and rows as this takes them.

    Raises
    ------
    TypeError
        If it is not known how such a model is cut.
    ValueError
        If the model would refuse the rows. Compiled trees would not: they read past a short row.
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
                f"what smaller versions of a {type(model).__qualname__} would be is not known; it "
                f"is for {classes.CUT_NAMES}, prefixes of gradient boosting, and for pipelines "
                "that end in one of them"
            )
        if not hasattr(model, "tree_" if self.single else "estimators_"):
            raise ValueError(f"the {type(model).__qualname__} is not fitted")
        if classes.is_classifier(model) and getattr(model, "n_outputs_", 1) != 1:
            raise TypeError("classifiers of several outputs are not weighed")
        trees = self.trees(0)
        if not classes.is_cut_alike(type(trees[0])):
            raise TypeError(f"how a {type(trees[0]).__qualname__} is cut is not known")
        self._trees_each = len(trees)
        first = model if self.single else taken(model, lambda _: [0])
        first.predict(rows)
        self._inputs = classes.inputs(rows)

    @property
    def count(self) -> int:
        return 1 if self.single else len(self.model.estimators_)

    def trees(self, number: int) -> list[Any]:
        """The trees of one estimator: several for boosting of classes."""
        if self.single:
            return [self.model]
        found = self.model.estimators_[number]
        return [lazy.real(each) for each in (found if isinstance(found, np.ndarray) else [found])]

    @property
    def samples(self) -> int:
        return int(self._inputs.shape[0])

    def targets(self, given: Any) -> Array:
        """What the rows should have been answered with.

        Raises
        ------
        ValueError
            If it is of other rows, or of other outputs.
        """
        found = np.asarray(given)
        width = 1 if classes.is_classifier(self.model) else self.width()
        if found.shape[:1] != (self.samples,) or found.size != self.samples * width:
            raise ValueError(
                f"y_val has the shape {found.shape}; the model has {width} output"
                f"{'s' if width > 1 else ''}, X_val {self.samples} rows"
            )
        return found.reshape(-1) if width == 1 else found

    def sample(self, most: int) -> list[Any]:
        """Some trees, evenly apart: one, and more of them where these take no more bytes."""
        count = self.count
        size = max(1, classes.head(self.trees(0)[0].tree_).nbytes)
        wanted = max(1, min(_SAMPLE, most // size))
        numbers = sorted({number * count // wanted for number in range(wanted)})
        return [self.trees(number)[0] for number in numbers]

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
        if classes.is_classifier(self.model):
            return len(self.model.classes_)
        return int(getattr(self.model, "n_outputs_", 1))

    def costs(self, sample: Sequence[Any], limits: Limits, stored: Callable[[Any], int]) -> Costs:
        """What its trees would cost within limits; `stored` says what an object takes on disk."""
        trees = [pruned(each, None, limits) for each in sample]
        nodes = sum(each.tree_.node_count for each in trees)
        some = classes.inputs(self._inputs[:2000, : trees[0].tree_.n_features])
        seconds = []
        for _ in range(_TIMES):
            began = time.perf_counter()
            for each in trees:
                each.tree_.predict(some)
            seconds.append(time.perf_counter() - began)
        scale = self.samples / some.shape[0] / len(trees)
        return Costs(stored(trees) / nodes, min(seconds) * scale * self._trees_each)

    def versions(
        self, limits: Sequence[Limits], each: Each, advance: Callable[[int], None]
    ) -> Iterator[tuple[Version, Array]]:
        """Every prefix with every limit, prefixes ascending, and what it answers.

        That is values or probabilities of classes, (rows, outputs).
        """
        if self.staged:
            yield from self._stages(advance)
            return
        wanted = set(self.prefixes())
        rows = self._inputs
        sums = np.zeros((len(limits), self.samples, self.width()))
        nodes = np.zeros(len(limits), np.int64)
        for number in range(self.count):
            (tree,) = self.trees(number)
            features, columns = classes.member_of(self.model, number, tree)
            own = rows if features is None else classes.inputs(rows[:, features])
            width = self._add(tree, own, columns, limits, each, sums, nodes)
            advance(1)
            if number + 1 in wanted:
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
        each: Each,
        sums: Array,
        nodes: Array,
    ) -> int:
        """Add a tree's answers; the bytes of a node."""
        state = estimator.tree_.__getstate__()
        leaf = estimator.tree_.apply(rows)
        depth = cut.depths(state["nodes"])
        values = state["values"].reshape(len(state["nodes"]), -1)

        def add(place: int) -> None:
            stop = cut.stops(state["nodes"], depth, limits[place])
            ends = cut.ends(state["nodes"], stop)
            sums[place][:, columns] += values[ends[leaf]]
            nodes[place] += int((ends == np.arange(len(ends))).sum())

        each(add, range(len(limits)))
        return int(state["nodes"].itemsize + 8 * values.shape[1])

    def _stages(self, advance: Callable[[int], None]) -> Iterator[tuple[Version, Array]]:
        wanted, nodes, nbytes = set(self.prefixes()), 0, 0
        for number, answers in enumerate(classes.stages(self.model, self.rows)):
            for tree in self.trees(number):
                nodes += tree.tree_.node_count
                nbytes += classes.head(tree.tree_).nbytes
            advance(1)
            if number + 1 in wanted:
                yield Version(number + 1, 0, nodes, nbytes), answers.reshape(len(answers), -1)
