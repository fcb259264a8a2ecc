"""Operators as users write them, for jobs to find by import path."""

from __future__ import annotations

import torch

from diffpir import Linear


def halves(step: int = 2) -> Linear:
    """A user's operator: the mean of ``step`` neighbours in a row."""

    def forward(x):
        return x.unflatten(-1, (-1, step)).mean(dim=-1)

    def adjoint(y):
        return y.repeat_interleave(step, dim=-1) / step

    return Linear(forward, adjoint)


class Red:
    """A user's operator that is given by two methods alone, and mixes channels."""

    forward = staticmethod(lambda x: x[:, :1])
    adjoint = staticmethod(lambda y: torch.cat([y, torch.zeros_like(y).expand(-1, 2, -1, -1)], 1))


def untrue() -> Linear:
    return Linear(lambda x: 2 * x, lambda y: y)


def nothing() -> None:
    pass
