"""The specification of a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from diffpir.config import (
    BETWEEN,
    TILE,
    Estimate,
    Final,
    Method,
    Precision,
    SamplerConfig,
    check_setting,
)
from diffpir.rivals import RIVALS, takes_gradients
from diffpir.schedule import Spacing
from manifests.schema import RENAMED
from manifests.storage.hosts import checked_entry
from manifests.uris import scheme_of
from pipeline.spec.base import DECODE_SECONDS, Location, Seconds, Spec
from pipeline.spec.fetch import Fetch
from pipeline.spec.model import Model
from pipeline.spec.perceptual import Perceptual
from pipeline.spec.picture import PictureFile
from pipeline.tasks import AnyTask, preset
from pipeline.tasks.parts import Mode

WATCHED = 4  # rows whose steps are saved where the job names none
BATCH_PIXELS = {"gpu": 2**22, "cpu": 2**17}  # a GPU's is halved where it does not fit
GRADIENT_SHARE = 3  # by which batches are smaller where the network is differentiated
Amount = Annotated[float, Field(ge=1e-4, le=1e9)]  # of what Ray counts, in its steps of 1e-4
Scheme = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]+$")]  # of URIs: s3, https, file
Host = Annotated[str, AfterValidator(checked_entry)]


def _batch_pixels(value: Any) -> Any:
    if value != "auto" and (
        isinstance(value, bool) or not str(value).isdecimal() or not int(value)
    ):
        raise ValueError("must be a whole number of 1 or more, or auto")
    return value if value == "auto" else int(value)


Channels = Literal["each", "luma"]
LEAST_STEPS = 32  # that whole numbers of a range must have
BatchPixels = Annotated[Literal["auto"] | int, BeforeValidator(_batch_pixels)]


class Sampler(Spec):
    """A preset's settings (or the task's usual ones), with any of them replaced.

    Attributes:
        save_steps: of the rows watched, keep what the sampler saw at so many of its steps: x0
            before and after the data step. No result hangs on it.
        watch_ids: of these rows; empty for the first few of the manifest.
    """

    preset: str | None = None
    method: Method | None = None
    nfe: int | None = None
    lam: float | None = None
    zeta: float | None = None
    guidance: float | None = None
    relax: float | None = None
    spacing: Spacing | None = None
    final: Final | None = None
    first_timestep: int | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    prior_std: float | None = None
    save_steps: Annotated[int, Field(ge=1, le=100)] | None = None
    watch_ids: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _valid(self):
        if self.preset:
            preset(self.preset)
        if self.watch_ids and self.save_steps is None:
            raise ValueError("watch_ids: nothing is saved of them; set save_steps")
        for name, value in self.given.items():
            check_setting(name, value)  # what they make together, the job knows
        return self

    @property
    def asked(self) -> str | None:
        """The method that is asked for, by its name or by a preset; None leaves it to the task."""
        return self.method or (preset(self.preset).method if self.preset else None)

    @property
    def given(self) -> dict[str, Any]:
        """The settings that replace others."""
        return self.model_dump(exclude_none=True, exclude={"preset", "save_steps", "watch_ids"})

    def resolve(self, usual: SamplerConfig) -> SamplerConfig:
        """The settings meant, ``usual`` being those of a job that gives none.

        What goes only with the usual method or spacing is not kept where another is asked for.

        Raises:
            ConfigError: settings that do not go together.
        """
        base = preset(self.preset) if self.preset else usual
        given = self.given
        if given.get("method", base.method) != base.method:
            given = {"prior_std": None} | given
        if (given.get("spacing", base.spacing) in BETWEEN) != (base.spacing in BETWEEN):
            given = {"first_timestep": None, "sigma_max": None, "sigma_min": None} | given
        elif self.first_timestep is not None and base.spacing not in BETWEEN:
            # Where to start, said in another way.
            given = {"sigma_max": None} | given
        return dataclasses.replace(base, **given)


class Actors(Spec):
    """How many hold a model: ``4`` is short for ``{min: 4, max: 4}``."""

    short_form: ClassVar[Mapping[str, Any] | None] = {"type": "integer", "minimum": 1}
    min: Annotated[int, Field(ge=1)] = 1
    max: Annotated[int, Field(ge=1)]

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        if isinstance(value, dict | cls):
            return value
        if type(value) is not int or value < 1:
            raise ValueError("must be a number of 1 or more, or a range {min: 1, max: 8}")
        return {"min": value, "max": value}

    @model_validator(mode="after")
    def _ordered(self):
        if self.min > self.max:
            raise ValueError("min must not be above max")
        return self


class JobSpec(Spec):
    """A restoration job.

    Attributes:
        manifest: path or URI of the manifest: CSV, JSON Lines; of Parquet or WebDataset tar files
            one, or many (a folder or bucket prefix, a glob, a name with braces); or the output of
            another job, whose restored pictures are then the images.
        columns: the manifest's columns (``image``, ``id``, ...) that are called otherwise in its
            files, and what they are called there.
        output: folder or URI; results go to ``OUTPUT/results/*.parquet``.
        mode: ``restore`` degraded images, or ``benchmark``: degrade clean ones, restore, score.
        task: what was (or is to be) done to the images.
        model: the prior: ``builtin``, a known name, one of the Hugging Face Hub, or the path or URI
            of a checkpoint.
        sampler: DiffPIR's settings.
        samples: of the posterior of each image, 1 to 1024; their cost is that of as many images.
        estimate: what is restored from several samples: their ``mean`` (the default), the first
            ``sample``, or the ``best``, whose residual is nearest to 1.
        uncertainty: the standard deviation of the samples at each pixel is a picture of the
            results, and its mean a column.
        uncertainty_scale: how many times the samples' deviation the uncertainty is, above 0. None:
            as measured for the embedded prior and this task, and 1 for other priors. A benchmark's
            column of the same name tells what suits each of its images.
        keep_samples: all samples are pictures of the results.
        channels: of colours, with a prior of one channel: ``each`` restores every channel by itself
            (also where there are others than three), ``luma`` the luma alone, while the chroma
            stays as it was measured. None: ``each``.
        range: the numbers in the images' files that are black and white; None for the whole range
            of 8 or 16 bits. What is written as tiff or npy has the same.
        seed: of every random choice, together with each image's id.
        actors: how many hold a model, a number or a range that Ray Data keeps to as it has work
            and room; None for one per GPU, or where there is none, per CPU with 4 GiB.
        batch_pixels: of the images restored together, and per network call at most; ``auto`` is
            2^22 on a GPU (64 images of 256 x 256), halved until they fit, and 2^17 on a CPU.
        gpus: of each actor; a share lets several have one GPU. None: 1 if the cluster has any.
        cpus: of each actor, and its threads; None leaves both to what the nodes have.
        memory: GiB that Ray sets aside for each actor; None for nothing set aside.
        resources: others that each actor asks Ray for, by the names that nodes were given.
        autoscaling: the cluster brings nodes as they are asked for: what it does not have yet is
            waited for, not refused.
        step_cpus: of each task that fetches and decodes, encodes or writes; None for a half.
        precision: of the network: ``auto`` is bf16 where the hardware has it, else fp32; fp16 is
            for GPUs.
        compile: the network, for each size of image and of batch that comes.
        perceptual: networks that score restored images too.
        shard_rows: rows per shard, the unit of work and of commit; None to fit the actors.
        picture: the files that restored pictures are written to.
        images: folder or URI that also receives each of these files.
        tile: side in pixels of what the network sees at once; images of more than tile x tile
            pixels are denoised in overlapping tiles.
        max_pixels: of a restored image; larger ones fail, for the memory of a process is bounded.
        fetch: how long and how often to try to fetch one file of a row.
        decode_seconds: that decoding one file of a row may take.
        max_manifest_bytes: that the manifest's rows may take, as values; None for 1 GiB, or 100
            times its files' size where this is more. Rows of CSV and JSON Lines are held in the
            driver's memory (reading takes about three times as much for a while), and may take a
            quarter of the machine's at most; those of Parquet and tar files are read in batches.
        allowed_schemes: of the URIs in the manifest's rows (``file`` for local paths, ``s3``,
            ``https``, ...); None for that of the manifest itself.
        allowed_hosts: that the manifest's rows may name files of by http and https although their
            addresses are not public (private, loopback, link-local): names, ``*.example.org`` for
            all names below it, addresses, networks such as ``10.0.0.0/8``. Public addresses need
            no entry, and neither do files that the job itself names.
    """

    manifest: Location
    columns: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict, examples=["{image: img, id: key}"]
    )
    output: Location
    mode: Mode = "restore"
    task: Annotated[AnyTask, Field(examples=["{kind: deblur, kernel: k.npy, noise_level: 0.05}"])]
    model: Annotated[Model, Field(examples=["builtin or {path: model.pt}"])] = Model()
    sampler: Annotated[Sampler, Field(examples=["{preset: ffhq-sr4}"])] = Sampler()
    samples: Annotated[int, Field(ge=1, le=1024)] = 1
    estimate: Estimate | None = None
    uncertainty: bool = False
    uncertainty_scale: Annotated[float, Field(gt=0, le=1000, examples=["3.5"])] | None = None
    keep_samples: bool = False
    channels: Channels | None = None
    range: Annotated[tuple[float, float], Field(examples=["[0, 4095]"])] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    actors: Actors | None = None
    batch_pixels: BatchPixels = "auto"
    gpus: Annotated[float, Field(ge=0, le=16)] | None = None
    cpus: Amount | None = None
    memory: Amount | None = None
    resources: dict[str, Amount] = Field(default_factory=dict, examples=["{name: 1}"])
    autoscaling: bool = False
    step_cpus: Amount | None = None
    precision: Precision = "auto"
    compile: bool = False
    perceptual: Annotated[Perceptual, Field(examples=["{inception: weights.pth}"])] = Perceptual()
    shard_rows: Annotated[int, Field(ge=1)] | None = None
    picture: Annotated[PictureFile, Field(examples=["webp or {format: webp, quality: 90}"])] = (
        PictureFile()
    )
    images: Location | None = None
    tile: Annotated[int, Field(ge=256, le=8192, multiple_of=64)] = TILE
    max_pixels: Annotated[int, Field(ge=1, le=2**30)] = 2**25
    fetch: Annotated[Fetch, Field(examples=["{timeout: 60, retries: 3}"])] = Fetch()
    decode_seconds: Seconds = DECODE_SECONDS
    max_manifest_bytes: Annotated[int, Field(ge=1)] | None = None
    allowed_schemes: Annotated[
        Annotated[tuple[Scheme, ...], Field(min_length=1)] | None,
        Field(examples=["[s3, https], in lower case"]),
    ] = None
    allowed_hosts: Annotated[tuple[Host, ...], Field(examples=["[localhost, 10.0.0.0/8]"])] = ()

    @model_validator(mode="after")
    def _consistent(self):
        if self.gpus and (self.gpus < 1e-4 or (self.gpus > 1 and self.gpus != int(self.gpus))):
            raise ValueError("gpus: a share of one GPU from 0.0001, or a whole number of them")
        if own := {"CPU", "GPU", "memory", "object_store_memory"} & self.resources.keys():
            raise ValueError(
                f"resources: {', '.join(sorted(own))}: Ray's own have keys of their own here "
                "(cpus, gpus, memory)"
            )
        if strange := self.columns.keys() - set(RENAMED):
            raise ValueError(
                f"columns: {', '.join(sorted(strange))}: a manifest has no such column of its own; "
                f"those that may be renamed are {', '.join(RENAMED)}"
            )
        if self.samples == 1:
            several = {
                "estimate": self.estimate not in (None, "sample"),
                "uncertainty": self.uncertainty,
                "uncertainty_scale": self.uncertainty_scale is not None,
                "keep_samples": self.keep_samples,
            }
            for name, asked in several.items():
                if asked:
                    raise ValueError(f"{name}: it takes several samples; set samples to 2 or more")
        if self.uncertainty_scale and not self.uncertainty:
            raise ValueError("uncertainty_scale: it goes with uncertainty: true")
        self._check_range()
        if self.channels == "luma" and not (self.task.is_linear and not self.task.reads_stored):
            raise ValueError(
                f"channels: luma does not go with {self.task.kind} of this kind, whose bounds are "
                "those of colours"
            )
        self.task.check(self.mode)
        if self.picture.range == "scene" and self.task.peak(self.mode) == 1:
            raise ValueError(
                f"picture.range: scene: nothing that {self.task.kind} restores here is brighter "
                "than white; declip finds what is, up to its ceiling"
            )
        method = self.sampler.asked
        if method not in (None, "diffpir") and not self.task.is_linear:
            raise ValueError(
                f"sampler.method: {method} has no data step for {self.task.kind}, which is not "
                "linear; leave it out, or give diffpir, which has one"
            )
        if method in RIVALS and self.task.is_compressed:
            raise ValueError(
                f"sampler.method: {method} has no data step for {self.task.kind} with then: jpeg, "
                "which is not linear; those that have one are diffpir and diffpir-spectral"
            )
        if method in RIVALS and self.task.noise is not None:
            raise ValueError(
                f"sampler.method: {method} takes one noise_level for each image, and no "
                "task.noise; those that do are diffpir and diffpir-spectral"
            )
        if self.sampler.save_steps and method in ("hqs", "daps"):
            raise ValueError(
                f"sampler.save_steps: {method} goes by noise levels and has no timesteps to choose "
                "from; leave it out, or take another method"
            )
        if self.takes_gradients and self.compile:
            raise ValueError(f"compile: {method} differentiates the network, which is not compiled")
        if self.model.factory and self.compile:
            raise ValueError(
                "compile: the network of a model's factory is not compiled here; do it there"
            )
        try:
            self.sampler_config(spectral=False)  # whether its schedule has the steps, a prior tells
        except ValueError as e:
            raise ValueError(f"sampler: {e}") from None
        return self

    def _check_range(self) -> None:
        if self.range is None:
            return
        (black, white), picture = self.range, self.picture
        if not black < white:
            raise ValueError("range: expected two numbers, black and white, the smaller one first")
        if self.task.reads_stored:
            raise ValueError(
                f"range: it does not go with {self.task.kind}, whose files have 8 bits"
            )
        if not picture.holds_arrays or picture.bits == 32:
            return
        most = 2**picture.bits - 1
        if black < 0 or white > most or white - black < LEAST_STEPS:
            raise ValueError(
                f"picture.bits: {picture.bits} bits hold whole numbers from 0 to {most}, which do "
                f"not suit the range [{black:g}, {white:g}]; write bits: "
                + ("16, or 32 for floating point" if picture.bits == 8 else "32 (floating point)")
            )

    @property
    def takes_gradients(self) -> bool:
        """Whether the method differentiates the network."""
        return takes_gradients(self.sampler.asked or "")

    def batch_pixels_on(self, *, gpu: bool) -> int:
        """``batch_pixels`` as a number, on a GPU or a CPU."""
        if self.batch_pixels != "auto":
            return self.batch_pixels
        pixels = BATCH_PIXELS["gpu" if gpu else "cpu"]
        # Where the network is differentiated, its activations are kept.
        return pixels // GRADIENT_SHARE if self.takes_gradients else pixels

    @property
    def has_own_levels(self) -> bool:
        """Whether an image's noise level decides which noise levels its sampling goes through."""
        traits = RIVALS.get(self.sampler.asked or "")
        return traits is not None and traits.own_levels

    @property
    def schemes(self) -> frozenset[str]:
        """The schemes that the manifest's rows may name files by."""
        if self.allowed_schemes is None:
            return frozenset({scheme_of(self.manifest)})
        return frozenset(scheme_of(f"{name}://") for name in self.allowed_schemes)

    @property
    def estimate_of(self) -> Estimate:
        """What is restored from several samples."""
        return self.estimate or "mean"

    def code(self) -> dict[str, str]:
        """Field -> ``module:factory``, of the user's own code that the job would run."""
        code = self.task_code()
        if self.model.factory:
            code["model.factory"] = self.model.factory
        if self.perceptual.features:
            code["perceptual.features"] = self.perceptual.features
        return code

    def task_code(self) -> dict[str, str]:
        """Of :meth:`code` what makes a measurement."""
        return {f"task.{field}": path for field, path in self.task.code().items()}

    def sampler_config(self, spectral: bool) -> SamplerConfig:
        """The sampler's settings, every default filled in.

        Args:
            spectral: whether the prior has an error spectrum.

        Raises:
            ConfigError: settings that do not go together.
        """
        defaults, asked = self.task.defaults(), self.sampler.method
        if asked in RIVALS:
            return self.sampler.resolve(self.task.rival_defaults(asked))
        usual = defaults.builtin if self.model.is_builtin else defaults.paper
        if asked == "diffpir-spectral" or (asked is None and spectral and defaults.spectral):
            usual = defaults.spectral_settings(self.sampler.nfe)
        return self.sampler.resolve(usual)

    def uncertainty_scale_of(self, config: SamplerConfig) -> float:
        """What the deviation of samples is multiplied with; 1 where nothing is known.

        Args:
            config: the sampler's settings.
        """
        if self.uncertainty_scale is not None:
            return self.uncertainty_scale
        own = self.model.is_builtin and config.method == "diffpir-spectral"
        return self.task.defaults().uncertainty_scale if own else 1.0

    def resolved(self, config: SamplerConfig) -> dict[str, Any]:
        """Everything that decides the result, every default filled in, as plain JSON values."""
        parts = {"mode", "model", "seed", "precision", "tile", "picture", "channels", "range"}
        if self.samples > 1:
            parts |= {"samples", "estimate", "uncertainty", "keep_samples"}
        spec = self.model_dump(mode="json", include=parts)
        if self.uncertainty:
            spec["uncertainty_scale"] = self.uncertainty_scale_of(config)
        # A run knows files by their content, and its diffusion by what that came to.
        for name in ("path", "config", "schedule", "prediction", "rescale_timesteps"):
            del spec["model"][name]
        return spec | {
            "task": self.task.identity(self.mode),
            "sampler": config.told(),
        }
