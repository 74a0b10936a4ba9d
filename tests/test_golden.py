"""What earlier releases wrote, loaded by this one."""

import json
import warnings

import estimators
import numpy as np
import pytest
from golden import FAMILIES, GOLDEN

import shardpickle

WRITERS = ("v1-shardpickle0.1.0-py311-sk150", "v1-shardpickle0.1.0-py311-sk191")


@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_was_changed(writer):
    digests = json.loads((GOLDEN / writer / "digests.json").read_text())
    assert set(digests) == set(FAMILIES)
    for name, digest in digests.items():
        assert shardpickle.inspect(GOLDEN / writer / name).digest == digest
        assert shardpickle.verify(GOLDEN / writer / name, deep=True)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_golden_model_answers_as_it_did(writer, name):
    folder = GOLDEN / writer
    asked = json.loads((folder / f"{name}.json").read_text())
    features = asked if isinstance(asked[0], (str, dict)) else np.array(asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = shardpickle.load(folder / name)
    found = estimators.predictions(model, features)
    with np.load(folder / f"{name}.npz") as stored:
        answers = dict(stored)
    assert answers, name
    for method, then in answers.items():
        now = np.asarray(found[method])
        assert now.shape == then.shape
        if then.dtype.kind == "f":  # another BLAS or libm may round otherwise
            np.testing.assert_allclose(now, then, rtol=1e-6, atol=1e-9)
        else:
            assert (now == then).all()
