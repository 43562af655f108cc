"""The cases that most tests run on."""

from __future__ import annotations

import pytest
from golden import Case, case, cases


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "every_case" in metafunc.fixturenames:
        found = cases()
        assert found, "fixtures/zoo has no cases"
        metafunc.parametrize("every_case", found, ids=[each.folder.name for each in found])


@pytest.fixture(scope="session")
def binomial() -> Case:
    """Numbers and levels, missing and odd ones among them; two classes."""
    return case("gbm_bernoulli")


@pytest.fixture(scope="session")
def iris() -> Case:
    """Four numbers, three classes."""
    return case("gbm_multinomial_iris")


@pytest.fixture(scope="session")
def refusing() -> Case:
    """A model on some of whose rows H2O throws."""
    return case("glm_skip_gauss")
