"""Sizes as people write and read them. Knows nothing else."""

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\d{1,2})?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse(size: int | str, what: str) -> int:
    """Bytes, from a number or from text as people write it, in any case.

    >>> [parse(each, "shard_size") for each in ("32MB", "32 mib", "2G", "1.5 kB", "500", "1e6")]
    [32000000, 33554432, 2000000000, 1500, 500, 1000000]
    """
    if isinstance(size, str) and (match := _SIZE.fullmatch(size.strip())):
        number, power, binary = match.groups()
        size = int(float(number) * (1024 if binary else 1000) ** _POWERS[power.lower()])
    if isinstance(size, bool) or not isinstance(size, int):
        raise ValueError(
            f"{what} is a number of bytes or text like '32MB', '2G' or '32MiB', not {size!r}"
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
