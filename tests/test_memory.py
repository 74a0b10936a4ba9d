"""Limits of memory: the machine's, the container's and the shell's."""

import pytest

from shardpickle._util import memory

V2 = {
    "app/memory.max": "1000000",
    "app/memory.current": "400000",
    "app/memory.stat": "anon 5\ninactive_file 100000\n",
    "app/inner/memory.max": "max",
    "app/inner/memory.current": "300000",
}
V1 = {
    "memory/app/memory.limit_in_bytes": "2000000",
    "memory/app/memory.usage_in_bytes": "500000",
    "memory/app/memory.stat": "cache 1\ntotal_inactive_file 200000\n",
}


def lay_out(root, files):
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        (V2, "0::/app/inner\n", [1_000_000 - 400_000 + 100_000]),
        (V1, "4:memory:/app\n1:cpu:/\n", [2_000_000 - 500_000 + 200_000]),
        (V1, "1:cpu:/app\n", []),
        ({}, "0::/somewhere\n", []),
        (
            {"memory.max": "700", "memory.current": "200", **V2},
            "0::/app/inner\n",
            [700_000, 500],
        ),
    ],
)
def test_containers(files, membership, expected, tmp_path):
    lay_out(tmp_path, files)
    (tmp_path / "self").write_text(membership)
    found = memory._control_groups(str(tmp_path / "cgroup"), str(tmp_path / "self"))
    assert sorted(found) == sorted(expected)


def test_the_smallest_limit_counts(monkeypatch):
    monkeypatch.setattr(memory, "_machine", lambda: 3000)
    monkeypatch.setattr(memory, "_control_groups", lambda: [5000, 2000])
    monkeypatch.setattr(memory, "_address_space", lambda: None)
    assert memory.available() == 2000
    monkeypatch.setattr(memory, "_control_groups", lambda: [-5])
    assert memory.available() == 0
    monkeypatch.setattr(memory, "_machine", lambda: None)
    monkeypatch.setattr(memory, "_control_groups", list)
    assert memory.available() is None


def test_this_machine():
    free = memory.available()
    assert free is None or 10**6 < free < 10**15
