"""Request models: what they take and what they refuse, with the place named."""

from __future__ import annotations

import pytest
from app.schemas import ScoreRequest, Tensor
from pydantic import ValidationError


def test_cells_keep_their_types() -> None:
    row = ScoreRequest.model_validate({"rows": [{"a": 1, "b": 1.5, "c": "x", "d": None, "e": True}]}).rows[0]
    assert [type(v) for v in row.values()] == [int, float, str, type(None), bool]


@pytest.mark.parametrize("body", [{}, {"rows": []}, {"rows": [{"a": []}]}, {"rows": [{"": 1}]}, {"rows": [{}], "more": 1}])
def test_bad_requests_name_the_place(body: dict) -> None:
    with pytest.raises(ValidationError) as caught:
        ScoreRequest.model_validate(body)
    assert caught.value.errors()[0]["loc"]


def test_a_tensor_has_a_known_type() -> None:
    with pytest.raises(ValidationError):
        Tensor(name="x", shape=[1], datatype="FP128", data=[1])
