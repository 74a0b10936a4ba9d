"""What compiled code assumes of arrays, checked once a model is assembled. Knows no bytes or paths.

scikit-learn's and SciPy's compiled loops index without bounds, so pieces that are each sound can
crash the process when they are put together wrongly. Sources: the ``.pyx`` files of the modules
that are named beside each check.
"""

from shardpickle.trust.checks.base import BrokenError, Check, Later, is_a, is_whole, one_run, run
from shardpickle.trust.checks.ensembles import tree, tree_state
from shardpickle.trust.checks.neighbors import metric_state, neighbor_tree_state
from shardpickle.trust.checks.table import CHECKS, Problem, checks_of, nodes_problem, problem

__all__ = [
    "CHECKS",
    "BrokenError",
    "Check",
    "Later",
    "Problem",
    "checks_of",
    "is_a",
    "is_whole",
    "metric_state",
    "neighbor_tree_state",
    "nodes_problem",
    "one_run",
    "problem",
    "run",
    "tree",
    "tree_state",
]
