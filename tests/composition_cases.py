"""Ensembles in ensembles, as people put them together."""

import lightgbm
import numpy as np
import scipy.sparse
import xgboost
from estimators import LABELS, TARGET, TWO_TARGETS, X
from imblearn.ensemble import BalancedRandomForestClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

SEED = {"random_state": 0}
WITH_GAPS = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
WEIGHTS = np.random.default_rng(1).random(len(X))


def forest(**arguments):
    return RandomForestClassifier(10, **SEED, **arguments)


def _searched():
    pipeline = make_pipeline(StandardScaler(), forest())
    return GridSearchCV(pipeline, {"randomforestclassifier__max_depth": [2, 4]}, cv=2)


def _boosters():
    return VotingClassifier(
        [
            ("xgboost", xgboost.XGBClassifier(n_estimators=60, n_jobs=1)),
            ("lightgbm", lightgbm.LGBMClassifier(n_estimators=60, n_jobs=1, verbose=-1)),
            ("forest", forest()),
        ],
        voting="soft",
    )


CASES = {
    "search of a pipeline of a forest": lambda: _searched().fit(X, LABELS),
    "voting over boosters": lambda: _boosters().fit(X, LABELS),
    "balanced forest": lambda: BalancedRandomForestClassifier(
        8, sampling_strategy="all", replacement=True, bootstrap=False, **SEED
    ).fit(X, LABELS),
    "best-first trees": lambda: forest(max_leaf_nodes=7).fit(X, LABELS),
    "missing values": lambda: forest().fit(WITH_GAPS, LABELS),
    "several outputs": lambda: ExtraTreesRegressor(8, **SEED).fit(X, TWO_TARGETS),
    "sample weights": lambda: forest(criterion="entropy").fit(X, LABELS, WEIGHTS),
    "sparse input": lambda: forest().fit(scipy.sparse.csr_matrix(X), LABELS),
    "class weights": lambda: forest(class_weight="balanced_subsample").fit(X, LABELS),
    "string classes": lambda: forest().fit(X, np.array(["no", "maybe", "yes"])[LABELS]),
    "object classes": lambda: forest().fit(X, np.array(["no", "maybe", "yes"], object)[LABELS]),
    "absolute error": lambda: RandomForestRegressor(6, criterion="absolute_error", **SEED).fit(
        X, TARGET
    ),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=8, **SEED).fit(X, LABELS),
    "boosting with a first estimator": lambda: GradientBoostingRegressor(
        n_estimators=5, init=RandomForestRegressor(3, **SEED), **SEED
    ).fit(X, TARGET),
    "histogram boosting": lambda: HistGradientBoostingClassifier(
        max_iter=6, categorical_features=[0], **SEED
    ).fit(np.column_stack([LABELS, X]), LABELS),
    "isolation forest": lambda: IsolationForest(n_estimators=12, **SEED).fit(X),
    "AdaBoost": lambda: AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), **SEED).fit(
        X, LABELS
    ),
    "bagging of neighbours": lambda: BaggingClassifier(
        KNeighborsClassifier(), n_estimators=4, **SEED
    ).fit(X, LABELS),
    "stacking": lambda: StackingClassifier(
        [("a", forest()), ("b", HistGradientBoostingClassifier(max_iter=3))], cv=2
    ).fit(X, LABELS),
    "calibration": lambda: CalibratedClassifierCV(forest(), cv=2).fit(X, LABELS),
    "one against the rest": lambda: OneVsRestClassifier(forest()).fit(X, LABELS),
    "chain": lambda: ClassifierChain(forest(), random_state=0).fit(
        X, np.column_stack([LABELS > 0, LABELS > 1]).astype(int)
    ),
    "one forest for each target": lambda: MultiOutputRegressor(
        RandomForestRegressor(4, **SEED)
    ).fit(X, TWO_TARGETS),
    "columns": lambda: make_pipeline(
        ColumnTransformer([("scale", StandardScaler(), [0, 1])], remainder="passthrough"),
        SelectFromModel(forest()),
        forest(),
    ).fit(X, LABELS),
    "transformed target": lambda: TransformedTargetRegressor(
        RandomForestRegressor(4, **SEED), transformer=StandardScaler()
    ).fit(X, TARGET),
    "one tree": lambda: DecisionTreeRegressor(**SEED).fit(X, TARGET),
}
