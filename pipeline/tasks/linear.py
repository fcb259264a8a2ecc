"""Any linear operator of the user's own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from manifests.secrets import redacted, texts_of
from pipeline.errors import PipelineError, RowError
from pipeline.spec.base import ImportPath
from pipeline.tasks.assets import AssetFile
from pipeline.tasks.deepinv import LIBRARY, physics_of
from pipeline.tasks.defaults import USUAL, Defaults
from pipeline.tasks.parts import Arrays, BatchParts, Mode
from pipeline.tasks.task import Task
from pipeline.users_code import factory_of

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from diffpir.operators import Operator
    from pipeline.tasks.row import Row


class LinearTask(Task):
    """A linear operator of the user's own, ``module:factory``; ``options`` go to the factory.

    It returns an object with ``forward`` and ``adjoint``
    (:class:`diffpir.operators.linear.Linear`), for images of any size. ``deepinv:Blur`` and the
    like are operators of that library (:mod:`pipeline.tasks.deepinv`).

    Attributes:
        operator: ``module:factory``; to run it takes ``--allow-code module``.
        options: keywords for the factory.
    """

    kind: Literal["linear"]
    operator: ImportPath
    options: dict[str, Any] = Field(default_factory=dict, examples=["{name: value}"])

    # What a user's operator measured of colours may have three equal channels too.
    equal_channels_are_grey: ClassVar[bool] = False
    example: ClassVar[Mapping[str, str]] = {"operator": "my.module:make", "noise_level": "0.01"}
    presets: ClassVar[Mapping[str, Defaults]] = {"linear": USUAL}

    def code(self) -> dict[str, str]:
        return {"operator": self.operator}

    def made(self) -> Any:
        """What the factory returns.

        Raises:
            Exception: of whatever class the user's own code raises.
        """
        module, _, name = self.operator.partition(":")
        if module == LIBRARY:
            return physics_of(name, self.options)
        return factory_of(self.operator)(**self.options)

    def assets(self, mode: Mode, kernels: Iterable[pa.ChunkedArray]) -> Iterable[AssetFile]:
        users_operator(self)  # whatever is wrong with it is to be found before the work
        return ()

    def decomposes(self, mode: Mode, columns: Collection[str]) -> bool:
        from diffpir.operators import Decomposable

        return isinstance(users_operator(self), Decomposable)

    def operator_for(self, batch: BatchParts) -> Operator:
        return users_operator(self)

    def measured(self, row: Row, arrays: Arrays, operator: Operator) -> tuple[Tensor, bool]:
        image = row.image
        try:
            # A grey picture is what an operator measured that mixes channels, or a grey scene's.
            mixes = row.grey and operator.adjoint(image[:, :1]).shape[1] > 1
        except Exception as e:
            raise RowError(f"task.operator: {type(e).__name__}: {e}", "failed") from None
        y = image[:, :1] if mixes else image
        check_operator(operator, y, row.channels)
        return y, row.grey and not mixes

    def scene(self, image: Tensor, size: tuple[int, int], operator: Operator) -> Tensor:
        return image

    def degraded(self, row: Row, scene: Tensor, operator: Operator, grey: bool) -> Tensor:
        y = super().degraded(row, scene, operator, grey)
        check_operator(operator, y, row.channels)
        return y


def users_operator(task: LinearTask) -> Operator:
    """What the factory that the task names returns; ``Linear`` supplies what it lacks.

    Raises:
        PipelineError: it cannot be imported, or returns no linear operator.
    """
    from diffpir.operators import Linear

    try:
        made = task.made()
    except PipelineError:
        raise
    except Exception as e:
        words = f"{task.operator} with options {task.options}: {type(e).__name__}: {e}"
        raise PipelineError(f"task.operator: {redacted(words, texts_of(task.options))}") from None
    if not all(callable(getattr(made, part, None)) for part in ("forward", "adjoint")):
        raise PipelineError(
            f"task.operator: {task.operator} returned {type(made).__name__}, "
            "expected an object with the methods forward and adjoint"
        )
    if all(hasattr(made, part) for part in ("prox", "initial", "impose", "frame")):
        return made
    return Linear(made.forward, made.adjoint, getattr(made, "initial", None))


def check_operator(operator: Operator, y: Tensor, wanted: int) -> None:
    """Its adjoint is one, and its scenes are those of the prior, which takes that many channels.

    Raises:
        RowError: ``failed``: they are not.
    """
    from diffpir.operators.linear import check_adjoint

    try:
        check_adjoint(operator.forward, operator.adjoint, y)
        channels = operator.initial(y).shape[1]
    except Exception as e:
        raise RowError(f"task.operator: {type(e).__name__}: {e}", "failed") from None
    if wanted not in (1, channels):  # one of a single channel takes each of them by itself
        raise RowError(
            f"task.operator: its scenes have {channels} channels, the prior's {wanted}", "failed"
        )
