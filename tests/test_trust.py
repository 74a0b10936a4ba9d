"""Who is trusted, who is refused, and who hears of it first."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import estimators
import jsonschema
import numpy as np
import pytest
import vet
from graphs import assert_same
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import shardpickle
from shardpickle.testing import check_roundtrip
from shardpickle.trust import constructors
from shardpickle.trust import names as trust
from shardpickle.trust import table as vetted


class Mine(BaseEstimator):
    """An estimator of nobody's package."""

    def fit(self, features, target=None):
        self.mean_ = np.asarray(features).mean(axis=0)
        return self


class Ours(Mine):
    pass


class Reducing:
    """Trusting it means running `__reduce__`'s call."""

    made = 0

    def __init__(self, number):
        type(self).made += 1
        self.number = number

    def __reduce__(self):
        return Reducing, (self.number,)


def double(features):
    return features * 2


NAME = f"{__name__}.Mine"


def fitted(cls=Mine):
    return cls().fit([[1.0, 2.0], [3.0, 4.0]])


# --- What is refused, and how it reads ---


def test_all_unknown_names_are_listed_at_once_with_the_line_to_type(tmp_path):
    model = make_pipeline(fitted(), FunctionTransformer(double), fitted(Ours))
    path = str(tmp_path / "model")
    report = shardpickle.dump(model, path)
    names = [NAME, f"{__name__}.Ours", f"{__name__}.double"]
    assert sorted(report.needs_trust) == names
    with pytest.raises(shardpickle.UntrustedTypeError) as caught:
        shardpickle.load(path)
    assert sorted(caught.value.names) == names
    (line,) = re.findall(r"^  (shardpickle\.load\(.*\))$", str(caught.value), re.MULTILINE)
    assert line in str(report)
    part = caught.value.names[NAME]
    assert re.fullmatch(rf"part \d+ \({re.escape(NAME)}, shards/[0-9a-f]{{64}}\.shard\)", part)
    assert_same(eval(line, {"shardpickle": shardpickle}), model)


def test_nothing_is_imported_or_made_before_a_refusal(tmp_path):
    (tmp_path / "trap.py").write_text("open('sprung', 'w')\nclass Trap: pass\n")
    dump = "import shardpickle, trap; shardpickle.dump([trap.Trap(), 1], 'model')"
    subprocess.run([sys.executable, "-c", dump], cwd=tmp_path, check=True)
    (tmp_path / "sprung").unlink()
    code = (
        "import shardpickle, sys\n"
        "before = set(sys.modules)\n"
        "try: shardpickle.load('model')\n"
        "except shardpickle.UntrustedTypeError: print(sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "trap" not in done.stdout
    assert not (tmp_path / "sprung").exists()


def test_a_refusal_changes_nothing_for_the_next_load(tmp_path):
    shardpickle.dump(fitted(), tmp_path / "model")
    for _ in range(2):
        with pytest.raises(shardpickle.UntrustedTypeError):
            shardpickle.load(tmp_path / "model")
        assert_same(shardpickle.load(tmp_path / "model", trusted=[Mine]), fitted())


# --- What the caller may trust ---


@pytest.mark.parametrize("trusted", [[Mine], [NAME], {NAME}, (Mine, "no.such.Thing")])
def test_trusted(tmp_path, trusted):
    shardpickle.dump(fitted(), tmp_path / "model")
    assert_same(shardpickle.load(tmp_path / "model", trusted=trusted), fitted())


@pytest.mark.parametrize("trusted", [NAME, Mine, [double], [1]])
def test_trusted_is_a_list_of_names_and_classes(tmp_path, trusted):
    shardpickle.dump(fitted(), tmp_path / "model")
    with pytest.raises(TypeError, match="trusted"):
        shardpickle.load(tmp_path / "model", trusted=trusted)


def test_a_class_of_main_is_the_one_that_is_given(tmp_path, monkeypatch):
    main = types.ModuleType("__main__")
    main.Mine = type("Mine", (Mine,), {"__module__": "__main__"})
    monkeypatch.setitem(sys.modules, "__main__", main)
    model = main.Mine().fit([[1.0]])
    with pytest.warns(shardpickle.MainModuleWarning):
        shardpickle.dump(model, tmp_path / "model")
    del main.Mine
    assert type(shardpickle.load(tmp_path / "model", trusted=[type(model)])) is type(model)


def test_a_class_with_reduce_is_run_only_if_it_is_trusted(tmp_path):
    shardpickle.dump(Reducing(3), tmp_path / "model")
    made = Reducing.made
    with pytest.raises(shardpickle.UntrustedTypeError):
        shardpickle.load(tmp_path / "model")
    assert Reducing.made == made
    assert shardpickle.load(tmp_path / "model", trusted=[Reducing]).number == 3
    assert Reducing.made == made + 1


def test_the_file_cannot_choose_what_is_done_with_a_trusted_function(tmp_path):
    shardpickle.dump(FunctionTransformer(double), tmp_path / "model")
    loaded = shardpickle.load(tmp_path / "model", trusted=[f"{__name__}.double"])
    assert loaded.transform(np.ones((1, 1))) == 2.0
    assert trust.resolve([(__name__, "double")], trust.Callers())[__name__, "double"].maker is None


# --- unsafe, and who forbids it ---


def test_unsafe_loads_what_is_not_trusted(tmp_path):
    shardpickle.dump(fitted(), tmp_path / "model")
    assert_same(shardpickle.load(tmp_path / "model", unsafe=True), fitted())


@pytest.mark.parametrize("options", [{"unsafe": True}, {"trusted": [NAME]}])
def test_a_fleet_can_forbid_both(tmp_path, monkeypatch, options):
    shardpickle.dump([1], tmp_path / "model")
    monkeypatch.setenv("SHARDPICKLE_FORBID_UNSAFE", "1")
    with pytest.raises(shardpickle.UnsafeForbiddenError, match="SHARDPICKLE_FORBID_UNSAFE"):
        shardpickle.load(tmp_path / "model", **options)
    assert shardpickle.load(tmp_path / "model") == [1]
    monkeypatch.setenv("SHARDPICKLE_FORBID_UNSAFE", "0")
    assert shardpickle.load(tmp_path / "model", **options) == [1]


# --- The writer hears it first ---


def test_require_safe_publishes_nothing(tmp_path):
    shardpickle.dump([1], tmp_path / "model", require_safe=True)
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(shardpickle.UntrustedTypeError, match="Mine"):
        shardpickle.dump(fitted(), tmp_path / "model", require_safe=True)
    assert sorted(tmp_path.rglob("*")) == files
    assert shardpickle.load(tmp_path / "model") == [1]


def test_inspect_gives_each_name_its_verdict(tmp_path):
    shardpickle.dump(make_pipeline(StandardScaler(), fitted()), tmp_path / "model")
    info = shardpickle.inspect(tmp_path / "model")
    assert info.names[NAME] == "untrusted"
    assert info.names["sklearn.preprocessing._data.StandardScaler"] == "vetted"
    assert info.trust().splitlines()[0] == f"untrusted {NAME}"
    assert f"trusted=[{NAME!r}]" in str(info)


# --- Packages that vouch for themselves ---


@pytest.fixture
def vouching(monkeypatch):
    point = importlib.metadata.EntryPoint("Mine", f"{__name__}:Mine", trust.GROUP)
    monkeypatch.setattr(trust, "_entry_points", lambda: (point,))


def test_an_installed_package_vouches_for_its_classes(tmp_path, vouching):
    assert shardpickle.dump(fitted(), tmp_path / "model").needs_trust == ()
    assert_same(shardpickle.load(tmp_path / "model"), fitted())
    assert shardpickle.inspect(tmp_path / "model").names[NAME] == "vouched"
    assert isinstance(check_roundtrip(fitted()), Mine)
    with pytest.raises(shardpickle.UntrustedTypeError):
        check_roundtrip(fitted(Ours))


@pytest.mark.long
def test_entry_points_are_read_from_installed_packages(tmp_path):
    info = tmp_path / "other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[shardpickle.trusted]\nA = other.models:A\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "__init__.py").write_text("")
    (tmp_path / "other" / "models.py").write_text("class A: pass\nclass B: pass\n")
    code = (
        "import shardpickle, other.models\n"
        "shardpickle.dump(other.models.A(), 'a'); shardpickle.dump(other.models.B(), 'b')\n"
        "print(type(shardpickle.load('a')).__name__)\n"
        "try: shardpickle.load('b')\n"
        "except shardpickle.UntrustedTypeError as error: print(list(error.names))\n"
    )
    (tmp_path / "work").mkdir()
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["A", "['other.models.B']"]
    # In the folder that one works in, it may be anybody's.
    code = "import shardpickle\nprint(shardpickle.inspect('work/a').names)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "vouched" not in done.stdout


def test_check_roundtrip_refuses_a_class_that_changes_itself():
    class_ = type("Changing", (Mine,), {"__setstate__": _shifted, "__module__": __name__})
    globals()["Changing"] = class_
    with pytest.raises(AssertionError, match="__setstate__"):
        check_roundtrip(fitted(class_), trusted=[class_])


def _shifted(self, state):
    self.__dict__.update(state | {"mean_": state["mean_"] + 1})


# --- Digests ---


def test_expect_pins_a_model(tmp_path):
    digest = shardpickle.dump([1], tmp_path / "model").digest
    assert shardpickle.load(tmp_path / "model", expect=digest) == [1]
    assert shardpickle.inspect(tmp_path / "model").digest == digest
    shardpickle.dump([2], tmp_path / "model")
    with pytest.raises(shardpickle.UnexpectedModelError) as caught:
        shardpickle.load(tmp_path / "model", expect=digest)
    assert caught.value.expected == digest
    assert digest in str(caught.value)


# --- The table ---


@pytest.mark.long
def test_this_release_needs_no_name_that_is_missing():
    noted = vet.used()
    listed = trust._classes() | trust._values() | {*trust.CONSTRUCTORS, *constructors.CALLABLES}
    assert noted.classes | noted.values | noted.called <= listed
    assert len(noted.classes) > 150


def test_every_estimator_of_this_release_is_listed():
    missing = [
        (cls.__module__, cls.__qualname__)
        for _, cls in estimators.everything()
        if (cls.__module__, cls.__qualname__) not in trust._classes()
    ]
    assert missing == []


def test_names_of_the_table_resolve_or_belong_to_another_release():
    here = set()
    for name in trust._classes() | trust._values():
        try:
            here |= set(trust.resolve([name], trust.Callers()))
        except shardpickle.MissingNameError:
            continue
    assert len(here) > 0.9 * len(trust._classes() | trust._values())


def test_nothing_in_the_table_leads_out():
    banned = {"eval", "exec", "compile", "__import__", "open", "load", "loads", "system", "getattr"}
    for table in (vetted.CLASSES, vetted.VALUES):
        for module, names in table.items():
            assert module.split(".")[0] in ("builtins", "joblib", "numpy", "scipy", "sklearn")
            assert not banned & set(names)
            assert all("." not in name for name in names)


def test_the_page_shows_the_table():
    page = Path(__file__).parents[1].joinpath("docs", "trust.md").read_text()
    classes = sorted(trust._classes())
    assert page.partition(vet.HEADING)[2] == vet.page(classes, sorted(trust._values()))


# --- What models hold ---


def test_common_functions_need_no_trust(tmp_path):
    model = make_pipeline(
        FunctionTransformer(np.log1p),
        FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}),
        CountVectorizer(tokenizer=str.split),
        RandomForestClassifier(random_state=np.random.RandomState(3)),
    )
    assert shardpickle.dump(model, tmp_path / "model", require_safe=True).needs_trust == ()
    assert_same(shardpickle.load(tmp_path / "model"), model)


def test_the_manifest_follows_its_schema(tmp_path):
    schema = json.loads(
        Path(__file__).parents[1].joinpath("docs", "manifest.schema.json").read_text()
    )
    jsonschema.Draft202012Validator.check_schema(schema)
    rng = np.random.default_rng(0)
    model = RandomForestClassifier(40, random_state=0)
    model.fit(rng.integers(0, 9, (300, 3)), rng.integers(0, 3, 300))
    shardpickle.dump(model, tmp_path / "model", metadata={"a": [1, None]}, shard_size=200_000)
    document = json.loads((tmp_path / "model" / "manifest.json").read_text())
    jsonschema.validate(document, schema)
    assert any(shard[4] is not None for shard in document["shards"])
    for change in ({"extra": 1}, {"version": 2}, {"shards": [["x", 1, 1, 1, None]]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | change, schema)
