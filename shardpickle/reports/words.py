"""Numbers and plurals in reports."""

MOST_LINES = 20


def count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def ratio(ratio: float) -> str:
    return f"{ratio:.1f} x smaller" if ratio >= 1 else "larger: too small to gain"
