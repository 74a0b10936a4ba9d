"""Commands and calls that are refused: what they say to type works, and mistakes end in exit 2."""

import importlib
import os
import shlex
import subprocess
import sys

import joblib
import numpy as np
import pytest

import shardpickle
import shardpickle.cli

THEIRS = """
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
class Mine(Ridge): pass
class Scale(Ridge): pass
class Scaler(StandardScaler): pass
"""
MAKE = """
import joblib, numpy as np, shardpickle, theirs
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline
X = np.random.default_rng(0).random((80, 3)); y = X @ [1.0, 2.0, 3.0]
np.save('X.npy', X); np.savez('val.npz', X=X, y=y)
shardpickle.dump(theirs.Mine().fit(X, y), 'm')
shardpickle.dump([theirs.Mine().fit(X, y), theirs.Scale().fit(X, y)], 'two')
forest = make_pipeline(theirs.Scaler(), RandomForestRegressor(12, random_state=0)).fit(X, y)
shardpickle.dump(forest, 'f', shard_size='10kB')
joblib.dump(theirs.Mine().fit(X, y), 'm.joblib')
joblib.dump(theirs.Mine().fit(X, y), '$(touch sprung).joblib')
shardpickle.dump(theirs.Mine().fit(X, y), '$(touch sprung)')
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with models of classes that nobody vouches for."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "theirs.py").write_text(THEIRS)
    subprocess.run([sys.executable, "-c", MAKE], cwd=folder, check=True, env=env(folder))
    return folder


@pytest.fixture
def here(place, monkeypatch):
    """The same, as the current directory, of which the modules can be imported."""
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    joblib.externals.loky.get_reusable_executor().shutdown(
        kill_workers=True
    )  # they know no `place`
    yield place
    sys.modules.pop("theirs", None)


def env(folder):
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


def run(folder, *arguments):
    command = [sys.executable, "-m", "shardpickle", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=env(folder)
    )


COMMANDS = {
    "predict": ["predict", "m", "X.npy", "-o", "y.npy", "--workers", "1"],
    "predict with tasks": ["predict", "f", "X.npy", "-o", "y.npy", "--workers", "2"],
    "export": ["export", "m", "out.joblib"],
    "export of two": ["export", "two", "out.pkl"],
    "tradeoff": ["tradeoff", "f", "val.npz", "--json"],
    "prune": ["prune", "f", "smaller", "--n-estimators", "5"],
    "convert": ["convert", "m.joblib", "converted"],
    "odd paths": ["convert", "$(touch sprung).joblib", "a 'quoted' dir; touch sprung"],
    "odd directory": ["export", "$(touch sprung)", "o.pkl"],
    "after a stop": ["export", "--", "m", "out.joblib"],
}


def told(stderr):
    (line,) = [line for line in stderr.splitlines() if "python -m shardpickle" in line]
    return line.strip()


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_that_is_told_works_in_a_shell(name, place, here, capsys):
    arguments = COMMANDS[name]
    assert shardpickle.cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("UntrustedTypeError: ")
    line = told(err)
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "shardpickle", arguments[0]]
    assert [word for word in words if word in arguments] == arguments
    assert words.count("--trusted") == (2 if "two" in arguments else 1)
    line = line.replace("python", shlex.quote(sys.executable), 1)
    done = subprocess.run(
        ["sh", "-c", line], cwd=place, capture_output=True, text=True, check=False, env=env(place)
    )
    assert done.returncode == 0, done.stderr
    assert not (place / "sprung").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_unsafe_works_too(name, here):
    if name != "after a stop":
        assert shardpickle.cli.main([*COMMANDS[name], "--unsafe"]) == 0


def test_a_name_that_was_given_stays_in_the_command(here, capsys):
    arguments = ["export", "two", "out.pkl", "--trusted", "theirs.Mine"]
    assert shardpickle.cli.main(arguments) == 2
    words = shlex.split(told(capsys.readouterr().err))
    assert words[-4:] == ["--trusted", "theirs.Mine", "--trusted", "theirs.Scale"]


def test_commands_that_trust_nothing_are_as_before(here):
    for arguments in (["inspect", "m"], ["verify", "m", "--deep"], ["diff", "m", "m"]):
        assert shardpickle.cli.main(arguments) == 0
        assert shardpickle.cli.main([*arguments, "--trusted", "theirs.Mine"]) == 2


CALLS = {
    "load": ("load(p, **o)", ["Mine"]),
    "load, lazily": ("load(p, lazy=True, **o)", ["Mine"]),
    "predict": ("predict(p, X, **o)", ["Mine"]),
    "tradeoff": ("tradeoff(f, X_val, y_val, **o)", ["Scaler"]),
    "export": ("export(p, 'a {b}.pkl', **o)", ["Mine"]),
    "convert": ("convert(j, 'new {dir}', **o)", ["Mine"]),
    "loads": ("loads(data, **o)", ["Mine"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_call_that_is_told_works(name, here):
    call, classes = CALLS[name]
    with np.load("val.npz") as held:
        rows, target = held["X"], held["y"]
    names = {
        "shardpickle": shardpickle,
        "p": "m",
        "f": str(here / "f"),
        "j": str(here / "m.joblib"),
        "X": rows,
        "X_val": rows,
        "y_val": target,
    }
    if name == "loads":
        model = shardpickle.load("m", trusted=["theirs.Mine"])
        names["data"] = shardpickle.dumps(model)
    with pytest.raises(shardpickle.UntrustedTypeError) as caught:
        eval(f"shardpickle.{call}", names | {"o": {}})
    line = str(caught.value).splitlines()[-1].strip()
    assert line.startswith(f"shardpickle.{call.partition('(')[0]}(")
    assert ("lazy=True" in line) == ("lazy=True" in call)
    assert [f"theirs.{each}" for each in classes] == list(caught.value.names)
    eval(line, names)
    eval(f"shardpickle.{call}", names | {"o": {"unsafe": True}})


def test_names_that_were_trusted_already_stay_in_the_call(here):
    place, theirs = here, importlib.import_module("theirs")
    for given in ("theirs.Mine", theirs.Mine):
        with pytest.raises(
            shardpickle.UntrustedTypeError, match=r"trusted=\['theirs\.Mine', 'theirs\.Scale'\]"
        ):
            shardpickle.load(place / "two", trusted=[given])
    model = shardpickle.load(place / "m", trusted=["theirs.Mine"])
    for options in ({"trusted": ["theirs.Mine"]}, {"unsafe": True}):
        with pytest.raises(ValueError, match="are for paths"):
            shardpickle.predict(model, np.eye(3), **options)
        with pytest.raises(ValueError, match="are for paths"):
            shardpickle.tradeoff(model, np.eye(3), [1, 2, 3], **options)


def test_forbidden_trust_is_forbidden_everywhere(place, monkeypatch):
    monkeypatch.setenv("SHARDPICKLE_FORBID_UNSAFE", "1")
    for options in ({"trusted": ["theirs.Mine"]}, {"unsafe": True}):
        for call in (
            lambda o: shardpickle.predict(place / "m", np.eye(3), **o),
            lambda o: shardpickle.tradeoff(place / "m", np.eye(3), [1, 2, 3], **o),
            lambda o: shardpickle.export(place / "m", place / "never.pkl", **o),
        ):
            with pytest.raises(shardpickle.UnsafeForbiddenError):
                call(options)
    assert not (place / "never.pkl").exists()


# --- Wrong arguments ---

WRONG = {
    "level": ["convert", "m.joblib", "never", "--level", "99"],
    "level in words": ["convert", "m.joblib", "never", "--level", "high"],
    "compress": ["export", "m", "never.pkl", "--compress", "10"],
    "suffix of an export": ["export", "m", "never.onnx"],
    "suffix of answers": ["predict", "m", "X.npy", "-o", "never.csv"],
    "no suffix": ["predict", "m", "X.npy", "-o", "never"],
    "method": ["predict", "m", "X.npy", "-o", "never.npy", "--method", "fit"],
    "no workers": ["predict", "m", "X.npy", "-o", "never.npy", "--workers", "0"],
    "workers": ["predict", "m", "X.npy", "-o", "never.npy", "--workers", "-3"],
    "memory": ["predict", "m", "X.npy", "-o", "never.npy", "--memory-limit", "much"],
    "memory of tradeoff": ["tradeoff", "m", "val.npz", "--memory-limit", "0B"],
    "count": ["prune", "m", "never", "--n-estimators", "0"],
    "depth": ["prune", "m", "never", "--max-depth", "1.5"],
    "no such option": ["convert", "m.joblib", "never", "--shard-size", "huge"],
    "nothing": [],
    **{
        f"empty path of {arguments[0]}, {at}": [*arguments[:at], "", *arguments[at + 1 :]]
        for arguments, places in (
            (["inspect", "m"], [1]),
            (["inspect", "m", "--html", "never.html"], [1, 3]),
            (["verify", "m"], [1]),
            (["diff", "m", "m"], [1, 2]),
            (["gc", "m"], [1]),
            (["pack", "m", "never.shpk"], [1, 2]),
            (["unpack", "m", "never"], [1, 2]),
            (["convert", "m.joblib", "never"], [1, 2]),
            (["export", "m", "never.pkl"], [1, 2]),
            (["prune", "m", "never"], [1, 2]),
            (["tradeoff", "m", "val.npz"], [1, 2]),
            (["predict", "m", "X.npy", "-o", "never.npy"], [1, 2, 4]),
        )
        for at in places
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_a_usage_error(name, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    before = sorted(os.listdir(place))
    assert shardpickle.cli.main(WRONG[name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: python -m shardpickle")
    assert "error:" in err
    assert sorted(os.listdir(place)) == before


def test_a_wrong_argument_in_a_process_of_its_own(place):
    for name in ("level", "empty path of verify, 1", "no workers"):
        done = run(place, *WRONG[name])
        assert done.returncode == 2
        assert done.stderr.startswith("usage:")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "nowhere"], "ModelNotFoundError"),
        (["diff", "m", "X.npy"], "NotAModelError"),
        (["inspect", "m" * 5000], "StorageError"),
        (["verify", "a\0b"], "NUL"),
        (["verify", "~/m"], "expanduser"),
        (["convert", "m.joblib", "X.npy", "--trusted", "theirs.Mine"], "NotADirectoryModelError"),
        (["tradeoff", "m", "X.npy"], "--target"),
        (["predict", "f", "X.npy", "-o", "nowhere/y.npy", "--trusted", "theirs.Scaler"], "nowhere"),
        (["prune", "m", "never", "--max-depth", "2", "--trusted", "theirs.Mine"], "TypeError"),
        (["inspect", "m", "--html", "nowhere/page.html"], "page.html"),
    ],
)
def test_other_failures_are_one_line_and_exit_2(arguments, words, here, capsys):
    assert shardpickle.cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert out == ""


def test_a_mistake_of_ours_is_no_verdict(place, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise KeyError("a mistake")

    monkeypatch.chdir(place)
    for name, arguments in (("verify", ["verify", "m"]), ("diff", ["diff", "m", "m"])):
        monkeypatch.setattr(shardpickle.api, name, fail)
        assert shardpickle.cli.main(arguments) == 2
        assert "a mistake" in capsys.readouterr().err


EMPTY = {
    "dump": lambda: shardpickle.dump([1], ""),
    "load": lambda: shardpickle.load(""),
    "inspect": lambda: shardpickle.inspect(""),
    "verify": lambda: shardpickle.verify(""),
    "diff": lambda: shardpickle.diff("m", ""),
    "gc": lambda: shardpickle.api.collect_garbage(""),
    "pack": lambda: shardpickle.pack("m", ""),
    "pack nothing": lambda: shardpickle.pack("", "never.shpk"),
    "unpack": lambda: shardpickle.unpack("", "never"),
    "unpack to nothing": lambda: shardpickle.unpack("m", ""),
    "convert": lambda: shardpickle.convert("", "never"),
    "convert to nothing": lambda: shardpickle.convert("list.pkl", ""),
    "export": lambda: shardpickle.export("", "never.pkl"),
    "export to nothing": lambda: shardpickle.export("list", ""),
    "predict": lambda: shardpickle.predict("", [[1]]),
    "predict to nothing": lambda: shardpickle.predict("list", [[1]], out=""),
    "tradeoff": lambda: shardpickle.tradeoff("", [[1]], [1]),
    "text": lambda: shardpickle.api.write_text("", "text"),
    "cache": lambda: shardpickle.load("file:///nowhere", cache_dir=""),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_path_is_a_value_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shardpickle.dump([1], "list")
    shardpickle.dump([1], "m")
    (tmp_path / "list.pkl").write_bytes(b"\x80\x04]\x94K\x01a.")
    with pytest.raises(ValueError, match="path is empty"):
        EMPTY[name]()
    assert sorted(os.listdir(tmp_path)) == ["list", "list.pkl", "m"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": 99}, "from 1 to 22"),
        ({"shard_size": "huge"}, "shard_size"),
        ({"profile": "small"}, "profile"),
    ],
)
def test_convert_checks_options_before_it_reads(options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        shardpickle.convert(tmp_path / "nowhere.pkl", tmp_path / "model", **options)


def test_answers_go_into_a_npy_file(tmp_path):
    with pytest.raises(
        ValueError, match=r"out must be a path that ends in \.npy, not .*answers\.csv"
    ):
        shardpickle.predict(tmp_path / "nowhere", [[1]], out=tmp_path / "answers.csv")
