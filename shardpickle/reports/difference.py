"""How two models differ, as objects and as text."""

from dataclasses import asdict, dataclass
from typing import Any

from shardpickle._util.sizes import text
from shardpickle.errors import inert
from shardpickle.pickling.outline import join_paths
from shardpickle.reports.words import count


@dataclass(frozen=True, slots=True)
class Change:
    """A part of two models that differs.

    Attributes
    ----------
    path : str
        Where it stands, such as ``"estimators_[3]"``.
    what : str
        ``"differs"``, ``"only in the first"`` or ``"only in the second"``.
    values : dict
        Attributes with another plain value: those of both.
    """

    path: str
    what: str
    values: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two models. False if nothing does.

    Attributes
    ----------
    paths, digests, profiles : tuple of str
        Of both models.
    versions : dict
        Libraries of other versions at the dumps: those of both.
    metadata : bool
        Whether what `dump` was given as metadata differs.
    changes : tuple of Change
        Parts that differ; the first thousand.
    travels, shards : int
        Bytes, and shards among them, that are in the second directory only.
    """

    paths: tuple[str, str]
    digests: tuple[str, str]
    profiles: tuple[str, str]
    versions: dict[str, tuple[str | None, str | None]]
    metadata: bool
    changes: tuple[Change, ...]
    travels: int
    shards: int

    def __bool__(self) -> bool:
        return bool(
            self.changes or self.versions or self.metadata or self.profiles[0] != self.profiles[1]
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self) | {"equal": not self}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        if self.digests[0] == self.digests[1]:
            return f"{self.paths[0]} and {self.paths[1]}: the same files"
        lines = [f"{self.paths[0]} and {self.paths[1]}: {'differ' if self else 'the same model'}"]
        if self.profiles[0] != self.profiles[1]:
            lines.append(f"  profile: {self.profiles[0]} › {self.profiles[1]}")
        lines += [f"  {name}: {then} › {now}" for name, (then, now) in self.versions.items()]
        if self.metadata:
            lines.append("  metadata differs")
        alike = [one.path for one in self.changes if one.what == "differs" and not one.values]
        for one in self.changes:
            if one.values or one.what != "differs":
                lines.append(f"  {one.path}: {one.what}" if one.path not in alike else "")
                lines += [f"      {name}: {a!r} › {b!r}" for name, (a, b) in one.values.items()]
        lines += [f"  {path}: differs" for path in join_paths(alike)]
        new = count(self.shards, "shard")
        lines.append(f"  {text(self.travels)} would travel from the first to the second: {new}")
        return "\n".join(map(inert, lines))
