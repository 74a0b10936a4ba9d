"""What every test starts from, and how much of the suite runs.

`pytest` runs a sample of every test: two of its cases, evenly apart, and no test that is marked
`long`. `pytest --rest` runs the others, `pytest --all` runs everything, as does .ci/run in two
steps. Tests that are named one by one (`tests/test_x.py::test_y`) all run.
"""

import gc
from collections import defaultdict

import pytest

from shardpickle.lazy import CACHE

CASES = 2  # of a test with parameters


def pytest_addoption(parser):
    group = parser.getgroup("how much of the suite runs")
    group.addoption("--all", action="store_true", help="run everything")
    group.addoption("--rest", action="store_true", help="run what a plain run leaves out")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes seconds; runs with --rest and --all")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    named = any("::" in argument for argument in config.args)
    if config.getoption("all") or (named and not config.getoption("rest")):
        return
    cases = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    sample = set()
    for of_test in cases.values():
        step = max(1, len(of_test) // CASES)
        sample.update(
            item for item in of_test[::step][:CASES] if not item.get_closest_marker("long")
        )
    rest = config.getoption("rest")
    items[:], left = (
        [item for item in items if (item in sample) is not rest],
        [item for item in items if (item in sample) is rest],
    )
    config.hook.pytest_deselected(items=left)


@pytest.fixture(autouse=True)
def _no_limit():
    """Each test starts with nothing in the cache of lazy models and no limit, as a process does."""
    if CACHE.any():
        gc.collect()
    CACHE.limit = None
    yield
    CACHE.limit = None
