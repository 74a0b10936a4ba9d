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
    calls,
    empty,
    is_data,
    name_of,
    need,
    set_state,
)

FACTORIES = (*(int, float, str, bool, list, dict, OrderedDict, set, tuple, Counter, deque, None),)


def partial(target: Any, trusts: Trusts) -> Maker:
    """A function with some of its arguments."""

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
            reason = partial_problem(function, args, keywords)
            shown = f"functools.partial of {grammar.name_shown(function)}"
            need(reason is None, f"{shown} with {reason}", *name_of(function))
        instance.__setstate__(state)

    return Maker(call=calls(check)(target).call, build=build)


def vectorize(target: Any, trusts: Trusts) -> Maker:
    """NumPy's loop over a function of Python's."""

    def build(instance: Any, state: Any) -> None:
        need(type(state) is dict, "a state of vectorize")
        function = state.get("pyfunc")
        known = trusts(function) or is_function(function) or type(function) is functools.partial
        need(known, "vectorize of something that is no function")
        rest = [value for name, value in state.items() if name not in ("pyfunc", "excluded")]
        plain = all(_is_plain(value) or type(value) in (list, tuple) for value in rest)
        need(plain, "vectorize with other attributes")
        set_state(instance, state)

    def new(args: Args, kwargs: Mapping[str, Any]) -> Any:
        return empty(target, args, kwargs)

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


def partial_problem(function: Any, args: Args, keywords: Mapping[str, Any]) -> str | None:
    """Why a vetted function may not be given these arguments; None if it may.

    They must not reach memory that is not theirs (``out=``), nor change what the function gives in
    a way that compiled code would trust: scikit-learn's take numbers and words, NumPy's plain data.
    """
    if _is_container(function):
        values = (*args, *keywords.values())
        plain = all(_is_container(value) or _is_plain(value) for value in values)
        return None if plain else "arguments that are no plain data"
    if not is_function(function):
        return "something that is no function"
    odd = grammar.odd_argument(keywords)
    if odd is not None:
        return odd
    module = str(getattr(function, "__module__", ""))
    if module.startswith("sklearn.") and not module.startswith(_TAKES_DATA):
        data = not args and all(map(_is_scalar, keywords.values()))
        return None if data else "arguments that are no numbers or words"
    data = all(map(_is_plain, args)) and all(map(_is_plain, keywords.values()))
    return None if data else "arguments that are no plain data"


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


def method(target: Any, trusts: Trusts, of_classes: Mapping[tuple[str, str], Any]) -> Maker:
    """A method as a value: of text, of a pattern, of an estimator, of what the caller trusts.

    It is looked up in the class: an object that is not finished is not asked. `of_classes` are the
    class methods that a skeleton may call, by their class and name; what is given is a function of
    ours, which has a maker.
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
        need(
            isinstance(owner, BaseEstimator) and name in _OF_ESTIMATORS,
            shown,
            *name_of(type(owner)),
        )
        function = inspect.getattr_static(type(owner), name, None)
        function = getattr(function, "fn", function)  # of `available_if`
        need(isinstance(function, types.FunctionType), shown, *name_of(type(owner)))
        return types.MethodType(function, owner)

    return Maker(call=call)
