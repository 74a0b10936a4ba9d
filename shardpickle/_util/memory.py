"""How much memory this process may still use. Asks the operating system; knows no models."""

import os
from pathlib import Path


def available() -> int | None:
    """Bytes that this process may take before it is refused or killed; None if nobody says.

    The smallest of what the machine has left, what its control groups (containers) leave, and
    ``ulimit -v``. Linux only; elsewhere None.
    """
    known = [
        limit for limit in (_machine(), *_control_groups(), _address_space()) if limit is not None
    ]
    return max(0, min(known)) if known else None


def _machine() -> int | None:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _control_groups(
    root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup"
) -> list[int]:
    # https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max, memory.current) and
    # https://docs.kernel.org/admin-guide/cgroup-v1/memory.html: limits of all groups above count.
    limits = []
    for line in _lines(membership):
        _, controllers, group = line.strip().split(":", 2)
        if not controllers:
            base, names = Path(root), ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = Path(root, "memory")
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        here = base / group.lstrip("/")
        for folder in (here, *here.parents):
            if folder == base.parent:
                break
            limit, used = _number(folder / names[0]), _number(folder / names[1])
            if limit is not None and used is not None:
                limits.append(limit - used + _reclaimable(folder / "memory.stat", names[2]))
    return limits


def _reclaimable(path: Path, key: str) -> int:
    return next((int(line.split()[1]) for line in _lines(path) if line.startswith(key + " ")), 0)


def _address_space() -> int | None:
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = next(iter(_lines("/proc/self/statm")), None)
    if limit == resource.RLIM_INFINITY or pages is None:
        return None
    return int(limit) - int(pages.split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _number(path: Path) -> int | None:
    text = next(iter(_lines(path)), "").strip()
    return int(text) if text.isdigit() else None


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
