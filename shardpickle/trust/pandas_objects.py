"""pandas' objects as calls of its public constructors, written and read. Imports no pandas itself.

pandas pickles its internals (blocks, Arrow buffers, Cython states), which compiled code does not
check. Its public constructors check their arguments. So an index, a series or a frame is written as
such a call, with plain arrays, and read only as one, under the names of pandas 2 and of pandas 3.
Objects without such a form (sparse and Arrow arrays, subclasses, objects with `attrs`) keep pandas'
own pickle, and need trust.
"""

import inspect
import sys
from collections.abc import Callable
from datetime import date, timedelta, tzinfo
from typing import Any

import numpy as np

from shardpickle.trust.rules import Args, Maker, Name, allow_calls, need

Reduced = tuple[Any, ...]


def reduce(obj: Any) -> Reduced | None:
    """Return how pickle writes an object of pandas; None for pandas' own way."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not type(obj).__module__.startswith("pandas"):
        return None
    kind = type(obj)
    write = _WRITERS.get(kind.__name__)
    if write is None or _find_public(pandas, kind.__name__) is not kind:
        return None
    call: Reduced | None = write(pandas, obj)
    return call


def _find_public(pandas: Any, name: str) -> Any:
    return getattr(pandas, name, None) or getattr(pandas.arrays, name, None)


def _write_index(pandas: Any, index: Any) -> Reduced | None:
    freq = getattr(index, "freq", None) if type(index).__name__ in _WITH_FREQ else None
    if freq is not None and len(index):
        if type(index) is pandas.TimedeltaIndex and _has_unit(pandas):
            steps = (index[0], None, len(index), freq, index.name)
            return (pandas.timedelta_range, steps) if index.unit == "ns" else None
        if index.name is None:
            return type(index), (index.array, freq)
        plain = type(index)(index.array, freq)
        return pandas.Index, (plain, None, False, index.name, False)
    if isinstance(index.dtype, pandas.api.extensions.ExtensionDtype):
        return pandas.Index, (index.array, None, False, index.name, False)
    if type(index) is not pandas.Index:
        return pandas.Index, (index.array, None, False, index.name, False)
    return pandas.Index, (index.to_numpy(), index.dtype, False, index.name, False)


def _write_range_index(pandas: Any, index: Any) -> Reduced:
    return pandas.RangeIndex, (index.start, index.stop, index.step, None, False, index.name)


def _write_multi_index(pandas: Any, index: Any) -> Reduced:
    codes = [np.asarray(array) for array in index.codes]
    return pandas.MultiIndex, (list(index.levels), codes, index.sortorder, list(index.names))


def _write_series(pandas: Any, series: Any) -> Reduced | None:
    if series.attrs or not series.flags.allows_duplicate_labels:
        return None
    plain = not isinstance(series.dtype, pandas.api.extensions.ExtensionDtype)
    values = series.to_numpy() if plain else series.array
    dtype = series.dtype if plain else None
    return pandas.Series, (values, series.index, dtype, series.name)


def _write_frame(pandas: Any, frame: Any) -> Reduced | None:
    odd = frame.attrs or not frame.flags.allows_duplicate_labels or not frame.columns.is_unique
    if odd or not all(map(is_label, frame.columns)):
        return None
    columns = {label: frame.iloc[:, at] for at, label in enumerate(frame.columns)}
    return pandas.DataFrame, (columns, frame.index, frame.columns)


def _write_datetime_array(pandas: Any, array: Any) -> Reduced | None:
    if array.ndim != 1:
        return None
    if array.tz is None:
        values = array.to_numpy()
        return pandas.array, (values, values.dtype)
    return pandas.array, (array.view("i8"), array.dtype)


def _write_timedelta_array(pandas: Any, array: Any) -> Reduced | None:
    if array.ndim != 1:
        return None
    values = array.to_numpy()
    return pandas.array, (values, values.dtype)


def _write_period_array(pandas: Any, array: Any) -> Reduced | None:
    return (type(array), (array.view("i8"), array.dtype)) if array.ndim == 1 else None


def _write_interval_array(pandas: Any, array: Any) -> Reduced:
    return type(array).from_arrays, (array.left, array.right, array.closed)


def _write_categorical(pandas: Any, array: Any) -> Reduced | None:
    if array.ndim != 1:
        return None
    return type(array).from_codes, (array.codes, None, None, array.dtype)


def _write_text_array(pandas: Any, array: Any) -> Reduced:
    return pandas.array, (array.to_numpy(object), array.dtype)


def _write_masked_array(pandas: Any, array: Any) -> Reduced | None:
    return (type(array), (array._data, array._mask, False)) if array.ndim == 1 else None


def _write_categorical_dtype(pandas: Any, dtype: Any) -> Reduced:
    return type(dtype), (dtype.categories, dtype.ordered)


def _write_zoned_dtype(pandas: Any, dtype: Any) -> Reduced:
    return type(dtype), (dtype.unit, dtype.tz)


def _write_text_dtype(pandas: Any, dtype: Any) -> Reduced:
    own = getattr(dtype, "na_value", pandas.NA)
    # pandas 2.2 and older know no other missing value.
    return type(dtype), (dtype.storage,) if own is pandas.NA else (dtype.storage, own)


def _write_plain_dtype(pandas: Any, dtype: Any) -> Reduced:
    return type(dtype), ()


def _has_unit(pandas: Any) -> bool:
    """Whether `TimedeltaIndex` takes a unit before its frequency, as in pandas 2."""
    return "unit" in inspect.signature(pandas.TimedeltaIndex.__new__).parameters


_WITH_FREQ = ("DatetimeIndex", "TimedeltaIndex")
_NUMBERS = tuple(f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64))
_PLAIN_DTYPES = (*(f"{kind}Dtype" for kind in (*_NUMBERS, "Float32", "Float64", "Boolean")),)
_WRITERS: dict[str, Callable[[Any, Any], Reduced | None]] = {
    "Index": _write_index,
    "DatetimeIndex": _write_index,
    "TimedeltaIndex": _write_index,
    "PeriodIndex": _write_index,
    "IntervalIndex": _write_index,
    "CategoricalIndex": _write_index,
    "RangeIndex": _write_range_index,
    "MultiIndex": _write_multi_index,
    "Series": _write_series,
    "DataFrame": _write_frame,
    "DatetimeArray": _write_datetime_array,
    "TimedeltaArray": _write_timedelta_array,
    "PeriodArray": _write_period_array,
    "IntervalArray": _write_interval_array,
    "Categorical": _write_categorical,
    "ArrowStringArray": _write_text_array,
    "StringArray": _write_text_array,
    "IntegerArray": _write_masked_array,
    "FloatingArray": _write_masked_array,
    "BooleanArray": _write_masked_array,
    "CategoricalDtype": _write_categorical_dtype,
    "DatetimeTZDtype": _write_zoned_dtype,
    "StringDtype": _write_text_dtype,
    **dict.fromkeys(_PLAIN_DTYPES, _write_plain_dtype),
}


# Reading: the same calls, and no others ---------------------------------------------------------


def is_label(value: Any, depth: int = 0) -> bool:
    """Whether a value may name a row, a column or an index."""
    if type(value) is tuple:
        return depth < 8 and all(is_label(label, depth + 1) for label in value)
    return isinstance(value, _LABELS) or is_scalar(value)


_LABELS = (type(None), bool, int, float, complex, str, bytes, np.generic, date, timedelta)


def is_scalar(value: Any) -> bool:
    """Whether a value is one of pandas' own scalars."""
    return type(value).__name__ in _SCALARS and type(value).__module__.startswith("pandas")


_SCALARS = {"Timestamp", "Timedelta", "Period", "Interval", "NaTType", "NAType"}


def _are_labels(values: Any) -> bool:
    """Whether the labels of an index can be hashed safely: hashing recurses in C."""
    if type(values) is not np.ndarray or values.dtype.kind != "O":
        return True
    return all(is_label(label) for label in values if type(label) in (tuple, frozenset))


def _is_values(value: Any) -> bool:
    """Whether a value is a NumPy or pandas array of one dimension."""
    return (type(value) is np.ndarray and value.ndim == 1) or _is(value, _ARRAYS)


def _is(value: Any, names: Any) -> bool:
    kind = type(value)
    return kind.__module__.startswith("pandas") and kind.__name__ in names


_ARRAYS = frozenset(
    {"DatetimeArray", "TimedeltaArray", "PeriodArray", "IntervalArray", "Categorical"}
    | {"ArrowStringArray", "ArrowStringArrayNumpySemantics", "StringArray", "IntegerArray"}
    | {"StringArrayNumpySemantics", "FloatingArray", "BooleanArray"}
)
_INDEXES = frozenset(
    {"Index", "DatetimeIndex", "TimedeltaIndex", "PeriodIndex", "IntervalIndex", "RangeIndex"}
    | {"CategoricalIndex", "MultiIndex"}
)
_DTYPES = frozenset(
    {"CategoricalDtype", "DatetimeTZDtype", "PeriodDtype", "IntervalDtype", "StringDtype"}
    | {*_PLAIN_DTYPES}
)


def _is_dtype(value: Any) -> bool:
    return isinstance(value, np.dtype) or _is(value, _DTYPES)


def _is_zone(value: Any) -> bool:
    top = type(value).__module__.partition(".")[0]
    return value is None or (
        isinstance(value, tzinfo) and top in ("datetime", "zoneinfo", "pytz", "dateutil")
    )


def _are_index_args(args: Args) -> bool:
    if len(args) != 5:
        return False
    values, dtype, copies, name, tuples = args
    plain = (_is_values(values) and _are_labels(values)) or _is(values, _INDEXES)
    known = dtype is None or isinstance(dtype, np.dtype)
    return plain and known and copies is False and tuples is False and is_label(name)


def _are_freq_args(args: Args) -> bool:
    return len(args) == 2 and _is_values(args[0]) and _is_offset(args[1])


def _allow_freq(target: Any) -> Maker:
    return Maker(call=lambda *args: _make_with_freq(target, args))


def _make_with_freq(target: Any, args: Args) -> Any:
    need(_are_freq_args(args), f"{target.__qualname__} with other arguments")
    return target(args[0], freq=args[1])


def _are_steps_args(args: Args) -> bool:
    fits = len(args) == 5 and _is(args[0], {"Timedelta"}) and args[1] is None
    many = fits and type(args[2]) is int and 0 < args[2] < 1 << 40
    return many and _is_offset(args[3]) and is_label(args[4])


def _is_offset(value: Any) -> bool:
    return type(value).__module__.startswith("pandas._libs.tslibs.offsets")


def _are_range_args(args: Args) -> bool:
    numbers = all(type(number) is int and abs(number) < 1 << 62 for number in args[:3])
    return len(args) == 6 and numbers and args[3:5] == (None, False) and is_label(args[5])


def _are_multi_args(args: Args) -> bool:
    if len(args) != 4:
        return False
    levels, codes, order, names = args
    lists = all(type(argument) is list for argument in (levels, codes, names))
    return (
        lists
        and len(levels) == len(codes) == len(names)
        and all(_is(level, _INDEXES) for level in levels)
        and all(type(array) is np.ndarray and array.dtype.kind == "i" for array in codes)
        and (order is None or type(order) is int)
        and all(map(is_label, names))
    )


def _are_series_args(args: Args) -> bool:
    if len(args) != 4:
        return False
    values, index, dtype, name = args
    fits = _is_values(values) and _is(index, _INDEXES) and len(values) == len(index)
    return fits and (dtype is None or isinstance(dtype, np.dtype)) and is_label(name)


def _are_frame_args(args: Args) -> bool:
    if len(args) != 3 or type(args[0]) is not dict:
        return False
    columns, index, labels = args
    fits = _is(index, _INDEXES) and _is(labels, _INDEXES) and len(columns) == len(labels)
    return (
        fits
        and all(map(is_label, columns))
        and all(
            _is(series, {"Series"}) and len(series) == len(index) for series in columns.values()
        )
    )


def _are_array_args(args: Args) -> bool:
    return (
        len(args) == 2
        and type(args[0]) is np.ndarray
        and args[0].ndim == 1
        and _is_dtype(args[1])
        and (args[0].dtype.kind != "O" or _is(args[1], {"StringDtype"}))
    )


def _are_period_args(args: Args) -> bool:
    plain = type(args[0]) is np.ndarray and args[0].dtype == np.int64 and args[0].ndim == 1
    return len(args) == 2 and plain and _is(args[1], {"PeriodDtype"})


def _are_masked_args(args: Args) -> bool:
    fits = len(args) == 3 and args[2] is False
    arrays = fits and all(type(array) is np.ndarray and array.ndim == 1 for array in args[:2])
    return arrays and args[0].shape == args[1].shape and args[1].dtype == np.bool_


def _are_categorical_dtype_args(args: Args) -> bool:
    known = len(args) == 2 and (args[0] is None or _is(args[0], _INDEXES))
    return known and args[1] in (None, True, False)


def _are_zoned_args(args: Args) -> bool:
    return len(args) == 2 and args[0] in ("s", "ms", "us", "ns") and _is_zone(args[1])


def _are_text_dtype_args(args: Args) -> bool:
    fits = 1 <= len(args) <= 2 and args[0] in (None, "python", "pyarrow", "pyarrow_numpy")
    return fits and all(_is(missing, {"NAType"}) or missing != missing for missing in args[1:])


def _are_period_dtype_args(args: Args) -> bool:
    word = len(args) == 1 and type(args[0]) is str and len(args[0]) < 80
    return word or (len(args) == 1 and _is_offset(args[0]))


def _are_interval_dtype_args(args: Args) -> bool:
    fits = len(args) in (1, 2) and (args[0] is None or _is_dtype(args[0]))
    return fits and all(side in (None, "left", "right", "both", "neither") for side in args[1:])


def _are_timestamp_args(args: Args) -> bool:
    fits = 3 <= len(args) <= 4 and type(args[0]) is int and abs(args[0]) < 1 << 63
    has_unit = all(type(unit) is int and unit in _UNITS for unit in args[3:])
    return fits and (args[1] is None or _is_offset(args[1])) and _is_zone(args[2]) and has_unit


_UNITS = range(7, 11)  # NumPy's numbers for seconds to nanoseconds


def _are_timedelta_args(args: Args) -> bool:
    numbers = 1 <= len(args) <= 2 and all(type(number) is int for number in args)
    return numbers and abs(args[0]) < 1 << 63 and all(unit in _UNITS for unit in args[1:])


def _has_no_args(args: Args) -> bool:
    return not args


def _are_period_scalar_args(args: Args) -> bool:
    return len(args) <= 3 and all(
        value is None or _is_offset(value) or (type(value) is int and abs(value) < 1 << 62)
        for value in args
    )


def _are_interval_scalar_args(args: Args) -> bool:
    ends = len(args) == 3 and all(
        type(end) in (int, float) or isinstance(end, np.number) or is_scalar(end)
        for end in args[:2]
    )
    return ends and args[2] in ("left", "right", "both", "neither")


def _are_offset_args(args: Args) -> bool:
    return len(args) <= 6 and all(
        value is None or type(value) in (bool, int) or (type(value) is str and len(value) < 40)
        for value in args
    )


def _are_intervals_args(args: Args) -> bool:
    sides = len(args) == 3 and all(_is(side, _INDEXES) for side in args[:2])
    return sides and args[2] in ("left", "right", "both", "neither")


def _are_codes_args(args: Args) -> bool:
    codes = len(args) == 4 and type(args[0]) is np.ndarray and args[0].dtype.kind == "i"
    return codes and args[1:3] == (None, None) and _is(args[3], {"CategoricalDtype"})


def from_codes(*args: Any) -> Any:
    """Call ``Categorical.from_codes``, under a name that stays the same."""
    return sys.modules["pandas"].Categorical.from_codes(*args)


def from_arrays(*args: Any) -> Any:
    """Call ``IntervalArray.from_arrays``, under a name that stays the same."""
    return sys.modules["pandas"].arrays.IntervalArray.from_arrays(*args)


CLASS_METHODS: dict[tuple[str, str], Any] = {
    ("Categorical", "from_codes"): from_codes,
    ("IntervalArray", "from_arrays"): from_arrays,
}
OF_CLASS_METHODS: list[tuple[Any, Maker]] = [
    (from_codes, allow_calls(_are_codes_args)(from_codes)),
    (from_arrays, allow_calls(_are_intervals_args)(from_arrays)),
]
_ARRAYS_HERE = "pandas.core.arrays"
_CHECKS: dict[str, tuple[str, Callable[[Args], bool]]] = {  # where pandas 2 has each, its arguments
    "Index": ("pandas.core.indexes.base", _are_index_args),
    "timedelta_range": ("pandas.core.indexes.timedeltas", _are_steps_args),
    "RangeIndex": ("pandas.core.indexes.range", _are_range_args),
    "MultiIndex": ("pandas.core.indexes.multi", _are_multi_args),
    "Series": ("pandas.core.series", _are_series_args),
    "DataFrame": ("pandas.core.frame", _are_frame_args),
    "array": ("pandas.core.construction", _are_array_args),
    "PeriodArray": (f"{_ARRAYS_HERE}.period", _are_period_args),
    "IntegerArray": (f"{_ARRAYS_HERE}.integer", _are_masked_args),
    "FloatingArray": (f"{_ARRAYS_HERE}.floating", _are_masked_args),
    "BooleanArray": (f"{_ARRAYS_HERE}.boolean", _are_masked_args),
    "CategoricalDtype": ("pandas.core.dtypes.dtypes", _are_categorical_dtype_args),
    "DatetimeTZDtype": ("pandas.core.dtypes.dtypes", _are_zoned_args),
    "PeriodDtype": ("pandas.core.dtypes.dtypes", _are_period_dtype_args),
    "IntervalDtype": ("pandas.core.dtypes.dtypes", _are_interval_dtype_args),
    "StringDtype": (f"{_ARRAYS_HERE}.string_", _are_text_dtype_args),
    "BooleanDtype": (f"{_ARRAYS_HERE}.boolean", _has_no_args),
    **{f"{kind}Dtype": (f"{_ARRAYS_HERE}.integer", _has_no_args) for kind in _NUMBERS},
    **{f"Float{bits}Dtype": (f"{_ARRAYS_HERE}.floating", _has_no_args) for bits in (32, 64)},
}
_OFFSETS = (
    *("BDay", "BusinessDay", "BMonthBegin", "BMonthEnd", "BusinessMonthBegin", "BusinessMonthEnd"),
    *("Day", "Hour", "Minute", "Second", "Milli", "Micro", "Nano", "MonthBegin", "MonthEnd"),
    *("QuarterBegin", "QuarterEnd", "BQuarterBegin", "BQuarterEnd", "YearBegin", "YearEnd"),
    *("BYearBegin", "BYearEnd", "SemiMonthBegin", "SemiMonthEnd", "Week"),
)
_TIMES = "pandas._libs.tslibs"
CONSTRUCTORS: dict[Name, Callable[[Any], Maker]] = {
    **{
        (module, name): allow_calls(check)
        for name, (before, check) in _CHECKS.items()
        for module in (before, "pandas.arrays" if name.endswith("Array") else "pandas")
    },
    ("pandas", "DatetimeIndex"): _allow_freq,
    ("pandas", "TimedeltaIndex"): _allow_freq,
    ("pandas.core.indexes.datetimes", "DatetimeIndex"): _allow_freq,
    ("pandas.core.indexes.timedeltas", "TimedeltaIndex"): _allow_freq,
}
# pandas itself writes these as calls with numbers and strings.
SCALARS: dict[Name, Callable[[Any], Maker]] = {
    ("pandas", "Period"): allow_calls(_are_period_scalar_args),
    ("pandas._libs.tslibs.period", "Period"): allow_calls(_are_period_scalar_args),
    ("pandas", "Interval"): allow_calls(_are_interval_scalar_args),
    ("pandas._libs.interval", "Interval"): allow_calls(_are_interval_scalar_args),
    **{(f"{_TIMES}.offsets", name): allow_calls(_are_offset_args) for name in _OFFSETS},
    (f"{_TIMES}.timestamps", "_unpickle_timestamp"): allow_calls(_are_timestamp_args),
    (f"{_TIMES}.timedeltas", "_timedelta_unpickle"): allow_calls(_are_timedelta_args),
    (f"{_TIMES}.nattype", "_nat_unpickle"): allow_calls(lambda args: args == (None,)),
    (f"{_TIMES}.nattype", "__nat_unpickle"): allow_calls(lambda args: args == (None,)),
    ("pytz", "_UTC"): allow_calls(_has_no_args),
    ("pytz", "_p"): allow_calls(
        lambda args: len(args) <= 4 and all(type(argument) in (str, int) for argument in args)
    ),
}
# Values: never called. These classes are named where one of their class methods is.
VALUES: dict[str, tuple[str, ...]] = {
    "pandas": ("NA", "Categorical"),
    "zoneinfo": ("ZoneInfo",),
    "pandas._libs.missing": ("NA",),
    "pandas.arrays": ("IntervalArray",),
    f"{_ARRAYS_HERE}.categorical": ("Categorical",),
    f"{_ARRAYS_HERE}.interval": ("IntervalArray",),
}
