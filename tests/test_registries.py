"""The commands of docs/registries.md that run offline, and what a second version adds."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from estimators import LABELS, X
from sklearn.ensemble import RandomForestClassifier

import shardpickle

PAGE = (Path(__file__).parents[1] / "docs" / "registries.md").read_text()
IDENTITY = {
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "DVC_NO_ANALYTICS": "1",
}
needs_dvc = pytest.mark.skipif(not find_spec("dvc"), reason="dvc is not installed")
needs_lfs = pytest.mark.skipif(not shutil.which("git-lfs"), reason="git-lfs is not installed")


def commands(name):
    (block,) = re.findall(rf"<!-- {name} -->\n```\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


def run(command, folder, **extra):
    if command[0] == "dvc":
        command = [sys.executable, "-m", *command]
    environment = os.environ | IDENTITY | {"HOME": str(folder)}
    environment |= {"DVC_SITE_CACHE_DIR": str(folder.parent / "site")} | extra
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def forest(trees, path):
    """A forest of so many trees at this path, cut into many shards; and it."""
    model = RandomForestClassifier(trees, random_state=0).fit(X, LABELS)
    shardpickle.dump(model, path, shard_size="20kB")
    shardpickle.api.collect_garbage(path)
    return model


def files(folder):
    return {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*.shard")}


def contents(store):
    return {path for path in store.rglob("*") if path.is_file()}


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    run(["git", "init", "-q", "-b", "main"], folder)
    return folder


def test_a_second_version_adds_only_its_new_shards(tmp_path):
    forest(40, tmp_path / "model_dir")
    old = files(tmp_path / "model_dir")
    forest(50, tmp_path / "model_dir")
    new = files(tmp_path / "model_dir")
    kept = set(old) & set(new)
    assert len(old) - len(kept) <= 2  # the root's, and the last, partly filled shard of trees
    assert len(new) > len(old) > 5


@needs_dvc
def test_dvc_keeps_two_versions_and_each_shard_once(work, tmp_path):
    model = forest(40, work / "model_dir")
    store = str(tmp_path / "store")
    for command in commands("dvc"):
        run([store if word == "/tmp/store" else word for word in command], work)
    assert set(files(work / "model_dir"))
    pointer = (work / "model_dir.dvc").read_text()
    before, old = contents(tmp_path / "store"), files(work / "model_dir")
    forest(50, work / "model_dir")
    run(["dvc", "add", "model_dir"], work)
    run(["dvc", "push"], work)
    added = contents(tmp_path / "store") - before
    new_shards = set(files(work / "model_dir")) - set(old)
    assert len(added) == len(new_shards) + 2  # the manifest, and DVC's list of the directory
    shutil.rmtree(work / ".dvc" / "cache")
    shutil.rmtree(work / "model_dir")
    (work / "model_dir.dvc").write_text(pointer)
    run(["dvc", "pull"], work)
    assert files(work / "model_dir") == old
    again = shardpickle.load(work / "model_dir")
    assert again.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()


@needs_lfs
def test_git_lfs_keeps_shards_and_a_bare_clone_is_told_to_pull(work, tmp_path):
    model = forest(40, work / "model_dir")
    for command in commands("lfs"):
        run(command, work)
    tracked = run(["git", "lfs", "ls-files", "--name-only"], work).split()
    assert {Path(name).relative_to("model_dir") for name in tracked} == set(
        files(work / "model_dir")
    )
    clone = tmp_path / "clone"
    run(["git", "clone", "-q", f"file://{work}", str(clone)], tmp_path, GIT_LFS_SKIP_SMUDGE="1")
    with pytest.raises(shardpickle.NotAModelError, match="git lfs pull"):
        shardpickle.load(clone / "model_dir")
    run(["git", "lfs", "install", "--local"], clone)
    run(["git", "lfs", "pull"], clone)
    again = shardpickle.load(clone / "model_dir")
    assert again.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
    assert shardpickle.verify(clone / "model_dir", deep=True)


@needs_lfs
def test_a_second_version_adds_its_new_shards_to_git_lfs(work):
    forest(40, work / "model_dir")
    for command in commands("lfs"):
        run(command, work)
    before, old = contents(work / ".git" / "lfs" / "objects"), files(work / "model_dir")
    forest(50, work / "model_dir")
    run(["git", "add", "model_dir"], work)
    added = contents(work / ".git" / "lfs" / "objects") - before
    assert {path.stat().st_size for path in added} == {
        size for name, size in files(work / "model_dir").items() if name not in old
    }
