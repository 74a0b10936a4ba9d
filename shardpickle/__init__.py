"""Fitted models as directories of compressed shards, the same bit for bit when they come back.

>>> import shardpickle
>>> report = shardpickle.dump({"any": "object"}, "model")
>>> shardpickle.load("model")
{'any': 'object'}
"""

from shardpickle._version import __version__
from shardpickle.api import (
    dump,
    dumps,
    estimate,
    inspect,
    load,
    loads,
    materialize,
    pack,
    predict,
    unpack,
    verify,
)
from shardpickle.errors import (
    BusyDirectoryError,
    CorruptManifestError,
    CorruptModelError,
    CorruptShardError,
    DamagedModelWarning,
    DurabilityWarning,
    ForeignDirectoryError,
    FormatError,
    InferenceOnlyWarning,
    LazyReferenceWarning,
    MainModuleWarning,
    MemoryLimitError,
    MemoryLimitWarning,
    MissingNameError,
    MissingShardError,
    ModelNotFoundError,
    ModelReplacedError,
    ModelTooLargeError,
    NotADirectoryModelError,
    NotAModelError,
    ReadBackError,
    RebuildError,
    ShardpickleError,
    StorageError,
    StoragePermissionError,
    UnexpectedModelError,
    UnknownFormatError,
    UnpicklableError,
    UnsafeForbiddenError,
    UntrustedTypeError,
    VersionWarning,
    WorkerLostError,
)
from shardpickle.progress import Progress
from shardpickle.reports import DumpReport, ModelInfo, Problem, VerifyReport

__all__ = [
    "BusyDirectoryError",
    "CorruptManifestError",
    "CorruptModelError",
    "CorruptShardError",
    "DamagedModelWarning",
    "DumpReport",
    "DurabilityWarning",
    "ForeignDirectoryError",
    "FormatError",
    "InferenceOnlyWarning",
    "LazyReferenceWarning",
    "MainModuleWarning",
    "MemoryLimitError",
    "MemoryLimitWarning",
    "MissingNameError",
    "MissingShardError",
    "ModelInfo",
    "ModelNotFoundError",
    "ModelReplacedError",
    "ModelTooLargeError",
    "NotADirectoryModelError",
    "NotAModelError",
    "Problem",
    "Progress",
    "ReadBackError",
    "RebuildError",
    "ShardpickleError",
    "StorageError",
    "StoragePermissionError",
    "UnexpectedModelError",
    "UnknownFormatError",
    "UnpicklableError",
    "UnsafeForbiddenError",
    "UntrustedTypeError",
    "VerifyReport",
    "VersionWarning",
    "WorkerLostError",
    "__version__",
    "dump",
    "dumps",
    "estimate",
    "inspect",
    "load",
    "loads",
    "materialize",
    "pack",
    "predict",
    "unpack",
    "verify",
]


def __dir__() -> list[str]:
    return __all__
