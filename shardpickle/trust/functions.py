"""Functions, partials and methods as values: which, and with which arguments."""

import functools
import inspect
import re
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from shardpickle import lazy
from shardpickle.trust import grammar
from shardpickle.trust.rules import (
    DATA,
    Args,
    Maker,
    Trusts,
    allow_calls,
    is_data,
    list_names,
    make_empty,
    need,
    refused,
    set_state,
)

FACTORIES = (*(int, float, str, bool, list, dict, OrderedDict, set, tuple, Counter, deque, None),)


def allow_partial(target: Any, trusts: Trusts) -> Maker:
    """Allow a partial of a vetted or trusted function, with checked arguments."""

    def check(args: Args) -> bool:
        if len(args) != 1:
            return False
        return trusts(args[0]) or is_function(args[0]) or _is_container(args[0])

    def build(instance: Any, state: Any) -> None:
        need(type(state) is tuple and len(state) == 4, "a partial's state")
        function, args, keywords, attributes = state
        need(type(args) is tuple and type(keywords) is dict, "a partial's state")
        need(all(type(key) is str for key in keywords), "keywords of a partial")
        need(attributes in (None, {}), "a partial with attributes")
        if not (trusts(function) or is_own_method(function, trusts)):
            reason = find_partial_problem(function, args, keywords)
            if reason is not None:
                shown = f"functools.partial of {grammar.show_name(function)}"
                raise refused(f"{shown} with {reason}", *list_names(function))
        instance.__setstate__(state)

    return Maker(call=allow_calls(check)(target).call, build=build)


def allow_vectorize(target: Any, trusts: Trusts) -> Maker:
    """Allow `numpy.vectorize` of a vetted or trusted function."""

    def build(instance: Any, state: Any) -> None:
        need(type(state) is dict, "a state of vectorize")
        function = state.get("pyfunc")
        known = trusts(function) or is_function(function) or type(function) is functools.partial
        need(known, "vectorize of something that is not an allowed function")
        rest = [value for name, value in state.items() if name not in ("pyfunc", "excluded")]
        plain = all(_is_plain(value) or type(value) in (list, tuple) for value in rest)
        need(plain, "vectorize with other attributes")
        set_state(instance, state)

    def new(args: Args, kwargs: Mapping[str, Any]) -> Any:
        return make_empty(target, args, kwargs)

    return Maker(new=new, build=build, named=True)


FUNCTIONS = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.ufunc, type(np.clip)),
)


def _is_container(value: Any) -> bool:
    """Whether a value is a class of containers or numbers, as `defaultdict` takes them."""
    if value is None:
        return False
    return value is defaultdict or any(value is factory for factory in FACTORIES)


def is_function(value: Any) -> bool:
    """Whether a vetted value is a function or a method, not a class."""
    return isinstance(value, FUNCTIONS)


def find_partial_problem(function: Any, args: Args, keywords: Mapping[str, Any]) -> str | None:
    """Return why a partial may not give a vetted function these arguments; None if it may.

    Arguments must not write to foreign memory (``out=``), nor change a result in a way that
    compiled code relies on. So scikit-learn's functions take numbers and strings, NumPy's plain
    data.
    """
    if _is_container(function):
        values = (*args, *keywords.values())
        plain = all(_is_container(value) or _is_plain(value) for value in values)
        return None if plain else "arguments that are not plain data"
    if not is_function(function):
        return "something that is not a function"
    odd = grammar.find_odd_argument(keywords)
    if odd is not None:
        return odd
    module = str(getattr(function, "__module__", ""))
    if module.startswith("sklearn.") and not module.startswith(_TAKES_DATA):
        data = not args and all(map(_is_scalar, keywords.values()))
        return None if data else "arguments that are not numbers or strings"
    data = all(map(_is_plain, args)) and all(map(_is_plain, keywords.values()))
    return None if data else "arguments that are not plain data"


_TAKES_DATA = ("sklearn.utils.validation", "sklearn.preprocessing", "sklearn.model_selection")


def _is_scalar(value: Any) -> bool:
    return isinstance(value, DATA) and is_data(value)


def _is_plain(value: Any, depth: int = 0) -> bool:
    if type(value) in (list, tuple, set, frozenset) and depth < 8:
        return all(_is_plain(item, depth + 1) for item in value)
    if type(value) is dict and depth < 8:
        return all(_is_plain(item, depth + 1) for pair in value.items() for item in pair)
    if isinstance(value, np.dtype):
        return not value.hasobject
    if isinstance(value, type):
        return value in (int, float, bool, str, complex) or (
            issubclass(value, np.generic) and value is not np.object_
        )
    return is_data(value) or isinstance(value, (slice, np.random.RandomState, np.random.Generator))


def is_own_method(function: Any, trusts: Trusts) -> bool:
    """Whether a method belongs to an object of a class that the caller trusts."""
    return isinstance(function, types.MethodType) and trusts(type(function.__self__))


_METHODS_OF: dict[Any, frozenset[str]] = {
    str: frozenset(
        {"casefold", "capitalize", "lower", "split", "splitlines", "strip", "title", "upper"}
    ),
    re.Pattern: frozenset({"findall", "finditer", "fullmatch", "match", "search", "split", "sub"}),
}

_OF_ESTIMATORS = frozenset(
    {"decision_function", "inverse_transform", "predict", "predict_log_proba", "predict_proba"}
    | {"score_samples", "transform", "_raw_predict"}
)


def allow_method(target: Any, trusts: Trusts, of_classes: Mapping[tuple[str, str], Any]) -> Maker:
    """Allow methods as values: of strings, patterns, estimators, and what the caller trusts.

    The method is looked up in the class, so no code of an unfinished object runs. `of_classes` are
    the class methods that a skeleton may call, by class and name. They are replaced by functions
    of ours, which have makers.
    """

    def call(*args: Any) -> Any:
        need(len(args) == 2 and type(args[1]) is str, "getattr with other arguments")
        owner, name = args
        owner = lazy.real(owner)
        shown = f"the method {name[:40]} of {type(owner).__qualname__}"
        own = trusts(owner) or trusts(type(owner))
        need(own or not name.startswith("__"), shown)
        if isinstance(owner, type) and (owner.__name__, name) in of_classes and not own:
            return of_classes[owner.__name__, name]
        if own or (owner is str and name in _METHODS_OF[str]):
            return getattr(owner, name)
        if type(owner) is re.Pattern:
            need(name in _METHODS_OF[re.Pattern], shown)
            return getattr(owner, name)
        if not (isinstance(owner, BaseEstimator) and name in _OF_ESTIMATORS):
            raise refused(shown, *list_names(type(owner)))
        function = inspect.getattr_static(type(owner), name, None)
        function = getattr(function, "fn", function)  # of `available_if`
        if not isinstance(function, types.FunctionType):
            raise refused(shown, *list_names(type(owner)))
        return types.MethodType(function, owner)

    return Maker(call=call)
