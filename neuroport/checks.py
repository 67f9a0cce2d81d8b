"""Checks of the values of a recipe, whose errors name the key and say what to use."""

from __future__ import annotations

import math

from neuroport.errors import RecipeError


def require(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)


def positive(value: float, name: str) -> None:
    require(0 < value < math.inf, f"{name} must be positive, not {value}")


def fraction(value: float, name: str) -> None:
    require(0 <= value < 1, f"{name} is {value}; use 0 to less than 1")


def one_of(value: str, known: tuple[str, ...], name: str) -> None:
    require(value in known, f"{name} is {value!r}; use {', '.join(map(repr, known))}")


def seed(value: int, name: str) -> None:
    require(0 <= value < 1 << 63, f"{name} is {value}; use 0 to 2**63 - 1")
