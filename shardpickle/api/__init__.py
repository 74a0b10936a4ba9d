"""The public functions: signatures, docstrings, checks of arguments."""

from shardpickle.api.files import collect_garbage, convert, export, pack, unpack, write_text
from shardpickle.api.models import dump, dumps, load, loads, materialize, predict
from shardpickle.api.reports import diff, estimate, inspect, loops, verify
from shardpickle.api.smaller import prune, tradeoff
from shardpickle.io.open_model import reopened

__all__ = [
    "collect_garbage",
    "convert",
    "diff",
    "dump",
    "dumps",
    "estimate",
    "export",
    "inspect",
    "load",
    "loads",
    "loops",
    "materialize",
    "pack",
    "predict",
    "prune",
    "tradeoff",
    "unpack",
    "verify",
    "write_text",
]

_reopened = reopened  # pickles of lazy models name it here
