"""A loaded model, and a lazy one, is the real thing to libraries that look inside of it.

Each takes the loaded model unmodified; what it gives is compared with what it gives, or the model
itself predicts, for the original. The packages are the extra ``interop``.
"""

import importlib.util
import shutil

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shardpickle

IRIS, KINDS = load_iris(return_X_y=True)
ROWS, TARGET = load_diabetes(return_X_y=True)
ROWS = ROWS.astype(np.float32).astype(float)  # trees compare in float32
SOME = {"n_estimators": 8, "max_depth": 4, "random_state": 0}
MODELS = {
    "classifier": RandomForestClassifier(**SOME).fit(IRIS, KINDS),
    "regressor": RandomForestRegressor(**SOME).fit(ROWS, TARGET),
    "boosting": GradientBoostingRegressor(**SOME).fit(ROWS, TARGET),
    "histograms": HistGradientBoostingRegressor(max_iter=8, random_state=0).fit(ROWS, TARGET),
    "pipeline": make_pipeline(StandardScaler(), RandomForestRegressor(**SOME)).fit(ROWS, TARGET),
}
pytestmark = pytest.mark.filterwarnings("ignore")  # what these packages' dependencies warn of


def needs(package):
    missing = importlib.util.find_spec(package) is None
    reason = f"needs {package}; CI installs the extra interop"
    return pytest.mark.skipif(missing, reason=reason)


@pytest.fixture(params=["loaded", "lazy"])
def loaded(request, tmp_path):
    def load(name):
        # A scaler with shards of its own would be a stand-in, whose `type` skl2onnx asks for.
        size = "32MB" if name == "pipeline" else "4kB"
        shardpickle.dump(MODELS[name], tmp_path / name, shard_size=size)
        return shardpickle.load(tmp_path / name, lazy=request.param == "lazy")

    return load


def rows_of(name):
    return IRIS if name == "classifier" else ROWS


@needs("shap")
@pytest.mark.parametrize("name", ["classifier", "regressor", "boosting", "histograms"])
def test_shap(name, loaded):
    import shap

    rows = rows_of(name)[:20]
    mine, theirs = (
        shap.TreeExplainer(model).shap_values(rows) for model in (loaded(name), MODELS[name])
    )
    assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()
    assert np.abs(mine).sum() > 0


@needs("skl2onnx")
@pytest.mark.parametrize("name", ["classifier", "regressor", "boosting", "pipeline"])
def test_onnx(name, loaded):
    """Histogram boosting is left out: skl2onnx 1.20 gives onnx 1.23 integers that it refuses."""
    import onnxruntime
    from skl2onnx import to_onnx

    rows = rows_of(name).astype(np.float32)
    model = loaded(name)
    options = {id(model): {"zipmap": False}} if name == "classifier" else None
    made = to_onnx(model, rows[:1], options=options)
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    answers = session.run(None, {session.get_inputs()[0].name: rows})
    if name == "classifier":
        assert (answers[0] == MODELS[name].predict(rows)).all()
        expected = MODELS[name].predict_proba(rows)
    else:
        expected = MODELS[name].predict(rows)[:, None]
    # ONNX computes in float32, where a scaled row may fall on the other side of a split.
    near = np.isclose(answers[-1], expected, rtol=1e-4, atol=1e-5)
    assert near.mean() > (0.95 if name == "pipeline" else 0.999)


@needs("m2cgen")
@pytest.mark.parametrize("name", ["classifier", "regressor"])
def test_m2cgen(name, loaded):
    import m2cgen

    space = {}
    exec(m2cgen.export_to_python(loaded(name)), space)
    found = np.array([space["score"](list(row)) for row in rows_of(name)])
    model = MODELS[name]
    expected = model.predict_proba(IRIS) if name == "classifier" else model.predict(ROWS)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.fixture
def java():
    """A Java program that evaluates PMML, for as long as the test runs."""
    from jpmml_evaluator.py4j import Py4JBackend

    Py4JBackend.createGateway()
    gateway = Py4JBackend.gateway
    yield Py4JBackend()
    Py4JBackend.destroyGateway()
    gateway.java_process.stdin.close()
    gateway.java_process.wait(30)


@needs("sklearn2pmml")
@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java; CI installs Debian's")
@pytest.mark.parametrize("name", ["classifier", "regressor", "boosting"])
def test_pmml(name, loaded, tmp_path, java):
    import jpmml_evaluator
    import pandas
    from sklearn2pmml import sklearn2pmml
    from sklearn2pmml.pipeline import PMMLPipeline

    rows = rows_of(name)
    file = str(tmp_path / "model.pmml")
    # It pickles the model for a Java program, and a lazy model pickles as a reference.
    model = shardpickle.materialize(loaded(name))
    sklearn2pmml(PMMLPipeline([("model", model)]), file)
    evaluator = jpmml_evaluator.make_evaluator(file, backend=java).verify()
    names = [field.name for field in evaluator.getInputFields()]
    numbers = [int(field.lstrip("x")) - 1 for field in names]
    found = evaluator.evaluateAll(pandas.DataFrame(rows[:, numbers], columns=names))
    model = MODELS[name]
    if name == "classifier":
        shares = found[[f"probability({kind})" for kind in model.classes_]].to_numpy(float)
        np.testing.assert_allclose(shares, model.predict_proba(rows), rtol=1e-9)
    else:
        np.testing.assert_allclose(found["y"].to_numpy(float), model.predict(rows), rtol=1e-9)
