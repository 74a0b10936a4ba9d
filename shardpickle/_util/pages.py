"""HTML pages from templates, in which every value is escaped. Knows nothing of models."""

from pathlib import Path
from typing import Any


def render(template: Path, **values: Any) -> str:
    """A page: a Jinja template, with autoescape, and the values that it names.

    Characters that do not print become the replacement character.
    """
    try:
        import jinja2
    except ImportError:
        raise ImportError("HTML pages need Jinja: pip install 'shardpickle[html]'") from None
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(values)


def _printable(value: Any) -> Any:
    if not isinstance(value, str) or hasattr(value, "__html__"):  # text, or rendered already
        return value
    letters = (letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in value)
    return "".join(letters)
