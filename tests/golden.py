"""Directories that earlier releases wrote, kept for ever: what is in format 1 stays readable.

    python tests/golden.py write       # once for a release, into tests/golden/; never overwrites

Each folder is named by its writer. Beside every model stand the rows it was asked about and what
it answered; `digests.json` pins the files. `test_golden.py` fails if one is missing or changed.
"""

import json
import sys
import warnings
from pathlib import Path

import estimators
import numpy as np
import sklearn

import shardpickle

GOLDEN = Path(__file__).parent / "golden"
FAMILIES = (
    *("AdaBoostRegressor", "BaggingRegressor", "BayesianRidge", "Birch", "BisectingKMeans"),
    *("CalibratedClassifierCV", "ColumnTransformer", "CountVectorizer", "DecisionTreeClassifier"),
    *("DictVectorizer", "DummyClassifier", "ElasticNet", "ExtraTreesRegressor", "FeatureUnion"),
    *("GaussianMixture", "GaussianNB", "GaussianProcessRegressor", "GradientBoostingRegressor"),
    *("GridSearchCV", "HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
    *("IsolationForest", "IsotonicRegression", "KBinsDiscretizer", "KMeans", "KNNImputer"),
    *("KNeighborsClassifier", "KernelDensity", "LinearDiscriminantAnalysis", "LinearSVC"),
    *("MultinomialNB", "MLPRegressor", "MinMaxScaler", "NuSVR", "OneClassSVM"),
    *("OneHotEncoder", "OneVsRestClassifier", "OrdinalEncoder", "PCA", "Pipeline", "PLSRegression"),
    *("PolynomialFeatures", "QuantileTransformer", "RANSACRegressor", "RandomForestClassifier"),
    *("RandomForestRegressor", "RandomTreesEmbedding", "Ridge", "SGDRegressor", "SVC"),
    *("SelectKBest", "SimpleImputer", "SparseRandomProjection", "StackingRegressor"),
    *("StandardScaler", "TfidfVectorizer", "TruncatedSVD", "VotingRegressor"),
)
ROWS = 8


def rows(features):
    return features[:ROWS]


def write():
    release = sklearn.__version__.replace(".", "")
    python = f"{sys.version_info.major}{sys.version_info.minor}"
    folder = GOLDEN / f"v1-shardpickle{shardpickle.__version__}-py{python}-sk{release}"
    folder.mkdir(parents=True)
    digests = {}
    known = dict(estimators.everything())
    for name in FAMILIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, features = estimators.fitted(name, known[name])
        digests[name] = shardpickle.dump(model, folder / name, require_safe=True).digest
        asked = rows(features)
        (folder / f"{name}.json").write_text(json.dumps(np.asarray(asked).tolist()))
        found = estimators.predictions(model, asked)
        answers = {key: each for key, each in found.items() if not isinstance(each, type)}
        np.savez_compressed(folder / f"{name}.npz", **answers)
    (folder / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    {"write": write}[sys.argv[1]]()
