"""The MLflow flavor: with a real tracking store, through pyfunc, and served once."""

import doctest
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from estimators import LABELS, X
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow's own dependencies warn of

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    mlflow = pytest.importorskip("mlflow", reason="the extra shardpickle[mlflow] is not installed")
    import yaml
    from mlflow.exceptions import MlflowException

    import shardpickle.mlflow as flavor

FOREST = make_pipeline(StandardScaler(), RandomForestClassifier(8, random_state=0)).fit(X, LABELS)
ANSWERS = FOREST.predict(X)
PROBABILITIES = FOREST.predict_proba(X)
FORBID = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


class Mine(BaseEstimator):
    """A class that nobody vouches for."""

    def predict(self, rows):
        return np.zeros(len(rows))


@pytest.fixture
def folder(tmp_path):
    flavor.save_model(FOREST, tmp_path / "folder", input_example=X[:3])
    return tmp_path / "folder"


@pytest.fixture
def tracking(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # artifacts go into ./mlruns
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")
    yield
    mlflow.set_tracking_uri(before)


def is_lazy(model):
    return not isinstance(model[-1].estimators_, list)


def edit(folder, change):
    page = yaml.safe_load((folder / "MLmodel").read_text())
    change(page["flavors"])
    (folder / "MLmodel").write_text(yaml.safe_dump(page))


def test_logged_registered_and_loaded_again(tracking):
    with mlflow.start_run() as run:
        info = flavor.log_model(
            FOREST, "forest", input_example=X[:3], registered_model_name="registered"
        )
    assert run.info.run_id == info.run_id
    for address in (info.model_uri, "models:/registered/1"):
        assert flavor.load_model(address).predict_proba(X).tobytes() == PROBABILITIES.tobytes()
        served = mlflow.pyfunc.load_model(address)
        assert served.predict(X).tobytes() == ANSWERS.tobytes()
        assert set(served.metadata.flavors) == {"python_function", "shardpickle"}


def test_signature_and_example_stand_in_the_folder(folder):
    info = mlflow.models.get_model_info(str(folder))
    assert info.signature == mlflow.models.infer_signature(X[:3], FOREST.predict(X[:3]))
    served = mlflow.pyfunc.load_model(str(folder))
    assert np.array_equal(served.input_example, X[:3])
    with pytest.raises(MlflowException, match="schema"):
        served.predict(X[:, :-1])  # the signature is enforced


def test_the_folder_inside_is_a_plain_model(folder):
    assert shardpickle.verify(folder / "shardpickle", deep=True)
    assert shardpickle.load(folder / "shardpickle").predict(X).tobytes() == ANSWERS.tobytes()
    with pytest.raises(shardpickle.NotAModelError, match="MLflow model folder"):
        shardpickle.load(folder)


def test_requirements_are_those_of_the_models_classes(folder):
    pinned = dict(line.split("==") for line in (folder / "requirements.txt").read_text().split())
    assert {"mlflow", "numpy", "scikit-learn", "shardpickle"} <= set(pinned)
    assert pinned["shardpickle"] == shardpickle.__version__
    assert set(flavor.get_default_pip_requirements()) <= {f"{k}=={v}" for k, v in pinned.items()}


def test_requirements_of_the_callers_replace_them(tmp_path):
    flavor.save_model(FOREST, tmp_path / "folder", pip_requirements=["shardpickle", "numpy<3"])
    listed = (tmp_path / "folder" / "requirements.txt").read_text().split()
    assert "scikit-learn" not in " ".join(listed)
    assert {"shardpickle", "numpy<3"} <= set(listed)


@pytest.mark.parametrize("saved", [None, {"lazy": True}, {"lazy": True, "memory_limit": "1GB"}])
def test_model_config_makes_it_lazy(saved, tmp_path):
    flavor.save_model(FOREST, tmp_path / "folder", model_config=saved)
    plain = mlflow.pyfunc.load_model(str(tmp_path / "folder"))
    assert is_lazy(plain.get_raw_model()) == bool(saved)
    asked = mlflow.pyfunc.load_model(
        str(tmp_path / "folder"), model_config={"lazy": True, "memory_limit": "2GB"}
    )
    assert is_lazy(asked.get_raw_model())
    assert asked.predict(X).tobytes() == ANSWERS.tobytes()


def test_the_memory_limit_of_model_config_arrives(folder):
    options = {"lazy": True, "memory_limit": 100}
    with pytest.raises(shardpickle.MemoryLimitError):
        mlflow.pyfunc.load_model(str(folder), model_config=options)


@pytest.mark.parametrize("options", [{"trusted": ["a.B"]}, {"unsafe": True}, {"lazi": True}])
def test_model_config_of_anything_else_is_not_saved(options, tmp_path):
    with pytest.raises(ValueError, match="model_config takes"):
        flavor.save_model(FOREST, tmp_path / "folder", model_config=options)
    assert not (tmp_path / "folder").exists()


def test_trust_is_never_read_from_mlmodel(tmp_path):
    with pytest.warns(UserWarning, match="will refuse this model"):
        flavor.save_model(Mine(), tmp_path / "folder")
    trust = {"trusted": [f"{__name__}.Mine"], "unsafe": True}

    def change(flavors):
        flavors["shardpickle"].update(trust, model_config=trust)
        flavors["python_function"].update(trust)
        flavors["python_function"]["config"].update(trust)

    edit(tmp_path / "folder", change)
    with pytest.raises(shardpickle.UntrustedTypeError):
        flavor.load_model(tmp_path / "folder")
    for options in (None, trust):
        with pytest.raises(shardpickle.UntrustedTypeError):
            mlflow.pyfunc.load_model(str(tmp_path / "folder"), model_config=options)
    assert type(flavor.load_model(tmp_path / "folder", trusted=[Mine])) is Mine


def test_refusals_name_the_call_that_can_trust(tmp_path):
    folder = str(tmp_path / "folder")
    with pytest.warns(UserWarning, match="will refuse this model"):
        flavor.save_model(Mine(), folder)
    call = f"shardpickle.mlflow.load_model({folder!r}, trusted=['{__name__}.Mine'])"
    with pytest.raises(shardpickle.UntrustedTypeError) as caught:
        flavor.load_model(folder)
    assert str(caught.value).splitlines()[-1].strip() == call
    with pytest.raises(shardpickle.UntrustedTypeError, match="entry points") as caught:
        mlflow.pyfunc.load_model(folder)
    assert call.partition("folder")[0] in str(caught.value)


def test_the_environment_forbids_trusted_and_unsafe(folder, monkeypatch):
    monkeypatch.setenv("SHARDPICKLE_FORBID_UNSAFE", "1")
    for options in ({"trusted": [Mine]}, {"unsafe": True}):
        with pytest.raises(shardpickle.UnsafeForbiddenError):
            flavor.load_model(folder, **options)


def test_where_mlflow_forbids_pickle_the_safe_load_goes_on(folder, tmp_path, monkeypatch):
    mlflow.sklearn.save_model(FOREST, tmp_path / "pickled", serialization_format="pickle")
    assert flavor.load_model(folder, unsafe=True).predict(X).tobytes() == ANSWERS.tobytes()
    monkeypatch.setenv(FORBID, "false")
    with pytest.raises(MlflowException, match=FORBID):
        mlflow.sklearn.load_model(str(tmp_path / "pickled"))
    assert mlflow.pyfunc.load_model(str(folder)).predict(X).tobytes() == ANSWERS.tobytes()
    with pytest.raises(shardpickle.UnsafeForbiddenError, match=FORBID):
        flavor.load_model(folder, unsafe=True)


def test_no_code_path_of_mlmodel_is_used(folder, monkeypatch):
    (folder / "code").mkdir()
    edit(folder, lambda flavors: flavors["shardpickle"].update(code="code"))
    before = list(sys.path)
    flavor.load_model(folder)
    assert sys.path == before


def test_another_method_than_predict(tmp_path):
    flavor.save_model(
        FOREST, tmp_path / "folder", pyfunc_predict_fn="predict_proba", input_example=X[:3]
    )
    served = mlflow.pyfunc.load_model(str(tmp_path / "folder"))
    assert served.predict(X).tobytes() == PROBABILITIES.tobytes()
    with pytest.raises(ValueError, match="pyfunc_predict_fn"):
        flavor.save_model(FOREST, tmp_path / "other", pyfunc_predict_fn="fit")


def test_docstring_examples(tracking):
    found = doctest.testmod(flavor)
    assert found.attempted > 5
    assert found.failed == 0


def code_of(page):
    return "".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))


def test_the_page_runs(tracking):
    exec(code_of(Path(__file__).parents[1] / "docs" / "mlflow.md"), {})


def test_what_does_not_predict_has_no_python_function(tmp_path):
    flavor.save_model({"weights": [1]}, tmp_path / "folder", metadata={"of": "test"})
    info = mlflow.models.get_model_info(str(tmp_path / "folder"))
    assert set(info.flavors) == {"shardpickle"}
    assert info.metadata == {"of": "test"}
    assert flavor.load_model(tmp_path / "folder") == {"weights": [1]}


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(shardpickle.ForeignDirectoryError):
        flavor.save_model(FOREST, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_options_of_the_dump(tmp_path):
    flavor.save_model(FOREST, tmp_path / "folder", dump_options={"metadata": {"a": 1}})
    assert shardpickle.inspect(tmp_path / "folder" / "shardpickle").metadata == {"a": 1}


def answer(request, deadline, process):
    """The body of the answer, once the server is up."""
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as found:
                return found.read()
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)


def test_served_on_loopback(folder, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder)]
    command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    root = str(Path(shardpickle.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # uvicorn
    environment = os.environ | {FORBID: "false", "PYTHONPATH": path, "PATH": tools}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": X.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        found = json.loads(answer(request, time.monotonic() + 120, process))
        assert found == {"predictions": ANSWERS.tolist()}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
