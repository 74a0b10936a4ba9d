"""Finds the place in the model of a part, or of what one of its steps makes. Makes nothing."""

from collections.abc import Callable, Sequence

from shardpickle.errors import CorruptShardError
from shardpickle.pickling import outline
from shardpickle.pickling.machine import Steps

Reference = tuple[int, int]
_DEEPEST = 100


def describe_place(
    number: int,
    step: int,
    references: Sequence[Sequence[Reference]],
    steps_of: Callable[[int], Steps],
) -> str:
    """Describe the place of what a part makes at a step: ``model.steps[0][1].score_func``.

    Parameters
    ----------
    number : int
        The part.
    step : int
        The step's position in its skeleton; 0 for the part itself.
    references : sequence
        For each part: (part, object in it). The last part is the model.
    steps_of : callable
        Returns the skeleton of a part.
    """
    below = outline.path_to_step(steps_of(number), step) if step else ""
    for _ in range(_DEEPEST):
        if number == len(references) - 1:
            return f"model{below}"
        holder = next(
            (
                (parent, index)
                for parent, part_references in enumerate(references)
                for index, (part, _) in enumerate(part_references)
                if part == number
            ),
            None,
        )
        if holder is None:
            break
        number, index = holder
        try:
            members = outline.members(steps_of(number))
        except CorruptShardError:
            break
        paths = [outline.find_places(member).get(index) for member in members]
        path = next((known for known in paths if known is not None), None)
        below = (f".{path}" if path else "") + below
    return f"…{below}"
