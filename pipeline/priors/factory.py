"""The prior that a factory of the user's own makes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffpir.errors import CheckpointError
from manifests.secrets import redacted, texts_of
from pipeline.errors import PipelineError
from pipeline.users_code import factory_of
from pipeline.versions import digest_of

if TYPE_CHECKING:
    import torch

    from diffpir.checkpoints.prior import Prior
    from diffpir.networks.custom import CustomNet


@dataclass(frozen=True)
class PriorCode:
    """A factory, and what it is given.

    Attributes:
        factory: ``module:factory``.
        options: its keywords.
        location: where all machines find the file that the model's ``path`` names; the factory's
            name where there is none.
        used: that file on this machine.
    """

    factory: str
    options: Mapping[str, Any]
    location: str
    used: Path | None

    def load(self, dtype: torch.dtype | None = None) -> Prior[CustomNet]:
        """The prior; its weights keep the type that the factory gave them, whatever ``dtype`` is.

        Raises:
            CheckpointError: the factory cannot be had, fails, or returns something else.
        """
        return self._made[0]

    @cached_property
    def _made(self) -> tuple[Prior[CustomNet], str]:
        """And the digest of its weights, before anybody moves them."""
        from diffpir.checkpoints.prior import custom_prior
        from diffpir.networks.custom import CustomPrior, state_digest

        given = {**self.options, "path": str(self.used)} if self.used else self.options
        try:
            made = factory_of(self.factory)(**given)
        except Exception as e:
            words = f"{self.factory} with {dict(given)}: {type(e).__name__}: {e}"
            raise CheckpointError(f"factory: {redacted(words, texts_of(given))}") from None
        if not isinstance(made, CustomPrior):
            raise CheckpointError(
                f"factory: {self.factory} returned {type(made).__name__}, expected a "
                "diffpir.CustomPrior(network=..., schedule=...)"
            )
        prior = custom_prior(made)
        return prior, state_digest(prior.net)

    def digest(self) -> str:
        """SHA-256 of the weights in memory, and of the file; a run knows the code by its own."""
        lines = [f"state {self._made[1]}"] + ([f"file {digest_of(self.used)}"] if self.used else [])
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def check(self, digest: str) -> None:
        """Raise PipelineError where the network is another than a run was planned with."""
        if self.digest() != digest:
            raise PipelineError(
                f"model.factory: {self.factory} made a network with other weights than the one "
                "that the run was planned with; a factory must make the same on every machine and "
                "every time: read the weights from a file, or seed what is random"
            )
