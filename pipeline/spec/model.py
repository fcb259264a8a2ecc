"""The prior of a job: a checkpoint, and what the job says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, PlainSerializer, SerializationInfo, model_validator

from diffpir.schedule import MOST_STEPS, Schedule, ScheduleKind
from manifests.uris import absolute
from pipeline.priors.hub import repository_of
from pipeline.priors.known import KNOWN
from pipeline.spec.base import (
    ABSOLUTE,
    BUILTIN,
    TEXT,
    ImportPath,
    Location,
    Spec,
    parse_text,
)

EXAMPLE = "a checkpoint, as a path or such as {path: model.pt, num_heads: 4}"
# What a factory says itself.
OF_CHECKPOINTS = (
    "config",
    "num_head_channels",
    "num_heads",
    "use_new_attention_order",
    "schedule",
    "prediction",
    "rescale_timesteps",
)
Beta = Annotated[float, Field(gt=0, lt=1)]


def is_named(location: str) -> bool:
    """Whether it is the name of a prior, and no path or URI of the user's."""
    return location == BUILTIN or location in KNOWN or repository_of(location) is not None


def _as_asked(location: str, info: SerializationInfo) -> str:
    asked = info.context == ABSOLUTE and not is_named(location)
    return absolute(location) if asked else location


# ``builtin``, a known name, a repository of the hub, or a path or URI.
ModelLocation = Annotated[str, Field(min_length=1), PlainSerializer(_as_asked)]


class ScheduleSpec(Spec):
    """A noise schedule: of a kind, whose name is short for it, or a table in a file.

    Attributes:
        kind, steps, beta_start, beta_end, zero_snr: as of :meth:`diffpir.schedule.Schedule.of`.
        file: path or URI of a table (:mod:`diffpir.schedule_file`), instead of all that.
    """

    short_form: ClassVar[Mapping[str, Any] | None] = {"enum": list(get_args(ScheduleKind))}
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
        path: ``builtin``, a known name (:mod:`pipeline.priors.known`), ``org/name@revision`` of the
            Hugging Face Hub, or the path or URI of a file or a folder.
        factory: ``module:factory`` of the user's own, which makes the prior
            (:class:`diffpir.networks.custom.CustomPrior`); to run it takes ``--allow-code module``.
        options: keywords for the factory; where a ``path`` is given too, its file on this machine
            is one more, ``path``.
        config: of a diffusers network, its ``config.json`` where that does not lie beside it.
        num_head_channels, num_heads, use_new_attention_order: of its attention.
        schedule: of the noise that it was trained with.
        prediction: what it was trained to predict: the noise, v, or the image itself.
        rescale_timesteps: it was told ``1000 t / T`` (OpenAI's option of this name).
        label: class, of a class-conditional network, of rows that give none of their own.
        null_label: class that it was trained to know no class by, of all other rows.
        cfg: classifier-free guidance, as of :class:`diffpir.networks.denoiser.EpsDenoiser`; None
            for 1.
    """

    short_form: ClassVar[Mapping[str, Any] | None] = TEXT
    path: ModelLocation = BUILTIN
    factory: ImportPath | None = None
    options: dict[str, Any] = Field(default_factory=dict, examples=["{name: value}"])
    config: Location | None = None
    num_head_channels: Annotated[int, Field(ge=1)] | None = None
    num_heads: Annotated[int, Field(ge=1)] | None = None
    use_new_attention_order: bool | None = None
    schedule: Annotated[
        ScheduleSpec | None, Field(examples=["cosine or {kind: linear, steps: 4000}"])
    ] = None
    prediction: Literal["epsilon", "v", "x0"] | None = None
    rescale_timesteps: bool | None = None
    label: Annotated[int, Field(ge=0)] | None = None
    null_label: Annotated[int, Field(ge=0)] | None = None
    cfg: Annotated[float, Field(ge=0, le=100)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_text(value, EXAMPLE) if value.startswith("{") else {"path": value}
        return value

    @model_validator(mode="after")
    def _made_or_read(self):
        if self.factory:
            if told := [name for name in OF_CHECKPOINTS if getattr(self, name) is not None]:
                raise ValueError(
                    f"{', '.join(told)}: what a factory returns says that itself; leave it out, or "
                    "give it to the factory among its options"
                )
            if "path" in self.options:
                raise ValueError("options.path: it is the model's path, beside factory")
        elif self.options:
            raise ValueError("options: they are those of a factory, and there is none")
        return self

    @model_validator(mode="after")
    def _guided(self):
        if self.cfg not in (None, 1) and self.null_label is None:
            raise ValueError(
                "cfg: it guides away from what the network says without a class: give the "
                "null_label that it was trained with, too"
            )
        return self

    @property
    def is_builtin(self) -> bool:
        """Whether it is the embedded prior."""
        return self.path == BUILTIN and not self.factory

    @property
    def is_file(self) -> bool:
        """Whether it names a file or folder, or is known by the name of one."""
        return not (self.factory and self.path == BUILTIN)

    @property
    def usual_label(self) -> int | None:
        """The class of rows that give none."""
        return self.null_label if self.label is None else self.label

    @property
    def conditions(self) -> dict[str, Any]:
        """What it says of classes, as :meth:`diffpir.checkpoints.prior.Prior.denoiser` takes it."""
        return self.model_dump(include={"label", "null_label", "cfg"}, exclude_none=True)

    @property
    def files(self) -> dict[str, str]:
        """Field -> path or URI, of the files that it names beside the checkpoint."""
        named = {
            "config": self.config,
            "schedule.file": self.schedule.file if self.schedule else None,
        }
        return {field: file for field, file in named.items() if file}

    @property
    def told(self) -> dict[str, Any]:
        """What is said of the checkpoint, without what other files say."""
        told = self.model_dump(include=set(OF_CHECKPOINTS) - {"config", "schedule"})
        if self.schedule and not self.schedule.file:
            told["schedule"] = self.schedule.schedule()
        return told
