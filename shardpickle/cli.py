"""``python -m shardpickle``: commands. Knows argparse and exit codes; uses `api` for the rest."""

import argparse
import json
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from shardpickle import api, demo
from shardpickle._util import sizes
from shardpickle._util.sizes import text
from shardpickle._version import __version__
from shardpickle.errors import ShardpickleError, UntrustedTypeError
from shardpickle.lazy.predict import METHODS
from shardpickle.lazy.rows import read_features, read_labelled

SOUND, UNSOUND, UNKNOWN = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        chosen = _parser().parse_args(typed)
    except SystemExit as ended:  # usage, or --help, is printed
        return int(ended.code or SOUND)
    for stream in (sys.stdout, sys.stderr):
        # A page with "›" and "█" must not fail on a terminal of another encoding.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code: int = chosen.run(chosen)
        return code
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        return SOUND
    except UntrustedTypeError as error:
        told = _how_to_trust(error, typed) if hasattr(chosen, "trusted") else str(error)
        print(f"{type(error).__name__}: {told}", file=sys.stderr)
    except (ShardpickleError, OSError, TypeError, ValueError, ImportError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    except Exception:  # a mistake of ours; Python's own code for it is that of an unsound model
        traceback.print_exc()
    return UNKNOWN


def _how_to_trust(error: UntrustedTypeError, typed: Sequence[str]) -> str:
    """The refusal, with the command to type."""
    trusting = [word for name in error.offered for word in ("--trusted", name)] or ["--unsafe"]
    at = typed.index("--") if "--" in typed else len(typed)
    command = shlex.join([*typed[:at], *trusting, *typed[at:]])
    other = "\nor --unsafe, which runs whatever the file says, as pickle does"
    return f"{error.refusal}\n  python -m shardpickle {command}{other if error.offered else ''}"


def _checked(check: Callable[[str], Any], name: str) -> Callable[[str], Any]:
    """What argparse makes of an argument's text: what `check` gives, or a usage error."""

    def parse(given: str) -> Any:
        try:
            return check(given)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parse.__name__ = name
    return parse


def _path(given: str) -> str:
    if not given:
        raise ValueError("a path is not empty ('.' is the present directory)")
    return given


def _whole(least: int, most: int | None = None) -> Callable[[str], Any]:
    """A whole number within limits."""
    limits = f"from {least} to {most}" if most is not None else f"of {least} or more"

    def check(given: str) -> int:
        try:
            number = int(given)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise ValueError(f"a whole number {limits}, not {given!r}")
        return number

    return _checked(check, "number")


def _ending(*suffixes: str) -> Callable[[str], Any]:
    """The path of a file to write."""

    def check(given: str) -> str:
        if not _path(given).lower().endswith(suffixes):
            raise ValueError(f"{given!r} is to end in {' or '.join(suffixes)}")
        return given

    return _checked(check, "path")


_PATH = _checked(_path, "path")
_SIZE = _checked(lambda given: sizes.parse(given, "it"), "size")


Commands = Any  # argparse keeps the class of a group of commands to itself


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shardpickle", description="Save, load and inspect large models."
    )
    version = f"shardpickle {__version__} (trees are coded by {api.loops()})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    for add in (_add_readers, _add_files, _add_shrinkers, _add_predict, _add_demo):
        add(commands)
    return parser


def _add_readers(commands: Commands) -> None:
    inspect = commands.add_parser(
        "inspect", help="show what a model directory holds; unpickles nothing"
    )
    inspect.add_argument("model_dir", type=_PATH)
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.add_argument(
        "--html", type=_PATH, metavar="FILE", help="write an HTML page (needs shardpickle[html])"
    )
    inspect.add_argument(
        "--trust", action="store_true", help="list each class and why it is trusted"
    )
    inspect.set_defaults(run=_inspect)

    verify = commands.add_parser(
        "verify", help="check every file; exit 0 sound, 1 damaged, 2 could not tell"
    )
    verify.add_argument("model_dir", type=_PATH)
    verify.add_argument("--deep", action="store_true", help="also decode every column")
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.set_defaults(run=_verify)

    diff = commands.add_parser(
        "diff", help="show how two models differ; exit 0 equal, 1 different, 2 could not tell"
    )
    diff.add_argument("one", type=_PATH)
    diff.add_argument("other", type=_PATH)
    diff.add_argument("--json", action="store_true", help="print JSON")
    diff.set_defaults(run=_diff)


def _add_files(commands: Commands) -> None:
    collect = commands.add_parser("gc", help="delete shards of earlier models")
    collect.add_argument("model_dir", type=_PATH)
    collect.set_defaults(run=_collect)

    pack = commands.add_parser("pack", help="pack a model directory into one file")
    pack.add_argument("model_dir", type=_PATH)
    pack.add_argument("file", type=_PATH, help="model.shpk")
    pack.set_defaults(run=_pack)

    unpack = commands.add_parser("unpack", help="unpack a file into a model directory")
    unpack.add_argument("file", type=_PATH)
    unpack.add_argument("model_dir", type=_PATH)
    unpack.set_defaults(run=_unpack)

    convert = commands.add_parser(
        "convert", help="convert a pickle, joblib or skops file into a model directory"
    )
    convert.add_argument(
        "file", type=_PATH, help="model.pkl, model.pkl.gz, model.joblib, model.skops"
    )
    convert.add_argument("model_dir", type=_PATH)
    _add_trust(convert)
    convert.add_argument("--level", type=_whole(1, 22), default=3, help="zstd's level, 1 to 22")
    convert.set_defaults(run=_convert)

    export = commands.add_parser("export", help="export a model as a joblib or pickle file")
    export.add_argument("model_dir", type=_PATH)
    export.add_argument(
        "file",
        type=_ending(".joblib", ".pkl", ".pickle", ".pkl.gz", ".pickle.gz"),
        help="model.joblib, model.pkl or model.pkl.gz",
    )
    export.add_argument("--compress", type=_whole(0, 9), default=0, help="0 to 9")
    _add_trust(export)
    export.set_defaults(run=_export)


def _add_shrinkers(commands: Commands) -> None:
    prune = commands.add_parser("prune", help="write a smaller model, without refitting")
    prune.add_argument("model_dir", type=_PATH)
    prune.add_argument("smaller_dir", type=_PATH)
    for option, what in (
        ("--n-estimators", "number of trees to keep"),
        ("--max-depth", "maximum depth of each tree"),
        ("--min-samples-leaf", "minimum training samples in a leaf"),
    ):
        prune.add_argument(option, type=_whole(1), help=what)
    _add_trust(prune)
    prune.set_defaults(run=_prune)

    tradeoff = commands.add_parser(
        "tradeoff", help="show accuracy and size of smaller versions of a model"
    )
    tradeoff.add_argument("model_dir", type=_PATH)
    tradeoff.add_argument(
        "validation", type=_PATH, help=".npz with X and y, .parquet or .csv with --target"
    )
    tradeoff.add_argument("--target", metavar="COLUMN", help="the column to predict")
    tradeoff.add_argument("--scoring", help="as in scikit-learn; default accuracy or R²")
    tradeoff.add_argument(
        "--memory-limit", type=_SIZE, help="memory for the model and its predictions, such as 2GB"
    )
    _add_trust(tradeoff)
    tradeoff.add_argument(
        "--html", type=_PATH, metavar="FILE", help="write an HTML page (needs shardpickle[html])"
    )
    tradeoff.add_argument("--json", action="store_true", help="print JSON")
    tradeoff.set_defaults(run=_tradeoff)


def _add_predict(commands: Commands) -> None:
    predict = commands.add_parser(
        "predict", help="predict with a model, even one larger than memory"
    )
    predict.add_argument("model_dir", type=_PATH)
    predict.add_argument(
        "features", type=_PATH, help=".npy, .parquet or .csv (the last two need pandas)"
    )
    predict.add_argument(
        "-o", "--out", type=_ending(".npy"), required=True, help="the .npy file to write"
    )
    predict.add_argument("--method", default="predict", choices=sorted(METHODS))
    predict.add_argument("--memory-limit", type=_SIZE, help="memory for the model, such as 2GB")
    predict.add_argument("--workers", type=_whole(1), help="number of processes")
    _add_trust(predict)
    predict.set_defaults(run=_predict)


def _add_demo(commands: Commands) -> None:
    show = commands.add_parser("demo", help="fit a forest and compare gzip, joblib and shardpickle")
    show.set_defaults(run=_demo)


def _add_trust(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trusted",
        action="append",
        default=[],
        metavar="NAME",
        help="a class to trust; may be repeated",
    )
    command.add_argument(
        "--unsafe", action="store_true", help="load as pickle does, running any code in the file"
    )


def _inspect(chosen: argparse.Namespace) -> int:
    info = api.inspect(chosen.model_dir, trust=chosen.trust)
    if chosen.html:
        api.write_text(chosen.html, info.to_html())
        print(chosen.html)
    elif chosen.json:
        print(json.dumps(info.to_dict(), indent=2))
    else:
        print(info.trust() if chosen.trust else info)
    return SOUND


def _verify(chosen: argparse.Namespace) -> int:
    report = api.verify(chosen.model_dir, deep=chosen.deep)
    if chosen.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print(report)
    return SOUND if report.ok else UNSOUND


def _diff(chosen: argparse.Namespace) -> int:
    found = api.diff(chosen.one, chosen.other)
    print(json.dumps(found.to_dict(), indent=2) if chosen.json else found)
    return UNSOUND if found else SOUND


def _collect(chosen: argparse.Namespace) -> int:
    count, nbytes = api.collect_garbage(chosen.model_dir)
    print(f"{chosen.model_dir}: {count} files removed, {text(nbytes)}")
    return SOUND


def _pack(chosen: argparse.Namespace) -> int:
    api.pack(chosen.model_dir, chosen.file)
    return SOUND


def _unpack(chosen: argparse.Namespace) -> int:
    api.unpack(chosen.file, chosen.model_dir)
    return SOUND


def _convert(chosen: argparse.Namespace) -> int:
    report = api.convert(
        chosen.file,
        chosen.model_dir,
        trusted=chosen.trusted,
        unsafe=chosen.unsafe,
        level=chosen.level,
    )
    print(report)
    return SOUND


def _export(chosen: argparse.Namespace) -> int:
    api.export(
        chosen.model_dir,
        chosen.file,
        compress=chosen.compress,
        trusted=chosen.trusted,
        unsafe=chosen.unsafe,
    )
    return SOUND


def _prune(chosen: argparse.Namespace) -> int:
    model = api.load(chosen.model_dir, lazy=True, trusted=chosen.trusted, unsafe=chosen.unsafe)
    smaller = api.prune(
        model,
        n_estimators=chosen.n_estimators,
        max_depth=chosen.max_depth,
        min_samples_leaf=chosen.min_samples_leaf,
    )
    print(api.dump(smaller, chosen.smaller_dir))
    return SOUND


def _tradeoff(chosen: argparse.Namespace) -> int:
    found = api.tradeoff(
        chosen.model_dir,
        *read_labelled(chosen.validation, chosen.target),
        scoring=chosen.scoring,
        memory_limit=chosen.memory_limit,
        trusted=chosen.trusted,
        unsafe=chosen.unsafe,
    )
    if chosen.html:
        api.write_text(chosen.html, found.to_html())
    print(json.dumps(found.to_dict(), indent=2) if chosen.json else found)
    return SOUND


def _predict(chosen: argparse.Namespace) -> int:
    found = api.predict(
        chosen.model_dir,
        read_features(chosen.features),
        method=chosen.method,
        workers=chosen.workers,
        memory_limit=chosen.memory_limit,
        out=chosen.out,
        trusted=chosen.trusted,
        unsafe=chosen.unsafe,
    )
    print(f"{chosen.out}: {chosen.method} of {len(found)} rows, {found.dtype} {found.shape}")
    return SOUND


def _demo(chosen: argparse.Namespace) -> int:
    return demo.run()
