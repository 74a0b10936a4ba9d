import pytest


@pytest.fixture(autouse=True)
def _doctest_directory(doctest_namespace, tmp_path):
    doctest_namespace["directory"] = tmp_path
