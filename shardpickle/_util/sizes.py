"""Sizes as people write and read them. Knows nothing else."""

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def parse(size: int | str, what: str) -> int:
    """Bytes, from a number or from text: ``"32MB"`` is 32 · 10⁶, ``"32MiB"`` is 32 · 2²⁰."""
    if isinstance(size, str) and (match := _SIZE.fullmatch(size.strip())):
        number, power, binary = match.groups()
        size = int(float(number) * (1024 if binary else 1000) ** _POWERS[power])
    if isinstance(size, bool) or not isinstance(size, int):
        raise ValueError(
            f"{what} is a number of bytes or text like '32MB' or '32MiB', not {size!r}"
        )
    if size < 1:
        raise ValueError(f"{what} is at least 1 byte, not {size}")
    return size


def text(nbytes: float) -> str:
    """Three digits and a unit: ``"1.23 MB"`` is 1.23 · 10⁶ bytes.

    >>> text(1234567)
    '1.23 MB'
    """
    units = iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while nbytes >= 999.5 and unit != "TB":
        nbytes /= 1000
        unit = next(units, "TB")
    return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.3g} {unit}"
