"""The names that models of scikit-learn need, found by looking and by fitting.

    python tests/vet.py collect names.json         # under each supported release
    python tests/vet.py write names.json ...       # shardpickle/trust/table.py, for a person
    python tests/vet.py observe observed.json      # under each supported release; and by fits.py
    python tests/vet.py places observed.json ...   # shardpickle/trust/grammar_table.py, likewise

A class is listed if its instances are attributes and nothing else: its code has no ``__reduce__``
and no ``__new__`` of its own, and a ``__setstate__`` only if it stands in `REVIEWED`. Functions are
listed one by one, by what they are for; none reads a file, imports or evaluates.
"""

import collections
import importlib
import inspect
import json
import pickle
import pickletools
import pkgutil
import sys
import textwrap
import warnings
from pathlib import Path

import composition_cases
import estimators
import numpy as np
import scipy.sparse
import scipy.special
import sklearn
from observed import Observed
from sklearn import metrics

from shardpickle.io.dump import split_model
from shardpickle.pickling import parser
from shardpickle.trust import (
    constructors,
    distributions,
    grammar,
    grammar_table,
    kinds,
    pandas_objects,
)
from shardpickle.trust import (
    names as trust,
)

# Values that `pandas_objects` and `distributions` list beside what they do with them.
WRITTEN = {
    (module, name)
    for table in (pandas_objects.VALUES, distributions.VALUES)
    for module, names in table.items()
    for name in names
}
CALLED = {*trust.CONSTRUCTORS, *constructors.CALLABLES, trust.GETATTR}
TOP = Path(__file__).parent.parent
TARGET = TOP / "shardpickle" / "trust" / "table.py"
PAGE = TOP / "docs" / "trust.md"

# Classes with a `__setstate__` of their own that was read: it sets attributes and calls no value.
REVIEWED = {
    ("sklearn.base", "BaseEstimator"),  # looks at a version, warns
    ("sklearn.isotonic", "IsotonicRegression"),  # makes its interpolation again
    ("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"),  # casts its nodes
    ("sklearn.utils._bunch", "Bunch"),  # does nothing
    ("scipy.sparse._coo", "_coo_base"),  # renames row and col, sets attributes
    ("scipy.sparse._coo", "coo_matrix"),
}
NOT_FOR_MODELS = (
    *("tests", "externals", "experimental", "conftest", "datasets", "inspection", "callback"),
    *("_build_utils", "_testing", "_mocking", "estimator_checks", "_test_common", "__check_build"),
)
FAMILIES = {
    ("sklearn.base", "BaseEstimator"),
    ("sklearn.gaussian_process.kernels", "Kernel"),
    ("sklearn.gaussian_process.kernels", "Hyperparameter"),
    ("sklearn.model_selection._split", "BaseCrossValidator"),
    ("sklearn.model_selection._split", "_BaseKFold"),
    ("sklearn.model_selection._split", "BaseShuffleSplit"),
    ("sklearn.model_selection._split", "_RepeatedSplits"),
    ("sklearn.model_selection._split", "_UnsupportedGroupCVMixin"),
    ("sklearn.metrics._scorer", "_BaseScorer"),
    ("sklearn._loss.loss", "BaseLoss"),
    ("sklearn._loss.link", "BaseLink"),
    ("sklearn.compose._column_transformer", "_RemainderColsList"),
    ("sklearn.compose._column_transformer", "make_column_selector"),
    ("sklearn.neural_network._stochastic_optimizers", "BaseOptimizer"),
}
METRICS = {
    *metrics.__all__,
    *(f"pairwise.{name}" for name in vars(metrics.pairwise) if not name.startswith("_")),
} - {
    *("make_scorer", "get_scorer", "get_scorer_names", "check_scoring"),
    *("pairwise_distances_chunked", "pairwise.pairwise_distances_chunked"),
}
FUNCTIONS = {
    "sklearn.metrics": METRICS,
    "sklearn.feature_selection": {
        *("chi2", "f_classif", "f_oneway", "f_regression", "r_regression"),
        *("mutual_info_classif", "mutual_info_regression"),
    },
    "sklearn.preprocessing": {
        *("add_dummy_feature", "binarize", "maxabs_scale", "minmax_scale", "normalize"),
        *("power_transform", "quantile_transform", "robust_scale", "scale"),
    },
    "sklearn.utils.validation": {"check_array"},
    "sklearn.neighbors": {"kneighbors_graph", "radius_neighbors_graph"},
    "sklearn.cluster._kmeans": {"_kmeans_single_elkan", "_kmeans_single_lloyd"},
    "scipy._lib.array_api_compat.numpy._aliases": {"asarray"},
    "sklearn.externals.array_api_compat.numpy._aliases": {"asarray"},
    "numpy": {
        *(name for name, each in vars(np).items() if isinstance(each, np.ufunc)),
        *("all", "amax", "amin", "any", "argmax", "argmin", "argsort", "around", "array"),
        *("asarray", "average", "clip", "column_stack", "concatenate", "count_nonzero"),
        *("cumprod", "cumsum", "diff", "dot", "full_like", "hstack", "linspace", "max", "mean"),
        *("median", "min", "nan_to_num", "nanmax", "nanmean", "nanmedian", "nanmin", "nanstd"),
        *("nansum", "nanvar", "ones_like", "percentile", "prod", "quantile", "ravel", "repeat"),
        *("reshape", "round", "sort", "squeeze", "stack", "std", "sum", "transpose", "unique"),
        *("var", "vstack", "where", "zeros_like"),
    },
    "scipy.special": {
        *("boxcox", "boxcox1p", "cbrt", "erf", "erfc", "exp2", "expit", "expm1", "gamma"),
        *("gammaln", "inv_boxcox", "inv_boxcox1p", "log1p", "log_expit", "logit", "ndtr"),
        *("ndtri", "psi", "xlog1py", "xlogy"),
    },
    "builtins": {
        *("Ellipsis", "NotImplemented", "abs", "bool", "bytes", "complex", "dict", "float"),
        *("frozenset", "int", "len", "list", "max", "min", "object", "round", "set", "sorted"),
        *("str", "sum", "tuple"),
    },
}
CLASSES_AS_VALUES = {
    "numpy": {
        *("ndarray", "matrix"),
        *(each.__name__ for each in np.sctypeDict.values() if each is not np.object_),
        "object_",
        # What columns are selected by.
        *("character", "complexfloating", "flexible", "floating", "generic", "inexact"),
        *("integer", "number", "signedinteger", "unsignedinteger"),
    },
    "numpy.random._mt19937": {"MT19937"},
    "numpy.random._pcg64": {"PCG64", "PCG64DXSM"},
    "numpy.random._philox": {"Philox"},
    "numpy.random._sfc64": {"SFC64"},
    "numpy.random.bit_generator": {"SeedSequence"},
    "sklearn.neighbors._kd_tree": {"KDTree", "KDTree32", "KDTree64"},
    "sklearn.neighbors._ball_tree": {"BallTree", "BallTree32", "BallTree64"},
    "sklearn.metrics._dist_metrics": {
        f"{name}Distance{bits}" for name in constructors.METRICS for bits in ("", "32", "64")
    },
}
OTHERS = {  # of other libraries, whose instances are attributes
    *(
        (each.__module__, each.__name__)
        for each in vars(scipy.sparse).values()
        if isinstance(each, type) and issubclass(each, scipy.sparse.spmatrix | scipy.sparse.sparray)
    ),
    ("scipy.interpolate._bsplines", "BSpline"),
    ("scipy.interpolate._bsplines", "_BSpline"),  # since SciPy 1.18, where the other holds one
    ("joblib.memory", "Memory"),
    ("sklearn.callback._progressbar", "ProgressBar"),
    ("sklearn.callback._scoring_monitor", "ScoringMonitor"),
    ("joblib._store_backends", "FileSystemStoreBackend"),
}


class Noted:
    """A `Construct` that notes how every name is used."""

    def __init__(self):
        self.classes = set()
        self.values = set()
        self.called = set()

    def find(self, module, name):
        return Thing((module, name))

    def persistent(self, pid):
        return Thing(None)

    def call(self, function, args):
        self.called.add(function.name)
        self.value(args)
        return Thing(None)

    def new(self, cls, args, kwargs):
        self.classes.add(cls.name)
        self.value(args)
        return Thing(None)

    def build(self, instance, state):
        self.value(state)

    def frozen(self, items):
        self.value(items)
        return Thing(None)

    def extend(self, target, items):
        self.value(items)

    def update(self, target, items):
        self.value(
            [*dict(items).values()] if not items else [each for pair in items for each in pair]
        )
        if type(target) is dict:
            target.update({id(key): value for key, value in items})

    def add(self, target, items):
        self.value(items)

    def value(self, found):
        left = [found]
        while left:
            each = left.pop()
            if isinstance(each, Thing):
                if each.name:
                    self.values.add(each.name)
            elif isinstance(each, dict):
                left += each.values()
            elif isinstance(each, (tuple, list)):
                left += each


class Thing:
    def __init__(self, name):
        self.name = name


def used():
    """How every estimator of this release uses names once it is fitted."""
    noted = Noted()
    for name, cls in estimators.everything():
        try:
            model, _ = estimators.fitted(name, cls)
        except Exception as error:  # estimators that need other data raise what they like
            print(f"cannot be fitted: {name}: {error!r:.100}", file=sys.stderr)
            continue
        for part in split_model(model, "full")[0]:
            parser.read(part.content().skeleton, noted)
    return noted


def global_of(obj):
    """The name under which pickle knows an object, or None."""
    try:
        operations = list(pickletools.genops(pickle.dumps(obj, 5)))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    names = [arg for opcode, arg, _ in operations if "UNICODE" in opcode.name]
    whole = [opcode.name for opcode, _, _ in operations if opcode.name not in ("FRAME", "MEMOIZE")]
    if len(names) == 2 and whole[-2:] == ["STACK_GLOBAL", "STOP"] and "." not in names[1]:
        return tuple(names)
    return None


def is_plain(cls):
    """Whether instances are attributes and nothing else."""
    for base in cls.__mro__:
        own = vars(base)
        if base in (object, tuple, dict):
            continue
        if "__setstate__" in own and (base.__module__, base.__name__) not in REVIEWED:
            return False
        if "__reduce__" in own or "__reduce_ex__" in own:
            return False
        deprecated = getattr(own.get("__new__"), "__module__", "") == "sklearn.utils.deprecation"
        if "__new__" in own and base.__module__ not in ("typing", "abc") and not deprecated:
            return issubclass(cls, tuple)
    compiled = not (getattr(sys.modules[cls.__module__], "__file__", None) or "").endswith(".py")
    return not compiled and not inspect.isabstract(cls)


def walk():
    for found in pkgutil.walk_packages(sklearn.__path__, "sklearn."):
        if not set(found.name.split(".")) & set(NOT_FOR_MODELS):
            try:
                yield importlib.import_module(found.name)
            except ImportError as error:
                print(f"cannot be imported: {found.name}: {error}", file=sys.stderr)


def collect(file):
    warnings.simplefilter("ignore")
    noted = used()
    classes, values, left_out = set(), set(), set()
    for module in walk():
        for cls in vars(module).values():
            if not isinstance(cls, type) or cls.__module__ != module.__name__:
                continue
            family = any((base.__module__, base.__name__) in FAMILIES for base in cls.__mro__)
            if family or (cls.__module__, cls.__qualname__) in noted.classes:
                name = (cls.__module__, cls.__qualname__)
                (classes if is_plain(cls) else left_out).add(name)
    for module, name in OTHERS:
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue  # of another release
        if is_plain(found):
            classes.add((module, name))
    for table in (FUNCTIONS, CLASSES_AS_VALUES):
        for module, names in table.items():
            try:
                place = importlib.import_module(module)
            except ImportError:
                continue  # of another release
            for name in names:
                obj = place
                for step in name.split("."):
                    obj = getattr(obj, step, None)
                if obj is None or (
                    isinstance(obj, type) and "metrics" in module and "_dist" not in module
                ):
                    continue
                known = (module, name) if obj in (..., NotImplemented) else global_of(obj)
                top = module if module.startswith("sklearn.metrics") else module.split(".")[0]
                if known and f"{known[0]}.".startswith(f"{top}."):
                    values.add(known)
    missing = (noted.classes | noted.values) - classes - values - set(CALLED)
    print(f"left out: {sorted(left_out)}", file=sys.stderr)
    print(f"needed, but not listed: {sorted(missing)}", file=sys.stderr)
    print(f"called: {sorted(noted.called - set(CALLED))}", file=sys.stderr)
    Path(file).write_text(json.dumps({"classes": sorted(classes), "values": sorted(values)}))


HEADING = "<!-- written by tests/vet.py -->\n"


def page(classes, values):
    """The tables of docs/trust.md."""
    lines = []
    for title, names in (
        ("Classes: empty instances that are given attributes", classes),
        ("Values: never called by a load", values),
        ("Constructors with checked arguments ", sorted(CALLED)),
    ):
        by_module = collections.defaultdict(list)
        for module, name in sorted(names):
            by_module[module].append(f"`{name}`")
        lines += [f"\n{title}:\n", "| module | names |", "|---|---|"]
        lines += [f"| `{module}` | {' '.join(each)} |" for module, each in by_module.items()]
    return "\n".join(lines) + "\n"


def write(files):
    found = [json.loads(Path(file).read_text()) for file in files]
    tables = {
        kind: sorted({tuple(name) for each in found for name in each[kind]})
        for kind in ("classes", "values")
    }
    lines = [
        '"""Names that a model may use without being asked about. Written by tests/vet.py.',
        "",
        "Of every supported release of scikit-learn. `CLASSES` are made empty and given",
        "attributes; `VALUES` are never called while a model is loaded. docs/trust.md says how",
        "they were chosen.",
        '"""',
    ]
    for kind, names in tables.items():
        by_module = collections.defaultdict(list)
        for module, name in names:
            by_module[module].append(name)
        lines += ["", f"{kind.upper()} = {{"]
        for module, each in by_module.items():
            lines += [f'    "{module}": (', *(f'        "{name}",' for name in each), "    ),"]
        lines.append("}")
    TARGET.write_text("\n".join(lines) + "\n")
    head = PAGE.read_text().partition(HEADING)[0]
    PAGE.write_text(head + HEADING + page(tables["classes"], sorted({*tables["values"], *WRITTEN})))
    print({kind: len(names) for kind, names in tables.items()})


def observe(file):
    """What stands in the attributes of every estimator, and of the models that hold several."""
    warnings.simplefilter("ignore")
    seen = Observed()
    for name, cls in estimators.everything():
        try:
            model, _ = estimators.fitted(name, cls)
        except Exception as error:  # as in `used`; told on stderr
            print(f"cannot be fitted: {name}: {error!r:.100}", file=sys.stderr)
            continue
        seen.note(model)
    for name, make in composition_cases.CASES.items():
        try:
            model = make()
        except Exception as error:  # of packages that a release is too old for; told on stderr
            print(f"cannot be fitted: {name}: {error!r:.100}", file=sys.stderr)
            continue
        seen.note(model[0] if type(model) is tuple else model)
    seen.write(file)


PLACES = TOP / "docs" / "places.md"
GRAMMAR = TARGET.with_name("grammar_table.py")
KINDS = {
    *("scalar", "array", "value", "table", "sparse", "estimator", "function", "type"),
    *("random_state", *kinds.FAMILIES.values(), "Bunch", "BSpline", "Tree"),
}


def places(files):
    """Of each class the attributes that hold more than plain data, as they were observed."""
    found = collections.defaultdict(lambda: collections.defaultdict(set))
    for file in files:
        for cls, its in json.loads(Path(file).read_text())["kinds"].items():
            for name, seen in its.items():
                found[cls][name] |= set(seen)
    vetted_here = {name for _, name in trust._classes() | set(CALLED)}
    here = {f"{module.split('.')[0]}.{name}" for module, name in trust._classes()}
    lines = [
        '"""What stands in the attributes of fitted models. Written by tests/vet.py.',
        "",
        "Of each class the attributes that hold more than plain data, and the kinds of what they",
        "hold (`kinds.kind_of`): seen in the models that scikit-learn's own tests fit, and in",
        "the estimators of every supported release. What scikit-learn declares of a parameter is",
        "taken beside this.",
        '"""',
        "",
        "ROWS: dict[str, dict[str, str]] = {",
    ]
    for cls, its in sorted(found.items()):
        if cls not in here and cls.partition(".")[2] not in vetted_here:
            continue
        of_cls = {}
        for name, seen in sorted(its.items()):
            known = {each for each in seen if each in KINDS or each in vetted_here}
            if known - kinds.PLAIN:
                of_cls[name] = " ".join(sorted(known))
        if of_cls:
            lines.append(f'    "{cls}": {{')
            for name, text in of_cls.items():
                rows = textwrap.wrap(text, 60)
                rows = [f"{row} " for row in rows[:-1]] + rows[-1:]
                if len(rows) == 1:
                    lines.append(f'        "{name}": "{kinds}",')
                else:
                    lines += [f'        "{name}": (', *(f'            "{row}"' for row in rows)]
                    lines.append("        ),")
            lines.append("    },")
    GRAMMAR.write_text("\n".join([*lines, "}"]) + "\n")
    importlib.reload(grammar_table)
    head = PLACES.read_text().partition(HEADING)[0]
    PLACES.write_text(head + HEADING + page_of_places())


def page_of_places():
    """The tables of docs/places.md."""
    rows = collections.defaultdict(dict)
    for table in (grammar_table.ROWS, grammar.BY_HAND):
        for cls, its in table.items():
            for name, text in its.items():
                rows[cls][name] = " ".join(
                    sorted({*text.split(), *rows[cls].get(name, "").split()})
                )
    lines = ["", "| class | attributes |", "|---|---|"]
    for cls, its in sorted(rows.items()):
        attributes = "; ".join(
            f"`{name}`: {', '.join(kind.replace('_', ' ').strip() for kind in its[name].split())}"
            for name in sorted(its)
        )
        lines.append(f"| `{cls}` | {attributes} |")
    functions = collections.defaultdict(list)
    for name, modules in grammar.FUNCTIONS_AT.items():
        functions[modules].append(f"`{name}`")
    lines += ["", "Functions, by the attribute:", "", "| attributes | modules |", "|---|---|"]
    lines += [
        f"| {' '.join(sorted(names))} | {' '.join(f'`{each}`' for each in modules)} |"
        for modules, names in sorted(functions.items())
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    commands = {"collect": collect, "observe": observe}
    if command in commands:
        commands[command](arguments[0])
    else:
        {"write": write, "places": places}[command](arguments)
