"""``python -m shardpickle``: commands. Knows argparse and exit codes; uses `api` for the rest."""

import argparse
import json
import sys
from collections.abc import Sequence

from shardpickle import api, demo
from shardpickle._version import __version__
from shardpickle.errors import ShardpickleError, UntrustedTypeError
from shardpickle.results import read_features, read_labelled
from shardpickle.scoring import METHODS
from shardpickle.sizes import text

SOUND, UNSOUND, UNKNOWN = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    chosen = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A page with "›" and "█" must not fail on a terminal of another encoding.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code: int = chosen.run(chosen)
        return code
    except ShardpickleError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNKNOWN
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        return SOUND


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shardpickle", description="Models as directories of shards."
    )
    version = f"shardpickle {__version__} (trees are coded by {api.loops()})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    inspect = commands.add_parser("inspect", help="what a model directory holds; unpickles nothing")
    inspect.add_argument("model_dir")
    inspect.add_argument("--json", action="store_true", help="for machines")
    inspect.add_argument("--html", metavar="FILE", help="a page for a browser, of one file")
    inspect.add_argument("--trust", action="store_true", help="each name and why it is trusted")
    inspect.set_defaults(run=_inspect)

    verify = commands.add_parser(
        "verify", help="check every file; exit 0 sound, 1 unsound, 2 could not tell"
    )
    verify.add_argument("model_dir")
    verify.add_argument("--deep", action="store_true", help="also decode every column")
    verify.add_argument("--json", action="store_true", help="for machines")
    verify.set_defaults(run=_verify)

    diff = commands.add_parser(
        "diff", help="how two models differ; exit 0 equal, 1 different, 2 could not tell"
    )
    diff.add_argument("one")
    diff.add_argument("other")
    diff.add_argument("--json", action="store_true", help="for machines")
    diff.set_defaults(run=_diff)

    collect = commands.add_parser("gc", help="remove shards that only earlier models needed")
    collect.add_argument("model_dir")
    collect.set_defaults(run=_collect)

    pack = commands.add_parser("pack", help="put a model directory into one file")
    pack.add_argument("model_dir")
    pack.add_argument("file", help="model.shpk")
    pack.set_defaults(run=_pack)

    unpack = commands.add_parser("unpack", help="make a model directory of a packed model")
    unpack.add_argument("file")
    unpack.add_argument("model_dir")
    unpack.set_defaults(run=_unpack)

    convert = commands.add_parser(
        "convert", help="make a model directory of a pickle, joblib or skops file"
    )
    convert.add_argument("file", help="model.pkl, model.pkl.gz, model.joblib, model.skops")
    convert.add_argument("model_dir")
    convert.add_argument(
        "--trusted", action="append", default=[], metavar="NAME", help="a name to trust; repeat it"
    )
    convert.add_argument(
        "--unsafe", action="store_true", help="run whatever the file says, as pickle does"
    )
    convert.add_argument("--level", type=int, default=3, help="zstd's level, 1 to 22")
    convert.set_defaults(run=_convert)

    export = commands.add_parser("export", help="write a model as a joblib or pickle file")
    export.add_argument("model_dir")
    export.add_argument("file", help="model.joblib, model.pkl or model.pkl.gz")
    export.add_argument("--compress", type=int, default=0, help="0 to 9")
    export.add_argument("--trusted", action="append", default=[], metavar="NAME")
    export.set_defaults(run=_export)

    prune = commands.add_parser("prune", help="a smaller model, without fitting again")
    prune.add_argument("model_dir")
    prune.add_argument("smaller_dir")
    for option, what in (
        ("--n-estimators", "keep the first so many"),
        ("--max-depth", "splits from the root to a leaf"),
        ("--min-samples-leaf", "training samples of the smaller side of a split"),
    ):
        prune.add_argument(option, type=int, help=what)
    prune.add_argument("--trusted", action="append", default=[], metavar="NAME")
    prune.set_defaults(run=_prune)

    tradeoff = commands.add_parser("tradeoff", help="what smaller versions of a model would cost")
    tradeoff.add_argument("model_dir")
    tradeoff.add_argument("validation", help=".npz with X and y, .parquet or .csv with --target")
    tradeoff.add_argument("--target", metavar="COLUMN", help="the column to predict")
    tradeoff.add_argument("--scoring", help="as in scikit-learn; default accuracy or R²")
    tradeoff.add_argument("--memory-limit", help="for the model and the answers, as 2GB")
    tradeoff.add_argument("--html", metavar="FILE", help="a page for a browser, of one file")
    tradeoff.add_argument("--json", action="store_true", help="for machines")
    tradeoff.set_defaults(run=_tradeoff)

    predict = commands.add_parser(
        "predict", help="predict with a model that may be larger than memory"
    )
    predict.add_argument("model_dir")
    predict.add_argument("features", help=".npy, .parquet or .csv (the last two need pandas)")
    predict.add_argument("-o", "--out", required=True, help="the .npy file to write")
    predict.add_argument("--method", default="predict", choices=sorted(METHODS))
    predict.add_argument("--memory-limit", help="what lazy models may hold, as 2GB")
    predict.add_argument("--workers", type=int, help="processes")
    predict.set_defaults(run=_predict)

    show = commands.add_parser("demo", help="fit a forest, save it in three ways, and compare")
    show.set_defaults(run=_demo)
    return parser


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
    try:
        report = api.convert(
            chosen.file,
            chosen.model_dir,
            trusted=chosen.trusted,
            unsafe=chosen.unsafe,
            level=chosen.level,
        )
    except UntrustedTypeError as error:
        options = " ".join(f"--trusted {name}" for name in error.names)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        print(
            f"or: python -m shardpickle convert {chosen.file} {chosen.model_dir} {options}\n"
            "or --unsafe, which runs whatever the file says, as pickle does",
            file=sys.stderr,
        )
        return UNKNOWN
    print(report)
    return SOUND


def _export(chosen: argparse.Namespace) -> int:
    try:
        api.export(chosen.model_dir, chosen.file, compress=chosen.compress, trusted=chosen.trusted)
    except ValueError as error:
        if isinstance(error, ShardpickleError):
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNKNOWN
    return SOUND


def _prune(chosen: argparse.Namespace) -> int:
    model = api.load(chosen.model_dir, lazy=True, trusted=chosen.trusted)
    try:
        smaller = api.prune(
            model,
            n_estimators=chosen.n_estimators,
            max_depth=chosen.max_depth,
            min_samples_leaf=chosen.min_samples_leaf,
        )
    except (TypeError, ValueError) as error:
        if isinstance(error, ShardpickleError):
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNKNOWN
    print(api.dump(smaller, chosen.smaller_dir))
    return SOUND


def _tradeoff(chosen: argparse.Namespace) -> int:
    try:
        found = api.tradeoff(
            chosen.model_dir,
            *read_labelled(chosen.validation, chosen.target),
            scoring=chosen.scoring,
            memory_limit=chosen.memory_limit,
        )
    except (OSError, TypeError, ValueError, ImportError) as error:
        if isinstance(error, ShardpickleError):
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNKNOWN
    if chosen.html:
        api.write_text(chosen.html, found.to_html())
    print(json.dumps(found.to_dict(), indent=2) if chosen.json else found)
    return SOUND


def _predict(chosen: argparse.Namespace) -> int:
    try:
        found = api.predict(
            chosen.model_dir,
            read_features(chosen.features),
            method=chosen.method,
            workers=chosen.workers,
            memory_limit=chosen.memory_limit,
            out=chosen.out,
        )
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, ShardpickleError):
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNKNOWN
    print(f"{chosen.out}: {chosen.method} of {len(found)} rows, {found.dtype} {found.shape}")
    return SOUND


def _demo(chosen: argparse.Namespace) -> int:
    return demo.run()
