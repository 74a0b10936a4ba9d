"""Processes that die, read and write at the same time."""

import contextlib
import os
import signal
import struct
import time
from multiprocessing import connection
from pathlib import Path

import campaign
import joblib
import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor

import shardpickle
from shardpickle.lazy import predict

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


def test_a_dump_that_is_killed_at_any_moment(tmp_path):
    found = campaign.kills(tmp_path, 100)
    assert not any(found[each] for each in campaign.BAD), found
    assert found["old"] + found["new"] == 100


@pytest.mark.long
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


def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(np.ndarray):
    """Rows that end the process which unpickles them."""

    def __reduce__(self):
        return die, ()


def die_while_sending():
    """End this process when it has sent the beginning of its answer."""

    def send_half(pipe, data):
        os.write(pipe.fileno(), struct.pack("!i", len(data)) + bytes(data[: len(data) // 2]))
        die()

    connection.Connection._send_bytes = send_half
    return 1


@pytest.fixture
def boosting(tmp_path):
    rng = np.random.default_rng(0)
    features, target = rng.random((300, 5)), rng.random(300)
    model = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(features, target)
    shardpickle.dump(model, tmp_path / "model")
    rows = rng.random((1000, 5))
    return tmp_path / "model", rows, model.predict(rows)


def predicts_again(path, rows, expected):
    return (shardpickle.predict(path, rows, workers=2) == expected).all()


def test_a_worker_that_dies_in_a_task_ends_the_prediction_and_not_the_next(boosting):
    path, rows, expected = boosting
    with pytest.raises(shardpickle.WorkerLostError, match="memory"):
        shardpickle.predict(path, rows.view(Deadly), workers=2)
    assert predicts_again(path, rows, expected)


@pytest.mark.long
def test_a_worker_that_dies_while_it_sends_its_answer_ends_the_prediction(boosting):
    with pytest.raises(shardpickle.WorkerLostError, match="memory"):
        predict._run(joblib.Parallel(n_jobs=2), [(die_while_sending,)] * 4)
    assert predicts_again(*boosting)


def test_workers_that_die_between_predictions_do_not_count(boosting):
    path, rows, expected = boosting
    assert predicts_again(path, rows, expected)
    victims = _workers()
    assert len(victims) == 2
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    with contextlib.suppress(shardpickle.WorkerLostError):  # where joblib has not noticed yet
        assert predicts_again(path, rows, expected)
    assert predicts_again(path, rows, expected)
    assert len(_workers()) == 2
    assert not set(victims) & set(_workers())


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
