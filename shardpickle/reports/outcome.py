"""Reports of `dump` and `verify`, as objects and as text."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from shardpickle._util.sizes import text
from shardpickle.format import manifest as manifests
from shardpickle.io.open_model import read_needs
from shardpickle.io.publish import Dumped
from shardpickle.reports.words import MOST_LINES, count, ratio


@dataclass(frozen=True, slots=True)
class DumpReport:
    """Result of a dump.

    Attributes
    ----------
    path : str
        The model directory.
    raw_bytes, stored_bytes : int
        Raw bytes of the model, and bytes of its directory with the manifest.
    seconds : float
        Wall time of the whole call, read-back included.
    parts : int
        Number of parts that the model is stored in.
    shards_written, shards_reused : int
        Numbers of new shard files, and of files that an earlier dump had written.
    written_bytes : int
        Bytes of the new files.
    digest : str
        ``"sha256:…"`` of the manifest. It identifies exactly this model: `load(…, expect=digest)`.
    needs_trust : tuple of str
        Names to give to ``load(path, trusted=…)``, unless `needs_unsafe` is set. Empty if a default
        `load` accepts the model.
    needs_unsafe : str
        What only ``load(path, unsafe=True)`` does, and where in the model. Mostly empty.
    kept_whole : tuple of str
        With ``profile="inference"``, where trees were stored whole all the same, and why:
        ``"steps[0][1].estimator_: SelectFromModel reads its importances"``.
    """

    path: str
    raw_bytes: int
    stored_bytes: int
    seconds: float
    parts: int
    shards_written: int
    shards_reused: int
    written_bytes: int
    digest: str
    needs_trust: tuple[str, ...] = ()
    needs_unsafe: str = ""
    kept_whole: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: str, dumped: Dumped, started: float) -> "DumpReport":
        """Report on a dump that started at `started` (`time.perf_counter`)."""
        manifest = dumped.manifest
        needs_trust, needs_unsafe = read_needs(manifest)
        written = sum(manifest.files[sha256].nbytes for sha256 in dumped.new)
        return cls(
            path=path,
            raw_bytes=dumped.dumper.raw,
            stored_bytes=manifest.stored + len(dumped.data),
            seconds=time.perf_counter() - started,
            parts=len(dumped.dumper.parts),
            shards_written=len(dumped.new),
            shards_reused=len(manifest.files) - len(dumped.new),
            written_bytes=written + dumped.is_new * len(dumped.data),
            digest=manifests.digest(dumped.data),
            needs_trust=needs_trust,
            needs_unsafe=needs_unsafe,
            kept_whole=dumped.dumper.kept.reasons,
        )

    @property
    def ratio(self) -> float:
        """Raw bytes per stored byte."""
        return self.raw_bytes / self.stored_bytes

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON."""
        return asdict(self) | {"ratio": self.ratio}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return (
            f"{self.path}: {text(self.raw_bytes)} stored in {text(self.stored_bytes)} "
            f"({ratio(self.ratio)}) in {self.seconds:.2f} s; "
            f"{count(self.shards_written, 'shard')} written, {self.shards_reused} reused"
            + self._describe_whole()
            + _describe_needs(self)
        )

    def _describe_whole(self) -> str:
        lines = "".join(f"\n  {place}" for place in self.kept_whole[:MOST_LINES])
        more = len(self.kept_whole) - MOST_LINES
        lines += f"\n  and {more} more (.kept_whole has all)" if more > 0 else ""
        return f"\ntrees stored whole despite profile='inference':{lines}" if lines else ""


def _describe_needs(report: "DumpReport | VerifyReport") -> str:
    """Say what a default load refuses, and the line that loads the model."""
    if report.needs_unsafe:
        line = f"shardpickle.load({report.path!r}, unsafe=True)"
        return f"\na default load refuses {report.needs_unsafe}; load it with {line}"
    if not report.needs_trust:
        return ""
    line = f"shardpickle.load({report.path!r}, trusted={list(report.needs_trust)!r})"
    return f"\nnot vouched for by shardpickle; load it with {line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A damaged file, and what is wrong with it.

    Attributes
    ----------
    estimators : tuple of str
        Places in the model of what the file holds, such as
        ``"estimators_[0:25] of RandomForestClassifier"``.
    """

    file: str
    reason: str
    estimators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Result of `verify`.

    Attributes
    ----------
    path : str
        The model directory.
    deep : bool
        Whether columns and skeletons were decoded too.
    shards : int
        Number of shards checked.
    stored_bytes : int
        Size of the manifest and the shards.
    problems : tuple of Problem
        Empty if the model is sound.
    needs_trust, needs_unsafe
        As in `DumpReport`: what a default `load` refuses. Known only if the model is sound and
        `deep` is true.
    """

    path: str
    deep: bool
    shards: int
    stored_bytes: int
    problems: tuple[Problem, ...]
    needs_trust: tuple[str, ...] = ()
    needs_unsafe: str = ""

    @property
    def ok(self) -> bool:
        """Whether every file matches the manifest."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON."""
        return asdict(self) | {"ok": self.ok}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        checked = "every digest and every column" if self.deep else "every digest"
        if self.ok:
            size = f"{count(self.shards, 'shard')}, {text(self.stored_bytes)}"
            return f"{self.path}: sound ({size}; {checked})" + _describe_needs(self)
        head = f"{self.path}: DAMAGED ({checked} of {count(self.shards, 'shard')})"
        lines = [head]
        for problem in self.problems:
            lines.append(f"  {problem.file}: {problem.reason}")
            lines += [f"      {place}" for place in problem.estimators]
        return "\n".join(lines)
