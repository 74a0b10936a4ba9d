"""Column numbers that become sparse matrices: vocabularies, encoders, polynomials."""

import functools
from typing import Any

import numpy as np

from shardpickle.trust.checks.base import (
    Array,
    check_array,
    check_range,
    count_features,
    is_whole,
    need,
    run,
)

# Column numbers that become indices of sparse matrices, which SciPy does not check


def check_vocabulary(model: Any) -> None:
    words = model.__dict__.get("vocabulary_")
    if words is None:
        return
    need(isinstance(words, dict), "vocabulary_ is not a dict")
    if words:
        least, most = run.once(lambda: _find_extremes(words), words)
        need(least >= 0 and most < len(words), "vocabulary_ is out of range")


def _find_extremes(words: dict[Any, Any]) -> tuple[int, int]:
    need(
        all(isinstance(place, (int, np.integer)) for place in words.values()),
        "vocabulary_ holds a value that is not an integer",
    )
    return int(min(words.values())), int(max(words.values()))


def check_feature_hasher(model: Any) -> None:
    many = model.__dict__.get("n_features")
    need(is_whole(many, 1, 1 << 31), "n_features is out of range")


def check_one_hot(model: Any) -> None:
    state = model.__dict__
    categories = state.get("categories_")
    if categories is None:
        return
    need(isinstance(categories, (list, tuple)), "categories_")
    sizes = [len(check_array(values, 1, "categories_", "biufOSU")) for values in categories]
    for values in categories:
        if values.dtype.kind not in "OSU":  # text is found by its hash
            ordered = run.once(functools.partial(_is_sorted, values), values, what="order")
            need(ordered, "categories_ are not in order")
    counts = model._compute_n_features_outs()
    need(list(state.get("_n_features_outs", counts)) == list(counts), "_n_features_outs")
    enabled = state.get("_infrequent_enabled", False)
    rare = state.get("_infrequent_indices", [None] * len(sizes)) if enabled else [None] * len(sizes)
    mappings = state.get("_default_to_infrequent_mappings", [None] * len(sizes))
    need(len(rare) == len(mappings) == len(sizes), "_infrequent_indices")
    for size, indices, mapping in zip(sizes, rare, mappings, strict=True):
        need((indices is None) == (mapping is None), "_default_to_infrequent_mappings")
        if mapping is not None:
            check_range(
                check_array(indices, 1, "_infrequent_indices", "iu"), 0, size, "an infrequent index"
            )
            need(len(check_array(mapping, 1, "a mapping", "iu")) == size, "a mapping")
            check_range(mapping, 0, size - len(indices) + 1, "a mapping")
    grouped = [
        size if indices is None else size - len(indices) + 1
        for size, indices in zip(sizes, rare, strict=True)
    ]
    for name, most in (("_drop_idx_after_grouping", grouped), ("drop_idx_", sizes)):
        dropped = state.get(name)
        if dropped is not None:
            need(isinstance(dropped, np.ndarray) and dropped.shape == (len(sizes),), name)
            for size, index in zip(most, dropped, strict=True):
                need(index is None or is_whole(index, 0, size), name)


def _is_sorted(categories: Array) -> bool:
    known = categories[~np.isnan(categories)] if categories.dtype.kind == "f" else categories
    return bool((known[1:] > known[:-1]).all())


# preprocessing/_csr_polynomial_expansion.pyx counts the columns once and does not check them again


def check_polynomial(model: Any) -> None:
    state = model.__dict__
    if "n_output_features_" not in state:
        return
    interactions, bias = state.get("interaction_only"), state.get("include_bias")
    need(isinstance(interactions, (bool, np.bool_)), "interaction_only is not a bool")
    need(isinstance(bias, (bool, np.bool_)), "include_bias is not a bool")
    low, high = state.get("_min_degree"), state.get("_max_degree")
    need(is_whole(low, 0, 1 << 10) and is_whole(high, low or 0, 1 << 10), "the degree")
    features = count_features(model)
    for name, least in (("n_output_features_", low), ("_n_out_full", 0)):
        terms = model._num_combinations(features, least, high, interactions, bias)
        need(state.get(name) == terms, name)


def check_function_transformer(model: Any) -> None:
    """Refuse functions that assume valid rows: only their own estimators may hold them."""
    for name in ("func", "inverse_func"):
        function = model.__dict__.get(name)
        module = str(getattr(getattr(function, "func", function), "__module__", ""))
        need(not module.startswith(("sklearn.cluster", "sklearn.metrics")), f"{name} of {module}")


def check_multi_label(model: Any) -> None:
    places = model.__dict__.get("_cached_dict")
    if places is not None:
        need(type(places) is dict, "_cached_dict")
        many = len(places)
        need(many == len(model.__dict__.get("classes_", ())), "_cached_dict")
        if run.first("places", places):
            need(all(is_whole(place, 0, many) for place in places.values()), "_cached_dict")
