"""SciPy's distributions, written and read as names. Imports no SciPy itself.

A frozen distribution pickles the source of a function, which unpickling would execute. So one of
SciPy's own is written as a call with its parameters, and the distribution as its name.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from shardpickle.trust.rules import Maker, Name, need, set_state

_HERE = "scipy.stats._distn_infrastructure"
_MODULES = ("scipy.stats._continuous_distns", "scipy.stats._discrete_distns")
_FROZEN = ("rv_continuous_frozen", "rv_discrete_frozen")


def reduce(obj: Any) -> Any:
    """Return how pickle writes one of SciPy's distributions; None for SciPy's own way."""
    module = type(obj).__module__
    if module in _MODULES:
        return _find_public_name(obj)
    if module != _HERE or type(obj).__name__ not in _FROZEN:
        return None
    public = _find_public(obj.dist)
    if public is None or set(vars(obj)) != {"args", "kwds", "dist", "a", "b"}:
        return None
    shapes, loc, scale = public._parse_args(*obj.args, **obj.kwds)
    if not all(map(_is_number, (*shapes, loc, scale, *obj.args, *obj.kwds.values()))):
        return None
    scaled = (scale,) if type(obj).__name__ == "rv_continuous_frozen" else ()
    state = {"args": obj.args, "kwds": obj.kwds}
    return type(obj), (public, *shapes, loc, *scaled), state


def _find_public(dist: Any) -> Any:
    """Return SciPy's own distribution if `dist` is an unchanged copy of it."""
    public: Any = getattr(sys.modules.get(type(dist).__module__), dist.name, None)
    if type(public) is not type(dist) or dist._random_state is not public._random_state:
        return None
    return public if dist._updated_ctor_param() == public._updated_ctor_param() else None


def _find_public_name(dist: Any) -> str | None:
    public: Any = getattr(sys.modules[type(dist).__module__], dist.name, None)
    return str(dist.name) if public is dist else None


def _is_number(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return isinstance(value, (bool, int, float, np.number, np.bool_))


def _allow_frozen(target: Any) -> Maker:
    def call(*args: Any) -> Any:
        known = len(args) >= 1 and type(args[0]).__module__ in _MODULES
        need(known and all(map(_is_number, args[1:])), "a distribution with other parameters")
        return target(*args)

    def build(instance: Any, state: Any) -> None:
        fits = type(state) is dict and set(state) == {"args", "kwds"}
        need(fits and type(state["args"]) is tuple and type(state["kwds"]) is dict, "parameters")
        values = (*state["args"], *state["kwds"].values())
        need(all(map(_is_number, values)), "a distribution with other parameters")
        set_state(instance, state)

    return Maker(call=call, build=build)


# SciPy's own distributions, which are values: never called.
_CONTINUOUS = (
    "alpha anglit arcsine argus beta betaprime bradford burr burr12 cauchy chi chi2 cosine "
    "crystalball dgamma dpareto_lognorm dweibull erlang expon exponnorm exponpow exponweib f "
    "fatiguelife fisk foldcauchy foldnorm gamma gausshyper genexpon genextreme gengamma "
    "genhalflogistic genhyperbolic geninvgauss genlogistic gennorm genpareto gibrat gompertz "
    "gumbel_l gumbel_r halfcauchy halfgennorm halflogistic halfnorm hypsecant invgamma "
    "invgauss invweibull irwinhall jf_skew_t johnsonsb johnsonsu kappa3 kappa4 ksone kstwo "
    "kstwobign landau laplace laplace_asymmetric levy levy_l loggamma logistic loglaplace "
    "lognorm loguniform lomax maxwell mielke moyal nakagami ncf nct ncx2 norm norminvgauss "
    "pareto pearson3 powerlaw powerlognorm powernorm rayleigh rdist recipinvgauss reciprocal "
    "rel_breitwigner rice semicircular skewcauchy skewnorm studentized_range t trapezoid "
    "triang truncexpon truncnorm truncpareto truncweibull_min tukeylambda uniform vonmises "
    "vonmises_line wald weibull_max weibull_min wrapcauchy"
)
_DISCRETE = (
    "_pb_obj bernoulli betabinom betanbinom binom boltzmann dlaplace geom hypergeom logser "
    "nbinom nchypergeom_fisher nchypergeom_wallenius nhypergeom planck poisson poisson_binom "
    "randint skellam yulesimon zipf zipfian"
)
VALUES: dict[str, tuple[str, ...]] = {
    _MODULES[0]: tuple(_CONTINUOUS.split()),
    _MODULES[1]: tuple(_DISCRETE.split()),
}
CONSTRUCTORS: dict[Name, Callable[[Any], Maker]] = {
    (_HERE, name): _allow_frozen for name in _FROZEN
}
