"""Numbers that options of the command line take."""

from __future__ import annotations

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A range that `nan` is not in, which click lets into every range."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  # as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number
