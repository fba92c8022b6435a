"""ServiceSettings: the keys of `args` in a Serve config, checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, ValidationError, model_validator

from azaion_engine.settings import DetectorSettings

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a model's name must match: it is a part of paths and a label of metrics."""

RAW = "_raw"
"""Ends the name of the model of the Open Inference Protocol that takes the network's own input."""

VERSION_DIGITS = 12
"""Digits of a model file's SHA-256 that name a version of the model."""

_OF_ALL_MODELS = ("access", "require_ray_token")
"""Keys that a service has once, however many models it serves."""

RARELY_USED = "rarely_used"
"""Key of a model that shares its replicas with others, and of what these models have in common."""

_OF_REPLICAS = ("num_gpus", "replicas_per_gpu", "cpu_replicas", "autoscale")
"""Keys about the replicas, which models that are rarely used share."""


def model_of_protocol(name: str, models: Collection[str]) -> str:
    """Returns the model that a name of the Open Inference Protocol belongs to: its own, or with `_raw`.

    Args:
        name: The name; returned as it is if it belongs to none.
        models: The names of all models.
    """
    base = name.removesuffix(RAW)
    return base if name not in models and base in models else name


class Autoscale(BaseModel):
    """Autoscaling of GPU replicas with the load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_gpus: int = Field(default=1, ge=1, description="GPUs kept when nobody asks.")
    max_gpus: int = Field(..., ge=1, description="GPUs at most.")

    @model_validator(mode="after")
    def _ordered(self) -> Autoscale:
        if self.max_gpus < self.min_gpus:
            raise ValueError(f"max_gpus ({self.max_gpus}) is below min_gpus ({self.min_gpus})")
        return self


class AccessSettings(BaseModel):
    """Keys, without which nothing but probes and the page's own files is answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys_file: str = Field(
        ..., min_length=1, description="File of keys, made by `azaion keys add`; every node of the cluster needs it."
    )


class ServiceSettings(DetectorSettings):
    """A detector's settings, the number of its replicas, and their limits."""

    name: str | None = Field(
        default=None,
        pattern=MODEL_NAME,
        description="Name of the model in answers; default: the file's, without suffix.",
    )
    num_gpus: Literal["auto"] | StrictInt | StrictFloat = Field(
        default="auto",
        description="GPUs to use. `auto`: every GPU of the cluster when the application starts, which several models "
        "share evenly; with none, or with 0, replicas run on the CPU. A fraction, e.g. 0.5: that part of one GPU, "
        "whose memory is not divided.",
    )
    replicas_per_gpu: Literal["auto"] | StrictInt = Field(
        default="auto",
        description="Replicas that share one GPU, 1 to 16: several receive the pictures for one engine, which then "
        "lives in a process of its own. `auto`: half of the CPU cores that a GPU has on its node, 1 to 8.",
    )
    cpu_replicas: int = Field(default=1, ge=1, description="Replicas where no GPU is used.")
    autoscale: Autoscale | None = Field(default=None, description="GPU replicas follow the load; replaces num_gpus.")
    max_queue: int = Field(
        default=128,
        ge=1,
        description="Pictures that one replica holds at a time; one more is answered 503 with Retry-After.",
    )
    timeout_s: float = Field(
        default=30.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds for a body to arrive, and again for its answer; later is a 504.",
    )
    max_pictures: int = Field(default=32, ge=1, description="Pictures in one multipart request.")
    recent_pictures: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Pictures of the last requests, at most one a second, that each replica keeps in memory (64 MiB at "
        "most) to compare a new version of the model on them; 0: none.",
    )
    decode_threads: int | None = Field(
        default=None, ge=1, description="Threads that decode pictures; default: one a core."
    )
    require_ray_token: bool = Field(
        default=False, description="Refuse to serve on a Ray without token authentication, where others could run code."
    )
    access: AccessSettings | None = Field(
        default=None, description="Keys and their quotas; without it, none is needed."
    )

    @property
    def pictures_at_once(self) -> int:
        """Maximum pictures in one request: more than the queue holds could never all be answered."""
        return min(self.max_pictures, self.max_queue)

    @property
    def bodies_at_once(self) -> int:
        """Maximum bodies arriving at one replica: more than `max_queue`, as an arriving body needs no engine."""
        return 2 * self.max_queue

    @model_validator(mode="after")
    def _consistent(self) -> ServiceSettings:
        if self.num_gpus != "auto" and not (0 <= self.num_gpus <= 1 or (self.num_gpus > 1 and self.num_gpus % 1 == 0)):
            raise ValueError(
                f"num_gpus: expected 'auto', 0 and more, or a fraction between 0 and 1, given {self.num_gpus}"
            )
        if isinstance(self.replicas_per_gpu, int) and not 1 <= self.replicas_per_gpu <= 16:
            raise ValueError(f"replicas_per_gpu: expected 'auto' or 1 to 16, given {self.replicas_per_gpu}")
        if self.autoscale and self.num_gpus != "auto":
            raise ValueError("autoscale replaces num_gpus: leave one of them out")
        if self.batch_size is not None and self.max_queue < self.batch_size:
            raise ValueError(
                f"max_queue ({self.max_queue}) is below batch_size ({self.batch_size}): batches never fill"
            )
        if self.engine == "tensorrt" and self.num_gpus == 0:
            raise ValueError("engine: tensorrt needs GPUs, and num_gpus is 0")
        if self.engine == "onnx" and (self.autoscale or self.num_gpus not in ("auto", 0)):
            raise ValueError("engine: onnx runs on the CPU; leave num_gpus and autoscale out and set cpu_replicas")
        return self


class RarelyUsedSettings(BaseModel):
    """The replicas that models with `rarely_used: true` share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loaded: int = Field(default=3, ge=1, le=1000, description="Models that a replica has in memory at a time.")
    gpu_memory: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Part of a GPU's memory in use, by all processes, up to which a replica keeps more than one model.",
    )
    num_gpus: Literal["auto"] | StrictInt | StrictFloat | None = Field(
        default=None,
        description="GPUs to use, with one replica each, as `num_gpus` of a model; default: that beside `models`.",
    )
    cpu_replicas: int = Field(default=1, ge=1, description="Replicas where no GPU is used.")


class ApplicationSettings(ServiceSettings):
    """The `args` of a Serve config: one model's settings, or those of several models by name."""

    models: dict[Annotated[str, Field(pattern=MODEL_NAME)], dict[str, Any]] | None = Field(
        default=None,
        description="Several models instead of `model`: name → its settings, at least `model`. The keys beside "
        "`models` are the defaults of each. With `rarely_used: true` a model is loaded when a request needs it.",
    )
    rarely_used: RarelyUsedSettings = Field(
        default=RarelyUsedSettings(), description="The replicas that models with `rarely_used: true` share."
    )

    @model_validator(mode="after")
    def _each_model_valid(self) -> ApplicationSettings:
        if RARELY_USED in self.model_fields_set and not self.rare_models:
            raise ValueError(f"{RARELY_USED}: is for models with `{RARELY_USED}: true`, and there are none")
        if self.models is None and "models" not in self.model_fields_set:
            return self
        if not self.models:  # an empty block is null, and no wish for the one default model
            raise ValueError("models: expected at least one, given none")
        for key in ("model", "model_sha256", "name"):
            if key in self.model_fields_set:
                raise ValueError(f"{key}: belongs to one model; give it below models")
        for name, given in self.models.items():
            if name.removesuffix(RAW) != name and name.removesuffix(RAW) in self.models:
                raise ValueError(
                    f"models.{name}: is the name of the raw input of {name.removesuffix(RAW)}; choose another"
                )
            for key in (*_OF_ALL_MODELS, "models"):
                if key in given:
                    raise ValueError(f"models.{name}.{key}: is the same for all models; give it beside models")
            if "name" in given:
                raise ValueError(f"models.{name}.name: the name is {name!r}")
            if "model" not in given:
                raise ValueError(f"models.{name}.model: expected the path of an ONNX file, or demo")
            if not isinstance(given.get(RARELY_USED, False), bool):
                raise ValueError(
                    f"models.{name}.{RARELY_USED}: expected true or false, given {str(given[RARELY_USED])[:80]}"
                )
            for key in _OF_REPLICAS:
                if key in given and given.get(RARELY_USED):
                    raise ValueError(
                        f"models.{name}.{key}: models that are rarely used share their replicas; "
                        f"give it below {RARELY_USED} beside models"
                    )
            _checked(("models", name), partial(self.of_model, name))
        if self.rare_models:
            _checked((RARELY_USED,), self.of_rare_models)
        return self

    @property
    def rare_models(self) -> list[str]:
        """The models that share their replicas and are loaded when a request needs them."""
        return [name for name, given in (self.models or {}).items() if given.get(RARELY_USED)]

    def of_model(self, name: str) -> ServiceSettings:
        """Returns the settings of one of several models.

        Args:
            name: A key of `models`.
        """
        assert self.models is not None
        own = {key: value for key, value in self.models[name].items() if key != RARELY_USED}
        shared = self._of_each()
        if self.models[name].get(RARELY_USED):
            shared = {key: value for key, value in shared.items() if key not in _OF_REPLICAS}
        return ServiceSettings(**{**shared, **own, "name": name})

    def of_rare_models(self) -> ServiceSettings:
        """Returns the settings of the replicas that the models share which are rarely used; its `model` is none."""
        rare, shared = self.rarely_used, self._of_each()
        given: dict[str, Any] = {"replicas_per_gpu": 1, "cpu_replicas": rare.cpu_replicas, "autoscale": None}
        if rare.num_gpus is not None:
            given["num_gpus"] = rare.num_gpus
        if all(self.of_model(name).engine == "onnx" for name in self.rare_models):
            given = {"num_gpus": 0, **given, "engine": "onnx"}
        return ServiceSettings(**{**shared, **given})

    def of_the_only_model(self) -> ServiceSettings:
        """Returns the settings of a service with one model."""
        return ServiceSettings(**self._of_each())

    def _of_each(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True, exclude={"models", RARELY_USED})


def _checked(where: tuple[str, ...], settings: Callable[[], ServiceSettings]) -> None:
    """Raises a ValueError that names the place, if settings are not valid."""
    try:
        settings()
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in (*where, *first["loc"]))
        raise ValueError(f"{path}: {first['msg']}, given {str(first['input'])[:80]}") from None
