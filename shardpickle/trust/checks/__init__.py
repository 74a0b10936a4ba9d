"""Checks of what compiled code assumes, run once a model is assembled. Knows no bytes or paths.

scikit-learn's and SciPy's compiled loops index without bounds checks. So pieces that are valid one
by one can crash the process when they are combined wrongly. Sources: the ``.pyx`` files of the
modules that are named beside each check.
"""

from shardpickle.trust.checks.base import BrokenError, Check, Later, is_a, is_whole, run, share_run
from shardpickle.trust.checks.ensembles import check_tree, check_tree_state
from shardpickle.trust.checks.neighbors import check_metric_state, check_neighbor_tree_state
from shardpickle.trust.checks.table import (
    CHECKS,
    Problem,
    find_nodes_problem,
    find_problem,
    get_checks,
)

__all__ = [
    "CHECKS",
    "BrokenError",
    "Check",
    "Later",
    "Problem",
    "check_metric_state",
    "check_neighbor_tree_state",
    "check_tree",
    "check_tree_state",
    "find_nodes_problem",
    "find_problem",
    "get_checks",
    "is_a",
    "is_whole",
    "run",
    "share_run",
]
