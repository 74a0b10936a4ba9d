"""Threads: how many, in which order, and what an error does."""

import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import joblib
import loky
import numpy as np
import pytest

import shardpickle
from shardpickle._util import pool as workers
from shardpickle._util.pool import Pool


def test_the_default_is_what_this_process_may_use():
    assert workers.check_workers(None) == loky.cpu_count()
    assert workers.check_workers(3) == 3


def default():
    return workers.default_workers()


@pytest.mark.long
def test_affinity_counts():
    code = (
        "import os; os.sched_setaffinity(0, {0}); from shardpickle._util import pool as workers;"
        "print(workers.default_workers())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.long
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_one_inside_a_joblib_task(backend):
    counts = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(default)() for _ in range(3))
    assert counts == [1, 1, 1]


@pytest.mark.long
def test_one_inside_a_loky_worker():
    with loky.ProcessPoolExecutor(max_workers=1) as executor:
        assert executor.submit(default).result() == 1


def test_processes_and_threads_of_ones_own_may_use_all_cores():
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(default).result() == loky.cpu_count()


def test_one_inside_dask_ray_and_spark_tasks(monkeypatch):
    # None of the three is installed here: their own markers of a running task are imitated.
    everywhere = default()
    state = types.SimpleNamespace()
    monkeypatch.setitem(
        sys.modules, "distributed.worker", types.SimpleNamespace(thread_state=state)
    )
    assert default() == everywhere
    state.key = "task-1"
    assert default() == 1
    monkeypatch.delitem(sys.modules, "distributed.worker")

    context = types.SimpleNamespace(get_task_id=lambda: None)
    ray = types.SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context)
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert default() == everywhere
    context.get_task_id = lambda: "id"
    assert default() == 1
    monkeypatch.delitem(sys.modules, "ray")

    task = types.SimpleNamespace(get=lambda: None)
    monkeypatch.setitem(sys.modules, "pyspark", types.SimpleNamespace(TaskContext=task))
    assert default() == everywhere
    task.get = lambda: "context"
    assert default() == 1


def round_trip(path):
    model = {"a": np.arange(100_000.0)}
    shardpickle.dump(model, path, workers=2)
    return bool((shardpickle.load(path, workers=2)["a"] == model["a"]).all())


@pytest.mark.long
def test_dump_and_load_inside_tasks(tmp_path):
    # Daemonic processes may not start processes; threads need nothing.
    for backend in ("loky", "threading", "multiprocessing"):
        paths = [str(tmp_path / f"{backend}{number}") for number in range(3)]
        parallel = joblib.Parallel(n_jobs=2, backend=backend)
        assert parallel(joblib.delayed(round_trip)(path) for path in paths) == [True] * 3


def test_after_a_fork(tmp_path):
    assert round_trip(str(tmp_path / "before"))
    import multiprocessing

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
        assert executor.submit(round_trip, str(tmp_path / "after")).result(timeout=60)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order(count):
    def slow(number):
        time.sleep(0.001 * (number % 3))
        return number * number

    with Pool(count) as pool:
        assert list(pool.stream(slow, range(40))) == [n * n for n in range(40)]
        assert pool.map(slow, list(range(40))) == [n * n for n in range(40)]


def test_tasks_that_map_do_not_wait_for_themselves():
    with Pool(2) as pool:

        def task(number):
            return sum(pool.map(lambda step: step * number, list(range(50))))

        assert list(pool.stream(task, range(8))) == [1225 * n for n in range(8)]


def test_idle_threads_help():
    with Pool(3) as pool:
        gate = threading.Barrier(3, timeout=30)  # passes only if three threads are in a step

        def step(number):
            if number < 3:
                gate.wait()
            return number

        (result,) = pool.stream(lambda _: pool.map(step, list(range(9))), [0])
        assert result == list(range(9))


def test_few_items_are_under_way():
    started = []
    with Pool(2) as pool:

        def items():
            for number in range(20):
                started.append(number)
                yield number

        for number in pool.stream(lambda item: item, items()):
            assert len(started) <= number + 4


@pytest.mark.parametrize("count", [1, 4])
def test_the_first_error_wins_and_the_rest_is_dropped(count):
    done = []

    def task(number):
        if number == 5:
            raise KeyError("five")
        time.sleep(0.002)
        done.append(number)
        return number

    with pytest.raises(KeyError, match="five"), Pool(count) as pool:
        list(pool.stream(task, range(1000)))
    assert len(done) < 5 + 2 * count + 2
    with pytest.raises(KeyError, match="five"), Pool(count) as pool:
        pool.map(task, list(range(1000)))
    assert len(done) < 20 + 4 * count
