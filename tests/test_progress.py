"""Bars for people, events for programs."""

import io
import sys
import threading
import types

import numpy as np
import pytest

import shardpickle
from shardpickle._util import progress

MODEL = {"a": np.random.default_rng(0).random(700_000), "b": list(range(1000))}


@pytest.mark.parametrize("workers", [1, 3])
def test_events_count_raw_bytes(workers, tmp_path):
    events = []
    report = shardpickle.dump(MODEL, tmp_path / "model", workers=workers, on_progress=events.append)
    shardpickle.load(tmp_path / "model", workers=workers, on_progress=events.append)
    for action in ("dump", "load"):
        found = [event for event in events if event.action == action]
        done = [event.done for event in found]
        assert done[0] == 0
        assert done == sorted(done)
        assert len(found) > 2
        assert done[-1] == found[-1].total == report.raw_bytes


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "argument", "shown"),
    [
        (Terminal, None, True),
        (Terminal, False, False),
        (io.StringIO, None, False),
        (io.StringIO, True, True),
    ],
)
def test_a_bar_is_drawn_on_terminals_and_on_request(stream, argument, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    shardpickle.dump(MODEL, tmp_path / "model", progress=argument)
    assert ("dump: 100%" in sys.stderr.getvalue()) is shown


def test_a_bar_is_drawn_in_a_notebook(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert progress._is_watched()
    shell.config.clear()
    assert not progress._is_watched()


def test_without_a_stderr(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # pythonw, some services
    shardpickle.dump(MODEL, tmp_path / "model")


def test_no_thread_outlives_a_call(tmp_path):
    before = set(threading.enumerate())
    shardpickle.dump(MODEL, tmp_path / "model", workers=4, progress=True)
    shardpickle.load(tmp_path / "model", workers=4, progress=True)
    assert set(threading.enumerate()) <= before
