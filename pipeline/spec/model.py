"""The prior of a job: a checkpoint, and what the job says of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from diffpir.schedule import MOST_STEPS, Schedule, ScheduleKind
from pipeline.spec.base import BUILTIN, Location, Spec, parse_text

EXAMPLE = "a checkpoint, as a path or such as {path: model.pt, num_heads: 4}"
Beta = Annotated[float, Field(gt=0, lt=1)]


class ScheduleSpec(Spec):
    """A noise schedule: of a kind, whose name is short for it, or a table in a file.

    Attributes:
        kind, steps, beta_start, beta_end, zero_snr: as of :meth:`diffpir.schedule.Schedule.of`.
        file: path or URI of a table (:mod:`diffpir.schedule_file`), instead of all that.
    """

    kind: ScheduleKind | None = None
    steps: Annotated[int, Field(ge=2, le=MOST_STEPS)] | None = None
    beta_start: Beta | None = None
    beta_end: Beta | None = None
    zero_snr: bool | None = None
    file: Location | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self):
        if self.file and self.settings:
            raise ValueError(f"file says all: leave out {', '.join(self.settings)}")
        if not self.file:
            self.schedule()
        return self

    @property
    def settings(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True, exclude={"file"})

    def schedule(self) -> Schedule:
        """The schedule of a kind.

        Raises:
            ConfigError: its settings do not go together.
        """
        return Schedule.of(**self.settings)


class Model(Spec):
    """A checkpoint, and what its file does not tell (None: its own words, or the usual values).

    A text that begins with ``{`` is this written out, as options of commands have it.

    Attributes:
        path: ``builtin``, or a path or URI.
        num_head_channels, num_heads, use_new_attention_order: of its attention.
        schedule: of the noise that it was trained with.
        prediction: what it was trained to predict: the noise, v, or the image itself.
        rescale_timesteps: it was told ``1000 t / T`` (OpenAI's option of this name).
        label: class, of a class-conditional network.
    """

    path: Location = BUILTIN
    num_head_channels: Annotated[int, Field(ge=1)] | None = None
    num_heads: Annotated[int, Field(ge=1)] | None = None
    use_new_attention_order: bool | None = None
    schedule: Annotated[
        ScheduleSpec | None, Field(examples=["cosine or {kind: linear, steps: 4000}"])
    ] = None
    prediction: Literal["epsilon", "v", "x0"] | None = None
    rescale_timesteps: bool | None = None
    label: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_text(value, EXAMPLE) if value.startswith("{") else {"path": value}
        return value

    @property
    def files(self) -> dict[str, str]:
        """Field -> path or URI, of the files that it names beside the checkpoint."""
        return {"schedule.file": self.schedule.file} if self.schedule and self.schedule.file else {}

    @property
    def options(self) -> dict[str, Any]:
        """What is said of the checkpoint, without what other files say."""
        options = self.model_dump(exclude={"path", "label", "schedule"})
        if self.schedule and not self.schedule.file:
            options["schedule"] = self.schedule.schedule()
        return options
