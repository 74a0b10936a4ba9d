"""What stands in the attributes of fitted models. Written by tests/vet.py.

Of each class the attributes that hold more than plain data, and the kinds of what they
hold (`kinds.kind_of`): seen in the models that scikit-learn's own tests fit, and in
the estimators of every supported release. What scikit-learn declares of a parameter is
taken beside this.
"""

ROWS: dict[str, dict[str, str]] = {
    "joblib.Memory": {
        "store_backend": "FileSystemStoreBackend",
    },
    "scipy.BSpline": {
        "_asarray": "function",
    },
    "sklearn.AbsoluteError": {
        "closs": "CyAbsoluteError",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.AdaBoostClassifier": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "estimators_": "estimator",
    },
    "sklearn.AdaBoostRegressor": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "estimators_": "estimator",
    },
    "sklearn.AffinityPropagation": {
        "cluster_centers_": "array sparse",
    },
    "sklearn.AgglomerativeClustering": {
        "connectivity": "array function sparse",
    },
    "sklearn.BaggingClassifier": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "estimators_": "estimator",
        "random_state": "random_state scalar",
    },
    "sklearn.BaggingRegressor": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "estimators_": "estimator",
        "random_state": "random_state scalar",
    },
    "sklearn.BayesianGaussianMixture": {
        "random_state": "random_state scalar",
    },
    "sklearn.BernoulliRBM": {
        "random_state": "random_state scalar",
    },
    "sklearn.Birch": {
        "dummy_leaf_": "_CFNode",
        "n_clusters": "estimator scalar",
        "root_": "_CFNode",
    },
    "sklearn.BisectingKMeans": {
        "_bisecting_tree": "_BisectingTree",
        "_kmeans_single": "function",
        "_random_state": "random_state",
        "init": "function scalar",
        "random_state": "random_state scalar",
    },
    "sklearn.CalibratedClassifierCV": {
        "calibrated_classifiers_": "_CalibratedClassifier",
        "cv": "scalar splitter",
        "estimator": "estimator",
    },
    "sklearn.ClassifierChain": {
        "base_estimator": "estimator",
        "estimator": "estimator",
        "estimators_": "estimator",
    },
    "sklearn.ColumnTransformer": {
        "_remainder": "_RemainderColsList estimator scalar",
        "remainder": "estimator scalar",
        "transformers": "array estimator function scalar table value",
        "transformers_": "array estimator scalar table value",
        "verbose_feature_names_out": "function scalar",
    },
    "sklearn.CountVectorizer": {
        "analyzer": "function scalar",
        "dtype": "type",
        "preprocessor": "function",
        "strip_accents": "function",
        "tokenizer": "function",
    },
    "sklearn.DBSCAN": {
        "components_": "array sparse",
        "metric": "function scalar",
    },
    "sklearn.DecisionTreeClassifier": {
        "tree_": "Tree",
    },
    "sklearn.DecisionTreeRegressor": {
        "random_state": "random_state scalar",
        "tree_": "Tree",
    },
    "sklearn.DictVectorizer": {
        "dtype": "type",
    },
    "sklearn.ElasticNet": {
        "random_state": "random_state scalar",
    },
    "sklearn.ElasticNetCV": {
        "cv": "array scalar splitter",
    },
    "sklearn.ExponentialLoss": {
        "closs": "CyExponentialLoss",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.ExtraTreeClassifier": {
        "tree_": "Tree",
    },
    "sklearn.ExtraTreeRegressor": {
        "random_state": "random_state scalar",
        "tree_": "Tree",
    },
    "sklearn.ExtraTreesClassifier": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "estimators_": "estimator",
        "oob_score": "function scalar",
        "random_state": "random_state scalar",
    },
    "sklearn.ExtraTreesRegressor": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "estimators_": "estimator",
        "oob_score": "function scalar",
        "random_state": "random_state scalar",
    },
    "sklearn.FastICA": {
        "random_state": "random_state scalar",
    },
    "sklearn.FeatureAgglomeration": {
        "connectivity": "array sparse",
        "pooling_func": "function",
    },
    "sklearn.FeatureHasher": {
        "dtype": "type",
    },
    "sklearn.FeatureUnion": {
        "transformer_list": "estimator scalar",
    },
    "sklearn.FixedThresholdClassifier": {
        "estimator": "estimator",
        "estimator_": "estimator",
    },
    "sklearn.FrozenEstimator": {
        "estimator": "estimator",
    },
    "sklearn.FunctionTransformer": {
        "feature_names_out": "function scalar",
        "func": "function",
        "inverse_func": "function",
    },
    "sklearn.GammaRegressor": {
        "_base_loss": "loss",
    },
    "sklearn.GaussianMixture": {
        "random_state": "random_state scalar",
    },
    "sklearn.GaussianProcessClassifier": {
        "base_estimator_": "estimator",
        "kernel": "kernel",
        "optimizer": "function scalar",
    },
    "sklearn.GaussianProcessRegressor": {
        "_rng": "random_state",
        "kernel": "kernel",
        "kernel_": "kernel",
        "optimizer": "function scalar",
    },
    "sklearn.GenericUnivariateSelect": {
        "score_func": "function",
    },
    "sklearn.GradientBoostingClassifier": {
        "_loss": "loss",
        "_rng": "random_state",
        "estimators_": "estimator",
        "init": "estimator scalar",
        "init_": "estimator scalar",
    },
    "sklearn.GradientBoostingRegressor": {
        "_loss": "loss",
        "_rng": "random_state",
        "estimators_": "estimator",
        "init": "estimator scalar",
        "init_": "estimator scalar",
    },
    "sklearn.GraphicalLassoCV": {
        "cv": "scalar splitter",
    },
    "sklearn.GridSearchCV": {
        "_checked_cv_orig": "splitter",
        "best_estimator_": "estimator",
        "best_params_": "array estimator scalar",
        "cv": "array scalar splitter",
        "cv_results_": "array estimator scalar",
        "estimator": "estimator",
        "param_grid": "array estimator scalar value",
        "refit": "function scalar",
        "scorer_": "_PassthroughScorer function scalar scorer",
        "scoring": "function scalar scorer",
    },
    "sklearn.GroupKFold": {
        "_metadata_request": "MetadataRequest",
    },
    "sklearn.HDBSCAN": {
        "_raw_data": "array sparse",
        "metric": "function scalar",
    },
    "sklearn.HalfBinomialLoss": {
        "closs": "CyHalfBinomialLoss",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.HalfGammaLoss": {
        "closs": "CyHalfGammaLoss",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.HalfMultinomialLoss": {
        "closs": "CyHalfMultinomialLoss",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.HalfPoissonLoss": {
        "closs": "CyHalfPoissonLoss",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.HalfSquaredError": {
        "closs": "CyHalfSquaredError",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.HalfTweedieLoss": {
        "closs": "CyHalfTweedieLoss",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.HalfTweedieLossIdentity": {
        "closs": "CyHalfTweedieLossIdentity",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.HalvingGridSearchCV": {
        "_checked_cv_orig": "splitter",
        "best_estimator_": "estimator",
        "best_params_": "estimator scalar",
        "cv": "scalar splitter",
        "cv_results_": "array estimator scalar",
        "estimator": "estimator",
        "param_grid": "estimator scalar value",
        "scorer_": "_PassthroughScorer function scorer",
        "scoring": "function scalar scorer",
    },
    "sklearn.HalvingRandomSearchCV": {
        "_checked_cv_orig": "splitter",
        "best_estimator_": "estimator",
        "cv": "scalar splitter",
        "estimator": "estimator",
        "param_distributions": "distribution scalar value",
        "scorer_": "_PassthroughScorer function scorer",
        "scoring": "function scalar scorer",
    },
    "sklearn.HashingVectorizer": {
        "analyzer": "function scalar",
        "dtype": "type",
        "preprocessor": "function",
        "tokenizer": "function",
    },
    "sklearn.HistGradientBoostingClassifier": {
        "_bin_mapper": "estimator",
        "_feature_subsample_rng": "random_state",
        "_label_encoder": "estimator",
        "_loss": "loss",
        "_predictors": "TreePredictor",
        "_preprocessor": "estimator",
        "_raw_predict": "function",
        "_scorer": "_PassthroughScorer scorer",
        "loss": "loss scalar",
        "random_state": "random_state scalar",
        "scoring": "_PassthroughScorer scalar",
    },
    "sklearn.HistGradientBoostingRegressor": {
        "_bin_mapper": "estimator",
        "_feature_subsample_rng": "random_state",
        "_loss": "loss",
        "_predictors": "TreePredictor",
        "_preprocessor": "estimator",
        "_raw_predict": "function",
        "_scorer": "_PassthroughScorer scorer",
        "loss": "loss scalar",
        "random_state": "random_state scalar",
        "scoring": "_PassthroughScorer scalar",
    },
    "sklearn.HuberLoss": {
        "closs": "CyHuberLoss",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.Interval": {
        "type": "type",
    },
    "sklearn.IsolationForest": {
        "estimator_": "estimator",
        "estimators_": "estimator",
        "random_state": "random_state scalar",
    },
    "sklearn.Isomap": {
        "kernel_pca_": "estimator",
        "nbrs_": "estimator",
    },
    "sklearn.IsotonicRegression": {
        "f_": "function",
    },
    "sklearn.IterativeImputer": {
        "_estimator": "estimator",
        "estimator": "estimator",
        "imputation_sequence_": "_ImputerTriplet array estimator scalar",
        "indicator_": "estimator",
        "initial_imputer_": "estimator",
        "random_state": "random_state scalar",
        "random_state_": "random_state",
    },
    "sklearn.KBinsDiscretizer": {
        "_encoder": "estimator",
        "dtype": "type",
        "random_state": "random_state scalar",
    },
    "sklearn.KFold": {
        "random_state": "random_state scalar",
    },
    "sklearn.KMeans": {
        "init": "array function scalar",
        "random_state": "random_state scalar",
    },
    "sklearn.KNNImputer": {
        "indicator_": "estimator",
        "metric": "function scalar",
        "weights": "function scalar",
    },
    "sklearn.KNeighborsClassifier": {
        "_fit_X": "array sparse",
        "_tree": "neighbor_tree",
        "weights": "function scalar",
    },
    "sklearn.KNeighborsRegressor": {
        "_fit_X": "array sparse",
        "_tree": "neighbor_tree",
        "effective_metric_": "metric scalar",
        "metric": "metric scalar",
        "weights": "function scalar",
    },
    "sklearn.KNeighborsTransformer": {
        "_tree": "neighbor_tree",
    },
    "sklearn.KernelDensity": {
        "tree_": "neighbor_tree",
    },
    "sklearn.KernelPCA": {
        "X_fit_": "array sparse",
        "_centerer": "estimator",
        "kernel": "function scalar",
        "random_state": "random_state scalar",
    },
    "sklearn.KernelRidge": {
        "X_fit_": "array sparse",
    },
    "sklearn.LabelPropagation": {
        "X_": "array sparse",
        "kernel": "function scalar",
        "nn_fit": "estimator",
    },
    "sklearn.LabelSpreading": {
        "X_": "array sparse",
        "kernel": "function scalar",
        "nn_fit": "estimator",
    },
    "sklearn.LarsCV": {
        "cv": "splitter",
    },
    "sklearn.LassoCV": {
        "cv": "scalar splitter",
    },
    "sklearn.LassoLarsCV": {
        "cv": "scalar splitter",
    },
    "sklearn.LatentDirichletAllocation": {
        "random_state": "random_state scalar",
        "random_state_": "random_state",
    },
    "sklearn.LinearDiscriminantAnalysis": {
        "covariance_estimator": "estimator",
    },
    "sklearn.LinearRegression": {
        "_metadata_request": "MetadataRequest",
    },
    "sklearn.LocalOutlierFactor": {
        "_fit_X": "array sparse",
        "_tree": "neighbor_tree",
    },
    "sklearn.LocallyLinearEmbedding": {
        "nbrs_": "estimator",
        "random_state": "random_state scalar",
    },
    "sklearn.LogisticRegression": {
        "_metadata_request": "MetadataRequest",
        "random_state": "random_state scalar",
    },
    "sklearn.LogisticRegressionCV": {
        "cv": "array scalar splitter",
        "scoring": "scalar scorer",
    },
    "sklearn.MLPClassifier": {
        "_label_binarizer": "estimator",
        "_optimizer": "optimizer",
        "_random_state": "random_state",
    },
    "sklearn.MLPRegressor": {
        "_optimizer": "optimizer",
        "_random_state": "random_state",
        "random_state": "random_state scalar",
    },
    "sklearn.MetadataRequest": {
        "decision_function": "MethodMetadataRequest",
        "fit": "MethodMetadataRequest",
        "fit_resample": "MethodMetadataRequest",
        "inverse_transform": "MethodMetadataRequest",
        "owner": "estimator scalar scorer splitter",
        "partial_fit": "MethodMetadataRequest",
        "predict": "MethodMetadataRequest",
        "predict_log_proba": "MethodMetadataRequest",
        "predict_proba": "MethodMetadataRequest",
        "score": "MethodMetadataRequest",
        "split": "MethodMetadataRequest",
        "transform": "MethodMetadataRequest",
    },
    "sklearn.MethodMetadataRequest": {
        "owner": "estimator scalar scorer splitter",
    },
    "sklearn.MinCovDet": {
        "random_state": "random_state scalar",
    },
    "sklearn.MiniBatchDictionaryLearning": {
        "_random_state": "random_state",
        "random_state": "random_state scalar",
    },
    "sklearn.MiniBatchKMeans": {
        "_random_state": "random_state",
        "init": "array function scalar",
    },
    "sklearn.MiniBatchSparsePCA": {
        "random_state": "random_state scalar",
    },
    "sklearn.MultiOutputClassifier": {
        "estimator": "estimator",
        "estimators_": "estimator",
    },
    "sklearn.MultiOutputRegressor": {
        "estimator": "estimator",
        "estimators_": "estimator",
    },
    "sklearn.MultiTaskElasticNetCV": {
        "cv": "array scalar splitter",
    },
    "sklearn.MultiTaskLassoCV": {
        "cv": "scalar splitter",
    },
    "sklearn.NearestNeighbors": {
        "_fit_X": "array sparse",
        "_tree": "neighbor_tree",
        "effective_metric_": "function metric scalar",
        "metric": "function metric scalar",
    },
    "sklearn.NeighborhoodComponentsAnalysis": {
        "callback": "function",
        "random_state": "random_state scalar",
        "random_state_": "random_state",
    },
    "sklearn.Nystroem": {
        "kernel": "function scalar",
        "random_state": "random_state scalar",
    },
    "sklearn.OneClassSVM": {
        "_dual_coef_": "array sparse",
        "dual_coef_": "array sparse",
        "support_vectors_": "array sparse",
    },
    "sklearn.OneHotEncoder": {
        "dtype": "scalar type value",
        "feature_name_combiner": "function scalar",
    },
    "sklearn.OneVsOneClassifier": {
        "estimator": "estimator",
        "estimators_": "estimator",
    },
    "sklearn.OneVsRestClassifier": {
        "estimator": "estimator",
        "estimators_": "estimator",
        "label_binarizer_": "estimator",
    },
    "sklearn.OrdinalEncoder": {
        "dtype": "scalar type",
    },
    "sklearn.OrthogonalMatchingPursuitCV": {
        "cv": "splitter",
    },
    "sklearn.OutputCodeClassifier": {
        "estimator": "estimator",
        "estimators_": "estimator",
    },
    "sklearn.PCA": {
        "random_state": "random_state scalar",
    },
    "sklearn.PassiveAggressiveClassifier": {
        "_loss_function_": "Hinge",
    },
    "sklearn.Perceptron": {
        "_loss_function_": "Hinge",
    },
    "sklearn.PinballLoss": {
        "closs": "CyPinballLoss",
        "interval_y_pred": "Interval",
        "interval_y_true": "Interval",
        "link": "link",
    },
    "sklearn.Pipeline": {
        "memory": "Memory",
        "steps": "estimator scalar",
    },
    "sklearn.PoissonRegressor": {
        "_base_loss": "loss",
    },
    "sklearn.PowerTransformer": {
        "_scaler": "estimator",
    },
    "sklearn.Product": {
        "k1": "kernel",
        "k2": "kernel",
    },
    "sklearn.RANSACRegressor": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "loss": "function scalar",
    },
    "sklearn.RFE": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "importance_getter": "function scalar",
    },
    "sklearn.RFECV": {
        "cv": "scalar splitter",
        "estimator": "estimator",
        "estimator_": "estimator",
        "scoring": "function scalar scorer",
    },
    "sklearn.RadiusNeighborsClassifier": {
        "_fit_X": "array sparse",
        "_tree": "neighbor_tree",
        "weights": "function scalar",
    },
    "sklearn.RadiusNeighborsRegressor": {
        "_fit_X": "array sparse",
        "_tree": "neighbor_tree",
        "weights": "function scalar",
    },
    "sklearn.RadiusNeighborsTransformer": {
        "_tree": "neighbor_tree",
    },
    "sklearn.RandomForestClassifier": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "estimators_": "estimator",
        "oob_score": "function scalar",
        "random_state": "random_state scalar",
    },
    "sklearn.RandomForestRegressor": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "estimators_": "estimator",
        "oob_score": "function scalar",
        "random_state": "random_state scalar",
    },
    "sklearn.RandomTreesEmbedding": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "estimators_": "estimator",
        "one_hot_encoder_": "estimator",
    },
    "sklearn.RandomizedSearchCV": {
        "_checked_cv_orig": "splitter",
        "best_estimator_": "estimator",
        "best_params_": "estimator scalar",
        "cv": "array scalar splitter",
        "cv_results_": "array estimator scalar",
        "estimator": "estimator",
        "param_distributions": "array distribution estimator scalar",
        "scorer_": "_PassthroughScorer scalar scorer",
        "scoring": "scalar scorer",
    },
    "sklearn.RegressorChain": {
        "base_estimator": "estimator",
        "estimator": "estimator",
        "estimators_": "estimator",
    },
    "sklearn.Ridge": {
        "random_state": "random_state scalar",
    },
    "sklearn.RidgeCV": {
        "cv": "scalar splitter",
        "scoring": "function scalar scorer",
    },
    "sklearn.RidgeClassifier": {
        "_label_binarizer": "estimator",
    },
    "sklearn.RidgeClassifierCV": {
        "_label_binarizer": "estimator",
        "cv": "scalar splitter",
        "scoring": "scalar scorer",
    },
    "sklearn.SGDClassifier": {
        "_loss_function_": (
            "CyHalfBinomialLoss CyHalfSquaredError CyHuberLoss "
            "EpsilonInsensitive Hinge ModifiedHuber "
            "SquaredEpsilonInsensitive SquaredHinge"
        ),
        "random_state": "random_state scalar",
    },
    "sklearn.SGDOneClassSVM": {
        "_loss_function_": "Hinge",
    },
    "sklearn.SGDRegressor": {
        "random_state": "random_state scalar",
    },
    "sklearn.SVC": {
        "_BaseLibSVM__Xfit": "array scalar sparse",
        "_dual_coef_": "array sparse",
        "dual_coef_": "array sparse",
        "kernel": "function scalar",
        "support_vectors_": "array sparse",
    },
    "sklearn.SVR": {
        "_dual_coef_": "array sparse",
        "dual_coef_": "array sparse",
        "kernel": "function scalar",
        "support_vectors_": "array sparse",
    },
    "sklearn.SelectFdr": {
        "score_func": "function",
    },
    "sklearn.SelectFpr": {
        "score_func": "function",
    },
    "sklearn.SelectFromModel": {
        "estimator": "estimator",
        "estimator_": "estimator",
        "importance_getter": "function scalar",
        "max_features": "function scalar",
    },
    "sklearn.SelectFwe": {
        "score_func": "function",
    },
    "sklearn.SelectKBest": {
        "score_func": "function",
    },
    "sklearn.SelectPercentile": {
        "score_func": "function",
    },
    "sklearn.SelfTrainingClassifier": {
        "base_estimator": "estimator",
        "base_estimator_": "estimator",
        "estimator": "estimator",
        "estimator_": "estimator",
    },
    "sklearn.SequentialFeatureSelector": {
        "cv": "scalar splitter",
        "estimator": "estimator",
        "scoring": "scorer",
    },
    "sklearn.SimpleImputer": {
        "indicator_": "estimator",
        "strategy": "function scalar",
    },
    "sklearn.SparsePCA": {
        "random_state": "random_state scalar",
    },
    "sklearn.SparseRandomProjection": {
        "components_": "sparse",
    },
    "sklearn.SpectralClustering": {
        "affinity": "function scalar",
        "affinity_matrix_": "array sparse",
    },
    "sklearn.SpectralEmbedding": {
        "affinity": "function scalar",
        "affinity_matrix_": "array sparse",
        "random_state": "random_state scalar",
    },
    "sklearn.SplineTransformer": {
        "bsplines_": "BSpline",
    },
    "sklearn.StackingClassifier": {
        "_label_encoder": "estimator",
        "cv": "scalar splitter",
        "estimators": "estimator scalar",
        "estimators_": "estimator",
        "final_estimator": "estimator",
        "final_estimator_": "estimator",
        "named_estimators_": "Bunch estimator scalar",
    },
    "sklearn.StackingRegressor": {
        "cv": "scalar splitter",
        "estimators": "estimator scalar",
        "estimators_": "estimator",
        "final_estimator": "estimator",
        "final_estimator_": "estimator",
        "named_estimators_": "Bunch estimator scalar",
    },
    "sklearn.Sum": {
        "k1": "kernel",
        "k2": "kernel",
    },
    "sklearn.TargetEncoder": {
        "cv": "scalar splitter",
    },
    "sklearn.TfidfVectorizer": {
        "_tfidf": "estimator",
        "analyzer": "function scalar",
        "dtype": "type",
        "preprocessor": "function",
        "tokenizer": "function",
    },
    "sklearn.TransformedTargetRegressor": {
        "func": "function",
        "inverse_func": "function",
        "regressor": "estimator",
        "regressor_": "estimator",
        "transformer": "estimator",
        "transformer_": "estimator",
    },
    "sklearn.TruncatedSVD": {
        "random_state": "random_state scalar",
    },
    "sklearn.TunedThresholdClassifierCV": {
        "_curve_scorer": "scorer",
        "cv": "array scalar splitter",
        "estimator": "estimator",
        "estimator_": "estimator",
        "scoring": "scalar scorer",
    },
    "sklearn.TweedieRegressor": {
        "_base_loss": "loss",
    },
    "sklearn.VotingClassifier": {
        "estimators": "estimator scalar",
        "estimators_": "estimator",
        "le_": "estimator",
        "named_estimators_": "Bunch estimator scalar",
    },
    "sklearn.VotingRegressor": {
        "estimators": "estimator scalar",
        "estimators_": "estimator",
        "named_estimators_": "Bunch estimator scalar",
    },
    "sklearn._BinMapper": {
        "random_state": "random_state scalar",
    },
    "sklearn._BinaryGaussianProcessClassifierLaplace": {
        "kernel": "kernel",
        "kernel_": "kernel",
        "optimizer": "function scalar",
        "rng": "random_state",
    },
    "sklearn._BisectingTree": {
        "left": "_BisectingTree",
        "right": "_BisectingTree",
    },
    "sklearn._CFNode": {
        "next_leaf_": "_CFNode",
        "prev_leaf_": "_CFNode",
        "subclusters_": "_CFSubcluster",
    },
    "sklearn._CFSubcluster": {
        "child_": "_CFNode",
    },
    "sklearn._CalibratedClassifier": {
        "calibrators": "estimator",
        "estimator": "estimator",
    },
    "sklearn._CurveScorer": {
        "_metadata_request": "MetadataRequest",
        "_score_func": "function",
    },
    "sklearn._GeneralizedLinearRegressor": {
        "_base_loss": "loss",
    },
    "sklearn._PassthroughScorer": {
        "_estimator": "estimator",
        "_metadata_request": "MetadataRequest",
    },
    "sklearn._Scorer": {
        "_metadata_request": "MetadataRequest",
        "_score_func": "function",
    },
}
