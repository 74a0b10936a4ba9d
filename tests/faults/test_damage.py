"""Damaged directories are told, in full, lazily and by verify; whole copies load."""

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import campaign
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle
from shardpickle.cli import main

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


@pytest.fixture
def path(tmp_path):
    return campaign.damaged_forest(tmp_path)


CASES = {
    "flipped bits": lambda path: campaign.flips(path, 1000),
    "bits of the manifest": lambda path: campaign.manifest_bits(path, 7),
    "manifests cut off": campaign.manifest_cuts,
    "shards cut off": lambda path: campaign.shard_cuts(path, 60),
    "other damage": lambda path: campaign.other_damage(path, path.with_name("stale")),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", CASES)
def test_damage_is_told(kind, path):
    cases = list(CASES[kind](path))
    found = campaign.damage(path, cases)
    if kind == "other damage":  # a manifest of another model is told by the shards it misses
        assert found == {"refused": len(cases)}
    assert found["refused"] == len(cases) > 30, found


def test_the_judge_notices_crashes_and_hangs(path, monkeypatch):
    verdicts = iter(["refused", "crash", "refused", "hang", "refused"])
    kinds = list(verdicts)

    def verdict(path, case):
        kind = case_of[next(iter(case.values()))]
        if kind == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            os.read(os.pipe()[0], 1)
        return kind

    cases = [{"manifest.json": bytes([number])} for number in range(len(kinds))]
    case_of = {bytes([number]): kind for number, kind in enumerate(kinds)}
    monkeypatch.setattr(campaign, "_verdict", verdict)
    found = campaign.damage(path, cases, seconds=2)
    assert found == {"refused": 3, "crashed": 1, "hung": 1}


def ranges_lost(path, shard):
    """What verify says of a model without one of its shards."""
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    (problem,) = shardpickle.verify(path).problems
    shard.write_bytes(data)
    assert problem.file == f"shards/{shard.name}"
    return problem.estimators


def test_verify_says_which_estimators_a_damaged_shard_holds(path):
    lost = []
    for shard in sorted((path / "shards").iterdir()):
        for place in ranges_lost(path, shard):
            if place == "the RandomForestClassifier itself":
                continue
            name, _, kind = place.partition(" of ")
            assert kind == "RandomForestClassifier"
            if name not in ("estimator", "estimator_"):  # templates
                start, stop = re.fullmatch(r"estimators_\[(\d+)(?::(\d+))?\]", name).groups()
                lost.append((int(start), int(stop or int(start) + 1)))
    lost.sort()
    assert len(lost) >= 2
    assert [lost[0][0], *(stop for _, stop in lost)] == [*(start for start, _ in lost), 20]
    shard = next(
        each
        for each in (path / "shards").iterdir()
        if any("estimators_[" in place and ":" in place for place in ranges_lost(path, each))
    )
    (place,) = [each for each in ranges_lost(path, shard) if "estimators_" in each]
    start, stop = map(int, re.findall(r"\d+", place)[-2:])
    shard.unlink()
    with pytest.warns(shardpickle.DamagedModelWarning, match=f"{stop - start} of 20"):
        left = shardpickle.load(path, skip_damaged=True)
    expected = campaign.forest(0, 20).estimators_
    for mine, theirs in zip(left.estimators_, [*expected[:start], *expected[stop:]], strict=True):
        assert (mine.predict(campaign.X) == theirs.predict(campaign.X)).all()


@pytest.mark.parametrize(
    ("model", "places"),
    [
        (
            GradientBoostingClassifier(n_estimators=4, random_state=0),
            {"estimators_.flat[0:12] of GradientBoostingClassifier"},
        ),
        (
            HistGradientBoostingClassifier(max_iter=3),
            {f"_predictors[{at}][0:3] of HistGradientBoostingClassifier" for at in range(3)},
        ),
        (
            make_pipeline(StandardScaler(), RandomForestClassifier(4, random_state=0)),
            {"estimators_[0:4] of RandomForestClassifier", "estimator of RandomForestClassifier"},
        ),
    ],
)
def test_verify_finds_estimators_wherever_they_stand(model, places, tmp_path):
    model.fit(campaign.X, campaign.LABELS)
    shardpickle.dump(model, tmp_path / "model", shard_size="5kB")
    told = set()
    for shard in (tmp_path / "model" / "shards").iterdir():
        told |= set(ranges_lost(tmp_path / "model", shard))
    joined = {re.sub(r"\[\d+:\d+\]| of .*|\[\d+\]", "", place) for place in told}
    assert {re.sub(r"\[\d+:\d+\]| of .*|\[\d+\]", "", place) for place in places} <= joined
    covered = {at for place in told for at in _covered(place)}
    assert covered >= {at for place in places for at in _covered(place)}


def _covered(place):
    """The single items of a range."""
    found = re.fullmatch(r"(.*)\[(\d+)(?::(\d+))?\] of (\w+)", place)
    if found:
        name, start, stop, kind = found.groups()
        for at in range(int(start), int(stop or int(start) + 1)):
            yield name, at, kind


def test_the_command_prints_it(path, capsys):
    shard = max((path / "shards").iterdir(), key=lambda each: each.stat().st_size)
    shard.unlink()
    assert main(["verify", str(path)]) == 1
    assert "estimators_[" in capsys.readouterr().out


def sound(path):
    return campaign.state(path) == campaign.state(path, lazy=True) == "old"


@pytest.fixture
def model(tmp_path):
    shardpickle.dump(campaign.OLD, tmp_path / "model", **campaign.OPTIONS)
    return tmp_path / "model"


@pytest.mark.parametrize("tool", ["cp", "rsync", "zip", "tar"])
def test_copies_load(tool, model, tmp_path):
    copy = tmp_path / "copy"
    if tool == "cp":
        subprocess.run(["cp", "-r", model, copy], check=True)
    elif tool == "rsync":
        if shutil.which("rsync") is None:
            pytest.skip("rsync is not installed")
        subprocess.run(["rsync", "-a", f"{model}/", copy], check=True)
    elif tool == "tar":
        shutil.unpack_archive(shutil.make_archive(str(tmp_path / "a"), "gztar", model), copy)
    else:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for name in campaign.files_of(model):
                file.write(model / name, name)
        with zipfile.ZipFile(tmp_path / "a.zip") as file:
            file.extractall(copy)
    assert sound(copy)
    assert shardpickle.inspect(copy).digest == shardpickle.inspect(model).digest


def test_names_are_the_same_where_case_does_not_count(model):
    names = campaign.files_of(model)
    assert {name.lower() for name in names} == names


def test_loading_writes_nothing_and_works_where_nobody_can_write(model):
    def seen():
        return {each: each.stat().st_mtime_ns for each in [model, *model.rglob("*")]}

    before = seen()
    for each in [*model.rglob("*"), model]:
        each.chmod(0o555 if each.is_dir() else 0o444)
    try:
        assert sound(model)
        assert shardpickle.verify(model, deep=True).ok
        assert seen() == before
    finally:
        for each in [model, *model.rglob("*")]:
            each.chmod(0o755 if each.is_dir() else 0o644)


def test_a_read_only_mount(model, tmp_path):
    """As root in a mount namespace of its own; a bind mount that refuses writes."""
    mount = tmp_path / "mount"
    mount.mkdir()
    script = (
        f"mount --bind {model.parent} {mount} && mount -o remount,bind,ro {mount} && "
        f"! touch {mount}/x 2>/dev/null && "
        f"{sys.executable} -c \"import shardpickle; shardpickle.load('{mount}/model'); "
        f"shardpickle.load('{mount}/model', lazy=True).estimators_[0]; print('loaded')\""
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()[:100]}")
    assert done.stdout.strip() == "loaded", done.stderr
