"""Scores of flights."""

from collections.abc import Mapping
from typing import Any


def score(model: Any, flight: Mapping[str, Any]) -> float:
    """The probability of a delay."""
    return float(model.predict(dict(flight))["Yes"])
