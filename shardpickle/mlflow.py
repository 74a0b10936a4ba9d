"""MLflow's flavor "shardpickle". No other module imports it. It takes no trust from MLmodel files.

An MLflow model folder holds MLflow's own files and a folder of a fixed name with the shards.
"""

import sys
from collections.abc import Collection, Mapping
from importlib.metadata import packages_distributions
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import yaml
from mlflow import pyfunc
from mlflow.artifacts import download_artifacts
from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION
from mlflow.models import Model, infer_signature
from mlflow.models.model import ModelInfo
from mlflow.models.utils import _save_example
from mlflow.utils.environment import _process_pip_requirements, _PythonEnv

from shardpickle import api
from shardpickle._util.warn import warn_caller
from shardpickle._version import __version__
from shardpickle.errors import ForeignDirectoryError, UnsafeForbiddenError
from shardpickle.io import open_model
from shardpickle.reports.outcome import DumpReport

FLAVOR_NAME = "shardpickle"
METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "transform",
)
_FOLDER = "shardpickle"  # never read from MLmodel: a path in there could lead anywhere
# The only load options that a folder may set. MLflow lets a caller override only existing keys.
_CONFIG = {"lazy": False, "memory_limit": None}
_SERVING = (
    "mlflow.load_model({path}, {trusted})\n"
    "mlflow.pyfunc and `mlflow models serve` trust only vetted classes, and those that the entry "
    "points of their package vouch for (docs/trust.md)."
)


def get_default_pip_requirements() -> list[str]:
    """Requirements of every model of this flavor.

    Returns
    -------
    list of str
        shardpickle, scikit-learn and numpy in the versions installed here. `save_model` adds the
        packages of the model's classes.

    Examples
    --------
    >>> [line.partition("==")[0] for line in get_default_pip_requirements()]
    ['numpy', 'scikit-learn', 'shardpickle']
    """
    return _pin_requirements(("sklearn", "numpy"))


def save_model(
    model: Any,
    path: str | Path,
    *,
    mlflow_model: Any = None,
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: Any = None,
    extra_pip_requirements: Any = None,
    metadata: dict[str, Any] | None = None,
    model_config: Mapping[str, Any] | None = None,
    pyfunc_predict_fn: str = "predict",
    dump_options: Mapping[str, Any] | None = None,
) -> None:
    """Save a model as an MLflow model folder.

    Parameters
    ----------
    model : object
        A fitted estimator, or anything else that `shardpickle.dump` saves. If it lacks the method
        `pyfunc_predict_fn`, the folder has no ``python_function`` flavor.
    path : str or os.PathLike
        A new or empty folder.
    mlflow_model : mlflow.models.Model, optional
        The configuration to add the flavor to.
    signature : mlflow.models.ModelSignature, optional
        Default: inferred from `input_example`, if given. False for none.
    input_example : array-like or DataFrame, optional
        Rows for the model.
    pip_requirements, extra_pip_requirements : list of str or str, optional
        As in MLflow. Default: `get_default_pip_requirements` and the packages of the model's
        classes, in the versions installed here. Finding them runs no code.
    metadata : dict, optional
        Kept in MLmodel.
    model_config : dict, optional
        ``lazy`` and ``memory_limit`` for `mlflow.pyfunc.load_model` and ``mlflow models serve``.
    pyfunc_predict_fn : str, default "predict"
        Method that `predict` of the ``python_function`` flavor calls, one of `METHODS`.
    dump_options : dict, optional
        Keywords of `shardpickle.dump`, such as ``{"profile": "inference"}``.

    Raises
    ------
    ForeignDirectoryError
        If the folder exists and is not empty.
    ValueError
        For an unknown `pyfunc_predict_fn` or an unknown key of `model_config`.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> tree = DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])
    >>> save_model(tree, "tree", model_config={"lazy": True})
    >>> load_model("tree").predict([[1.0]])
    array([1])
    """
    if pyfunc_predict_fn not in METHODS:
        raise ValueError(f"pyfunc_predict_fn has to be one of {METHODS}, not {pyfunc_predict_fn!r}")
    config = _check_config(model_config)
    folder = Path(path)
    if folder.exists() and any(folder.iterdir()):
        raise ForeignDirectoryError(
            17, "give a new or empty folder: this one holds files", str(folder)
        )
    folder.mkdir(parents=True, exist_ok=True)
    report = api.dump(model, folder / _FOLDER, **(dump_options or {}))
    configuration = Model() if mlflow_model is None else mlflow_model
    if input_example is not None:
        _save_example(configuration, input_example, str(folder))
    predict = getattr(model, pyfunc_predict_fn, None)
    if signature is None and input_example is not None and predict is not None:
        signature = infer_signature(input_example, predict(input_example))
    if signature:
        configuration.signature = signature
    if metadata is not None:
        configuration.metadata = metadata
    if predict is not None:
        _add_pyfunc(configuration, report, config, pyfunc_predict_fn)
    configuration.add_flavor(FLAVOR_NAME, shardpickle_version=__version__, digest=report.digest)
    configuration.model_size_bytes = report.stored_bytes
    _write_requirements(folder, pip_requirements, extra_pip_requirements)
    configuration.save(str(folder / "MLmodel"))


def _add_pyfunc(
    configuration: Any, report: DumpReport, config: Mapping[str, Any], predict_fn: str
) -> None:
    """Let MLflow serve the model; warn if it will refuse to."""
    if report.needs_unsafe:
        warn_caller(
            "load this model with shardpickle.mlflow.load_model(..., unsafe=True) only: "
            "mlflow.pyfunc and `mlflow models serve` will refuse it, since they trust vetted "
            f"classes only. {report.needs_unsafe}",
            UserWarning,
        )
    elif report.needs_trust:
        warn_caller(
            f"mlflow.pyfunc and `mlflow models serve` will refuse this model, since they trust "
            f"vetted classes only. Name {', '.join(report.needs_trust)} in the entry points of "
            "the package (docs/trust.md), or load the model with "
            "shardpickle.mlflow.load_model(..., trusted=[...])",
            UserWarning,
        )
    pyfunc.add_to_model(
        configuration,
        loader_module="shardpickle.mlflow",
        model_config=config,
        python_env="python_env.yaml",
        conda_env="conda.yaml",
        predict_fn=predict_fn,
    )


def _write_requirements(folder: Path, pip_requirements: Any, extra_pip_requirements: Any) -> None:
    default_requirements = None
    if pip_requirements is None:
        info = api.inspect(folder / _FOLDER)
        default_requirements = _pin_requirements(("sklearn", "numpy", *info.environment))
    conda_env, requirements, constraints = _process_pip_requirements(
        default_requirements, pip_requirements, extra_pip_requirements
    )
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda_env, default_flow_style=False))
    (folder / "requirements.txt").write_text("\n".join(requirements))
    if constraints:
        (folder / "constraints.txt").write_text("\n".join(constraints))
    _PythonEnv.current().to_yaml(str(folder / "python_env.yaml"))


def log_model(model: Any, name: str | None = None, **options: Any) -> ModelInfo:
    """Log a model to the active run (or a new one), and register it on request.

    Parameters
    ----------
    model : object
        As for `save_model`.
    name : str, optional
        The model's name in the tracking store.
    **options
        Options of `save_model`, except `path` and `mlflow_model`, and of `mlflow.models.Model.log`,
        such as ``registered_model_name``.

    Returns
    -------
    mlflow.models.model.ModelInfo
        Its ``model_uri`` is what `load_model` takes.

    Examples
    --------
    >>> import mlflow
    >>> mlflow.set_tracking_uri("sqlite:///runs.db")
    >>> info = log_model({"weights": [1, 2]}, "weights")
    >>> load_model(info.model_uri)
    {'weights': [1, 2]}
    """
    return Model.log(
        artifact_path=None, name=name, flavor=sys.modules[__name__], model=model, **options
    )


def load_model(
    model_uri: str | Path,
    dst_path: str | None = None,
    *,
    lazy: bool = False,
    memory_limit: int | str | None = None,
    workers: int | None = None,
    trusted: Collection[str | type] = (),
    unsafe: bool = False,
    expect: str | None = None,
) -> Any:
    """Load the model itself.

    Only MLflow reads MLmodel, to find the folder. No code path or trusted name is taken from it.

    Parameters
    ----------
    model_uri : str or os.PathLike
        A folder, or any address that MLflow knows (``models:/…``, ``runs:/…``, ``s3://…``).
    dst_path : str, optional
        Folder for MLflow's download. A lazy model needs it as long as the model is used.
    lazy, memory_limit, workers, trusted, expect
        As for `shardpickle.load`.
    unsafe : bool, default False
        As for `shardpickle.load`. Also forbidden if ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION`` is
        false.

    Returns
    -------
    object
        The model.

    Raises
    ------
    UnsafeForbiddenError
        If the environment forbids `unsafe`, or `trusted`.

    Examples
    --------
    >>> save_model({"weights": [1, 2]}, "folder")
    >>> load_model("folder")
    {'weights': [1, 2]}
    """
    if unsafe and not MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get():
        raise UnsafeForbiddenError("unsafe=True", MLFLOW_ALLOW_PICKLE_DESERIALIZATION.name)
    folder = download_artifacts(artifact_uri=str(model_uri), dst_path=dst_path)
    with open_model.show_call("mlflow.load_model({path}, {trusted})", trusted, str(model_uri)):
        return api.load(
            Path(folder, _FOLDER),
            lazy=lazy,
            memory_limit=memory_limit,
            workers=workers,
            trusted=trusted,
            unsafe=unsafe,
            expect=expect,
        )


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> "_Served":
    """Load for `mlflow.pyfunc.load_model`. Anybody may have written `model_config`."""
    options = {key: value for key, value in (model_config or {}).items() if key in _CONFIG}
    with open_model.show_call(_SERVING, (), path):
        return _Served(api.load(Path(path, _FOLDER), **options))


class _Served:
    """A model for MLflow's ``python_function``, with those of `METHODS` that it has."""

    def __init__(self, model: Any) -> None:
        self._model = model
        for name in METHODS:
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def get_raw_model(self) -> Any:
        """The model itself, for MLflow's `PyFuncModel.get_raw_model`."""
        return self._model


def _check_config(model_config: Mapping[str, Any] | None) -> dict[str, Any]:
    unknown = set(model_config or ()) - set(_CONFIG)
    if unknown:
        raise ValueError(f"model_config takes {sorted(_CONFIG)}, not {sorted(unknown)}")
    return {**_CONFIG, **(model_config or {})}


def _pin_requirements(modules: Collection[str]) -> list[str]:
    """Pin the requirements of these top-level modules, and this package."""
    distributions = packages_distributions()
    names = {name for module in modules for name in distributions.get(module, ())[:1]}
    pins = {f"{name}=={installed(name)}" for name in names if name != "shardpickle"}
    return sorted({*pins, f"shardpickle=={__version__}"})
