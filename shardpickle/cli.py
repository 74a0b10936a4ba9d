"""The commands of ``python -m shardpickle``. Knows argparse and exit codes only."""

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
    """Run a command. Returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _make_parser().parse_args(words)
    except SystemExit as ended:  # usage, or --help, is printed
        return int(ended.code or SOUND)
    for stream in (sys.stdout, sys.stderr):
        # Characters such as "›" and "█" must not fail on terminals of other encodings.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code: int = options.run(options)
        return code
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        return SOUND
    except UntrustedTypeError as error:
        message = _explain_trust(error, words) if hasattr(options, "trusted") else str(error)
        print(f"{type(error).__name__}: {message}", file=sys.stderr)
    except (ShardpickleError, OSError, TypeError, ValueError, ImportError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    except Exception:  # our own bug; Python's exit code for it would mean a damaged model
        traceback.print_exc()
    return UNKNOWN


def _explain_trust(error: UntrustedTypeError, words: Sequence[str]) -> str:
    """Show a refusal with the command to type."""
    flags = [word for name in error.offered for word in ("--trusted", name)] or ["--unsafe"]
    end = words.index("--") if "--" in words else len(words)
    command = shlex.join([*words[:end], *flags, *words[end:]])
    unsafe_hint = "\nor --unsafe, which runs any code in the file, as pickle does"
    return (
        f"{error.refusal}\n  python -m shardpickle {command}{unsafe_hint if error.offered else ''}"
    )


def _make_type(check: Callable[[str], Any], name: str) -> Callable[[str], Any]:
    """Make a type for argparse: the result of `check`, or a usage error."""

    def parse(value: str) -> Any:
        try:
            return check(value)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parse.__name__ = name
    return parse


def _check_path(value: str) -> str:
    if not value:
        raise ValueError("the path is empty; type '.' for the current directory")
    return value


def _make_integer_type(least: int, most: int | None = None) -> Callable[[str], Any]:
    """Make a type for whole numbers within limits."""
    limits = f"from {least} to {most}" if most is not None else f"of {least} or more"

    def check(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise ValueError(f"expected a whole number {limits}, not {value!r}")
        return number

    return _make_type(check, "number")


def _make_path_type(*suffixes: str) -> Callable[[str], Any]:
    """Make a type for the path of a file to write."""

    def check(value: str) -> str:
        if not _check_path(value).lower().endswith(suffixes):
            raise ValueError(f"{value!r} has to end in {' or '.join(suffixes)}")
        return value

    return _make_type(check, "path")


_PATH = _make_type(_check_path, "path")
_SIZE = _make_type(lambda value: sizes.parse(value, "it"), "size")


Commands = Any  # argparse's class for a group of commands is private


def _make_parser() -> argparse.ArgumentParser:
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
        "verify", help="check every file; exits with 0 if sound, 1 if damaged, 2 if unknown"
    )
    verify.add_argument("model_dir", type=_PATH)
    verify.add_argument("--deep", action="store_true", help="also decode every column")
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.set_defaults(run=_verify)

    diff = commands.add_parser(
        "diff", help="compare two models; exits with 0 if equal, 1 if different, 2 if unknown"
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
    convert.add_argument(
        "--level", type=_make_integer_type(1, 22), default=3, help="zstd's level, 1 to 22"
    )
    convert.set_defaults(run=_convert)

    export = commands.add_parser("export", help="export a model as a joblib or pickle file")
    export.add_argument("model_dir", type=_PATH)
    export.add_argument(
        "file",
        type=_make_path_type(".joblib", ".pkl", ".pickle", ".pkl.gz", ".pickle.gz"),
        help="model.joblib, model.pkl or model.pkl.gz",
    )
    export.add_argument("--compress", type=_make_integer_type(0, 9), default=0, help="0 to 9")
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
        prune.add_argument(option, type=_make_integer_type(1), help=what)
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
        "-o", "--out", type=_make_path_type(".npy"), required=True, help="the .npy file to write"
    )
    predict.add_argument("--method", default="predict", choices=sorted(METHODS))
    predict.add_argument("--memory-limit", type=_SIZE, help="memory for the model, such as 2GB")
    predict.add_argument("--workers", type=_make_integer_type(1), help="number of processes")
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


def _inspect(options: argparse.Namespace) -> int:
    info = api.inspect(options.model_dir, trust=options.trust)
    if options.html:
        api.write_text(options.html, info.to_html())
        print(options.html)
    elif options.json:
        print(json.dumps(info.to_dict(), indent=2))
    else:
        print(info.trust() if options.trust else info)
    return SOUND


def _verify(options: argparse.Namespace) -> int:
    report = api.verify(options.model_dir, deep=options.deep)
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print(report)
    return SOUND if report.ok else UNSOUND


def _diff(options: argparse.Namespace) -> int:
    difference = api.diff(options.one, options.other)
    print(json.dumps(difference.to_dict(), indent=2) if options.json else difference)
    return UNSOUND if difference else SOUND


def _collect(options: argparse.Namespace) -> int:
    count, nbytes = api.collect_garbage(options.model_dir)
    print(f"{options.model_dir}: {count} files removed, {text(nbytes)}")
    return SOUND


def _pack(options: argparse.Namespace) -> int:
    api.pack(options.model_dir, options.file)
    return SOUND


def _unpack(options: argparse.Namespace) -> int:
    api.unpack(options.file, options.model_dir)
    return SOUND


def _convert(options: argparse.Namespace) -> int:
    report = api.convert(
        options.file,
        options.model_dir,
        trusted=options.trusted,
        unsafe=options.unsafe,
        level=options.level,
    )
    print(report)
    return SOUND


def _export(options: argparse.Namespace) -> int:
    api.export(
        options.model_dir,
        options.file,
        compress=options.compress,
        trusted=options.trusted,
        unsafe=options.unsafe,
    )
    return SOUND


def _prune(options: argparse.Namespace) -> int:
    model = api.load(options.model_dir, lazy=True, trusted=options.trusted, unsafe=options.unsafe)
    smaller = api.prune(
        model,
        n_estimators=options.n_estimators,
        max_depth=options.max_depth,
        min_samples_leaf=options.min_samples_leaf,
    )
    print(api.dump(smaller, options.smaller_dir))
    return SOUND


def _tradeoff(options: argparse.Namespace) -> int:
    table = api.tradeoff(
        options.model_dir,
        *read_labelled(options.validation, options.target),
        scoring=options.scoring,
        memory_limit=options.memory_limit,
        trusted=options.trusted,
        unsafe=options.unsafe,
    )
    if options.html:
        api.write_text(options.html, table.to_html())
    print(json.dumps(table.to_dict(), indent=2) if options.json else table)
    return SOUND


def _predict(options: argparse.Namespace) -> int:
    predictions = api.predict(
        options.model_dir,
        read_features(options.features),
        method=options.method,
        workers=options.workers,
        memory_limit=options.memory_limit,
        out=options.out,
        trusted=options.trusted,
        unsafe=options.unsafe,
    )
    shape = f"{len(predictions)} rows, {predictions.dtype} {predictions.shape}"
    print(f"{options.out}: {options.method} of {shape}")
    return SOUND


def _demo(options: argparse.Namespace) -> int:
    return demo.run()
