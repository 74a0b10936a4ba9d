"""Where a part, or what one of its steps makes, stands in the model. Makes nothing."""

from collections.abc import Callable, Sequence

from shardpickle.errors import CorruptShardError
from shardpickle.pickling import outline
from shardpickle.pickling.machine import Steps

Reference = tuple[int, int]
_DEEPEST = 100


def place(
    number: int,
    step: int,
    references: Sequence[Sequence[Reference]],
    steps_of: Callable[[int], Steps],
) -> str:
    """Where what a part makes at a step stands, such as ``model.steps[0][1].score_func``.

    Parameters
    ----------
    number : int
        The part.
    step : int
        Where in its skeleton; 0 for the part itself.
    references : sequence
        Of each part: (part, object in it). The last part is the model.
    steps_of : callable
        The skeleton of a part.
    """
    below = outline.path_to_step(steps_of(number), step) if step else ""
    for _ in range(_DEEPEST):
        if number == len(references) - 1:
            return f"model{below}"
        found = next(
            (
                (parent, at)
                for parent, each in enumerate(references)
                for at, (part, _) in enumerate(each)
                if part == number
            ),
            None,
        )
        if found is None:
            break
        number, at = found
        try:
            members = outline.members(steps_of(number))
        except CorruptShardError:
            break
        paths = [outline.places(member).get(at) for member in members]
        path = next((each for each in paths if each is not None), None)
        below = (f".{path}" if path else "") + below
    return f"…{below}"
