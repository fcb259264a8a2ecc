"""Which methods DiffPIR is measured against, and what each needs; this brings no PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a method takes and needs.

    Attributes:
        place: its module and function.
        settings: the fields of ``SamplerConfig`` that it has, ``method`` and ``nfe`` aside.
        spectral: the operator must have ``spectral`` (:class:`diffpir.operators.Decomposable`).
        gradients: the network is differentiated: some three times the time, and its activations
            in memory.
        own_levels: which noise levels it goes through depends on that of the measurement.
    """

    place: str
    settings: frozenset[str] = frozenset()
    spectral: bool = False
    gradients: bool = False
    own_levels: bool = False


RIVALS: dict[str, Traits] = {
    "hqs": Traits(
        place="diffpir.methods.hqs:hqs",
        settings=frozenset({"lam", "sigma_max", "sigma_min"}),
        own_levels=True,
    ),
    "ddnm": Traits(place="diffpir.methods.ddnm:ddnm", settings=frozenset({"zeta"}), spectral=True),
    "ddrm": Traits(place="diffpir.methods.ddrm:ddrm", settings=frozenset({"zeta"}), spectral=True),
    "red-diff": Traits(place="diffpir.methods.red_diff:red_diff", settings=frozenset({"lam"})),
    "dds": Traits(place="diffpir.methods.dds:dds", settings=frozenset({"lam", "zeta"})),
    "daps": Traits(place="diffpir.methods.daps:daps"),
    "pigdm": Traits(
        place="diffpir.methods.pigdm:pigdm",
        settings=frozenset({"zeta", "guidance"}),
        gradients=True,
    ),
    "dps": Traits(
        place="diffpir.methods.dps:dps", settings=frozenset({"guidance"}), gradients=True
    ),
}


def takes_gradients(method: str) -> bool:
    """Whether a method, any one, differentiates the network."""
    return method in RIVALS and RIVALS[method].gradients


def rival(method: str) -> Callable[..., Any]:
    """The function of a method among ``RIVALS``."""
    module, _, name = RIVALS[method].place.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function
