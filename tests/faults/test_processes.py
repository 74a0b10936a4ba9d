"""Processes that die, read and write at the same time."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import campaign
import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

import shardpickle

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


def test_a_dump_that_is_killed_at_any_moment(tmp_path):
    found = campaign.kills(tmp_path, 100)
    assert not any(found[each] for each in campaign.BAD), found
    assert found["old"] + found["new"] == 100


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_dump_that_is_stopped(number, tmp_path):
    found = campaign.kills(tmp_path, 25, number)
    assert not any(found[each] for each in campaign.BAD), found


def test_readers_see_one_generation(tmp_path):
    found = campaign.readers(tmp_path, 150)
    assert not any(found[each] for each in campaign.BAD), found
    assert min(found["old"], found["new"], found["sound"]) > 5


def test_two_writers_leave_one_whole_model(tmp_path):
    found = campaign.writers(tmp_path, 60)
    assert not any(found[each] for each in campaign.BAD), found
    assert found["old"] + found["new"] > 5
    names = campaign.files_of(tmp_path / "model")
    assert all(name == "manifest.json" or name.endswith(".shard") for name in names)


def test_a_dead_writers_lock_does_not_block_the_next(tmp_path):
    path = tmp_path / "model"
    shardpickle.dump(campaign.OLD, path, **campaign.OPTIONS)
    reading, writing = os.pipe()

    def hold(event):
        os.write(writing, b"x")
        time.sleep(60)

    child = campaign._forked(
        lambda: shardpickle.dump(campaign.NEW, path, on_progress=hold, **campaign.OPTIONS)
    )
    assert os.read(reading, 1) == b"x"
    with pytest.raises(shardpickle.BusyDirectoryError, match="another process is writing"):
        shardpickle.dump(campaign.NEXT, path, **campaign.OPTIONS)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert campaign.recovered(path)


def test_a_load_that_is_killed_changes_nothing(tmp_path):
    """As the kernel's memory killer would: SIGKILL in the middle of a load."""
    path = tmp_path / "model"
    shardpickle.dump(campaign.OLD, path, **campaign.OPTIONS)
    before = {name: (path / name).read_bytes() for name in campaign.files_of(path)}
    for _ in range(10):
        reading, writing = os.pipe()
        child = campaign._forked(
            lambda writing=writing: shardpickle.load(
                path, workers=1, on_progress=lambda event: os.write(writing, b"x")
            )
        )
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert {name: (path / name).read_bytes() for name in campaign.files_of(path)} == before


@pytest.mark.skipif(
    tuple(map(int, joblib.__version__.split(".")[:2])) < (1, 4),
    reason="joblib 1.3 sometimes waits for ever for a worker that was killed",
)
def test_a_worker_that_is_killed_ends_the_prediction_and_not_the_next(tmp_path):
    rng = np.random.default_rng(0)
    features, target = rng.random((3000, 5)), rng.random(3000)
    model = RandomForestRegressor(40, random_state=0).fit(features, target)
    shardpickle.dump(model, tmp_path / "model", shard_size="500kB")
    rows = rng.random((60_000, 5))
    expected = shardpickle.predict(tmp_path / "model", rows, workers=2)  # workers are there now
    victims = _workers()
    assert len(victims) == 2

    def kill():
        time.sleep(0.1)
        os.kill(victims[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(shardpickle.WorkerLostError, match="memory"):
        _predict_for_ever(tmp_path / "model", rows)
    thread.join()
    assert (shardpickle.predict(tmp_path / "model", rows, workers=2) == expected).all()
    assert len(_workers()) == 2
    assert not set(victims) & set(_workers())


def _predict_for_ever(path, rows):
    while True:
        shardpickle.predict(path, rows, workers=2)


def _workers():
    """Processes of ours that run joblib's tasks."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
            tasks = b"popen_loky" in stat.with_name("cmdline").read_bytes()
            if int(parent) == os.getpid() and state not in "ZX" and tasks:
                found.append(int(stat.parent.name))
    return found
