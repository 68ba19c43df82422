"""What the file of a run or of a search for a learning rate may hold, checked when it is read.

Files come from other people: a list in the place of a number, or a number of 400 digits, is refused here, so that no
table, plot or page meets it. `Run` and `Search` name the values that reports use; what else a file holds only has to be
plain (`first_fault`). The values themselves are not changed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from benchmark.metrics.families import FAMILIES

MAX_SIZE = 100_000  # of a model's width, depth ...: limits what a file can make its reader allocate
MAX_TEXT = 20_000  # characters of a text
MAX_KEY = 300
_LARGEST = 2**63
# characters that act on a terminal, or turn the direction of a text
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CODE = re.compile(r"\.pyw?$", re.IGNORECASE)

Count = Annotated[int, Field(ge=0, lt=_LARGEST)]
Number = Annotated[float, Field(ge=-1e100, le=1e100)]  # squares of it are finite
Label = Annotated[str, StringConstraints(pattern=r"^[^$\\]+$", max_length=100)]  # a class; no formula of matplotlib's
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.+-]*$", max_length=100)]  # part of a file's name
Words = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Plain = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, protected_namespaces=())


class Score(_Part):
    """A score with its 95% interval; null where it is undefined."""

    value: Number | None
    low: Number | None = None
    high: Number | None = None


Scores = dict[Label, Score]


class Details(_Part):
    """Further values of a family of scores."""

    overall: Plain = {}


class Calibration(_Part):
    """A reliability diagram: a value for each bin of confidence."""

    ece: Score
    rows: list[Number]
    confidence: list[Number | None]
    accuracy: list[Number | None]


class Metrics(_Part):
    """Scores of the test events."""

    overall: Scores = {}
    details: Details = Field(default_factory=Details)
    confusion: list[list[Number]] | None = None  # true x predicted class
    calibration: Calibration | None = None
    paper_protocol: dict[Label, Number | None] = {}
    n_tokens: Count = 0
    n_independent: Count = 0  # events; older records do not say


class PerEvent(_Part):
    """The packed counts of each event; `benchmark.records.counts` unpacks them."""

    encoding: str
    shape: Annotated[list[Count], Field(min_length=1, max_length=8)]
    data: str
    event_ids_sha256: Label | None = None
    event_ids: str | None = None
    units: str | None = None  # the independent event of each


class Optim(_Part):
    """The optimiser's settings that tables state."""

    lr: Number
    optimiser: Name = "adamw"  # older records: AdamW
    betas: Annotated[list[Number], Field(min_length=2, max_length=2)] = [0.9, 0.999]
    weight_decay: Number = 0.0
    clip_norm: Number | None = None
    schedule: Label = "cosine"
    final_lr_fraction: Number = 0.0
    warmup_fraction: Number = 0.0
    decay: Label = "weights"
    backbone_lr_scale: Number = 1.0


class Train(_Part):
    """The training's settings that tables state."""

    steps: Count = 0
    batch_size: Count = 1
    rotation: Label = "none"


class Loss(_Part):
    """The loss, as tables state it."""

    kind: Label
    energy_power: Number = 0.0
    gamma: Number = 0.0


class ConfigTask(_Part):
    """The task, as a run's configuration holds it."""

    name: Name
    loss: Loss | None = None


class Probe(_Part):
    """Settings of a token probe."""

    c: Number
    protocol: Name = "clean"


class Config(_Part):
    """The resolved configuration of a run."""

    model: Name
    dataset: Name | None = None
    preset: Name
    mode: Name
    labels: Count | None
    draw: Count
    seed: Count
    checkpoint: Words | None = None
    preprocess: Plain
    model_settings: Plain = Field(alias="model_config")
    train: Train
    optim: Optim | None = None
    task: ConfigTask | None = None
    probe: Probe | None = None
    pretrain: Plain | None = None
    pretrain_optim: Plain | None = None
    data: Plain | None = None
    weights: Plain | None = None
    pretext: Name | None = None
    pretext_config: Plain | None = None

    @field_validator("model", "dataset", "pretext")
    @classmethod
    def _names_no_file(cls, name: str | None) -> str | None:
        if name is not None and _CODE.search(name):
            raise ValueError("the name of a model, pretext or data set was expected, not a file of code")
        return name

    @field_validator("model_settings")
    @classmethod
    def _can_be_allocated(cls, settings: Plain) -> Plain:
        if largest_number(settings) > MAX_SIZE:
            raise ValueError(f"a size of the model is above {MAX_SIZE}")
        return settings


class Task(_Part):
    """The task of a run."""

    name: Name
    version: Count
    classes: Annotated[list[Label], Field(max_length=1000)]
    primary_metric: Label
    metrics: Label = "segmentation"  # older records
    smaller_is_better: bool = False

    @field_validator("metrics")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in FAMILIES:
            raise ValueError(f"one of {', '.join(FAMILIES)} was expected")
        return name

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: list[str]) -> list[str]:
        if len(set(classes)) < len(classes):
            raise ValueError("two classes have one name")
        return classes


class Data(_Part):
    """The data of a run."""

    name: Name
    revision: Label
    files: dict[str, str] = {}


class Events(_Part):
    """Numbers of events."""

    labelled: Count | None  # null: not known of a checkpoint
    test: Count
    unlabelled: Count | None = None
    selection: Count | None = None
    split: Name | None = None  # that was scored; older records name it by `excluded` alone
    excluded: dict[str, dict[str, Count]] = {}


class Pretraining(_Part):
    """The pre-training that a run started from; null where it is not known."""

    events: Count | None = None
    steps: Count | None = None


class ProbeFit(_Part):
    """The tokens of a probe."""

    n_tokens: Count


class History(_Part):
    """Training curves: a value for each interval of steps."""

    step: list[Count] = []
    loss: list[Number | None] = []
    grad_norm: list[Number | None] = []
    counts: list[list[list[Number]]] = []  # (intervals, classes, classes)


class Training(_Part):
    """What training did."""

    steps: Count | None = None
    first_loss: Number | None = None
    last_loss: Number | None = None
    probe: ProbeFit | None = None
    pretraining: Pretraining | None = None
    trained_on: Plain = {}
    history: History = Field(default_factory=History)

    @field_validator("history")
    @classmethod
    def _fits(cls, history: History) -> History:
        n = len(history.step)
        if not (len(history.loss) == len(history.grad_norm) == n) or len(history.counts) not in (0, n):
            raise ValueError("its curves have different lengths")
        rows, columns = {len(m) for m in history.counts}, {len(row) for m in history.counts for row in m}
        if history.counts and (rows != columns or len(rows) != 1):
            raise ValueError("its counts are no square matrices of one size")
        return history


class Resources(_Part):
    """What the run cost; a value that was not measured is absent."""

    n_parameters: Count = 0
    wall_s: Number = 0.0  # of the whole command
    prepare_s: Number = 0.0  # until training: opening, simulating and packing the events
    pretrain_s: Number = 0.0  # by the record of the pre-training, which may have run before
    train_s: Number = 0.0  # of all steps, those before a resume included; in older records from the command's start on
    score_s: Number = 0.0  # saving and scoring the weights
    predict_events_per_s: Number = 0.0
    peak_memory_bytes: Count = 0
    flops_per_event: Number = 0.0
    energy_j: Number = 0.0


class Environment(_Part):
    """The machine and the code."""

    device: Label | None = None
    device_name: Label | None = None
    precision: Label | None = None
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    processes: Annotated[int, Field(ge=1, le=100_000)] | None = None
    commit: Label | None = None
    wheel_sha256: Label | None = None
    dirty: bool | None = None
    versions: dict[str, str] | None = None


class Run(_Part):
    """The record of a run."""

    fingerprint: Name
    status: Literal["finished", "stopped", "failed"]
    created: Label
    command: list[Words]
    config: Config
    task: Task
    dataset: Data
    events: Events
    subset_sha256: Words
    metrics: Metrics = Field(default_factory=Metrics)
    per_event: PerEvent | Annotated[dict[str, Any], Field(max_length=0)] = {}
    training: Training = Field(default_factory=Training)
    resources: Resources = Field(default_factory=Resources)
    environment: Environment = Field(default_factory=Environment)
    error: Words | None = None


class Trial(_Part):
    """One rate of a search; all but these three are null where it failed."""

    rate: Annotated[float, Field(gt=0, le=1e100)]
    status: Literal["finished", "failed"]
    error: Words | None
    score: Score | None
    f1: dict[Label, Number | None] | None
    steps: Count | None
    first_loss: Number | None
    last_loss: Number | None
    grad_norm: Number | None
    trained: bool | None
    wall_s: Number | None


class SearchEvents(_Part):
    """Numbers of events of a search."""

    labelled: Count
    selection: Count


class SearchConfig(Config):
    """The configuration of a trial."""

    optim: Optim

    @field_validator("train")
    @classmethod
    def _has_steps(cls, train: Train) -> Train:
        if not train.steps:
            raise ValueError("the number of steps is missing")
        return train


class Search(_Part):
    """The record of a search for a learning rate."""

    fingerprint: Name
    created: Label
    command: list[Words]
    config: SearchConfig
    task: Task
    dataset: Data
    events: SearchEvents
    subset_sha256: Words
    code_sha256: Words
    rates: Annotated[list[Annotated[float, Field(gt=0, le=1e100)]], Field(min_length=1, max_length=10_000)]
    trials: list[Trial]
    best_rate: Number | None
    at_edge: bool
    environment: Environment


class PretrainingSettings(_Part):
    """The settings that weights are compared by."""

    model: Name
    preset: Name
    model_settings: Plain = Field(alias="model_config")
    preprocess: Plain
    task: Plain
    pretrain: Train
    pretext: Name | None = None
    pretext_config: Plain | None = None


class PretrainingProbe(_Part):
    """Scores of a probe during pre-training: one dictionary for each, `step` among its values."""

    scores: list[dict[Label, Number | None]] = []


class PretrainingRecord(_Part):
    """The record of a pre-training, beside its weights."""

    created: Label
    fingerprint: Name
    weights_sha256: Name
    config: PretrainingSettings
    dataset: Data
    events: Count
    steps: Count
    wall_s: Number
    seed: Count
    resumed_at: Count = 0
    environment: Environment
    history: dict[Label, list[Number | None]] = {}
    probe: PretrainingProbe = Field(default_factory=PretrainingProbe)

    @field_validator("history")
    @classmethod
    def _fits(cls, history: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if len({len(values) for values in history.values()}) > 1:
            raise ValueError("its curves have different lengths")
        return history


def fault(schema: type[Run | Search | PretrainingRecord], values: Mapping[str, Any]) -> str | None:
    """Where and how values do not fit: `field: what is wrong`; None where they do."""
    packed = values.get("per_event")
    rest = {k: v for k, v in values.items() if k != "per_event"} if isinstance(packed, dict) else values
    found = first_fault(rest)
    if found is not None:
        return found
    try:
        schema.model_validate(values)
    except ValidationError as error:
        return _describe(error)
    return None


def rows_fault(section: str, rows: Any) -> str | None:
    """As `fault`, of a section of scores with a row per class or range: row -> score -> {value, low, high}."""
    try:
        _Rows.model_validate({"rows": rows})
    except ValidationError as error:
        return _describe(error, "metrics", section, skip=1)
    return None


class _Rows(_Part):
    rows: dict[Label, Scores]


def _describe(error: ValidationError, *before: str, skip: int = 0) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{_place((*before, *first['loc'][skip:]))}: {first['msg'].removeprefix('Value error, ')}"


def _place(keys: tuple[int | str, ...]) -> str:
    """`metrics.overall.macro_f1`."""
    return joined([str(key) for key in keys if key not in ("PerEvent", "dict[any,any]")], ".")


def joined(names: Sequence[str], separator: str = ", ") -> str:
    """Names from a file for a message: shortened, without characters that act on a terminal."""
    return separator.join(UNSEEN.sub("?", name)[:60] for name in names)[:200]


def first_fault(values: Mapping[str, Any]) -> str | None:
    """The first value that no plain record holds: a number beyond 64 bits, a text too long or with control characters.

    Returns `field: what is wrong`, or None.
    """
    for section, content in values.items():
        stack = [content]
        while stack:
            value = stack.pop()
            kind = type(value)
            if kind is dict:
                problem = next((p for p in map(_text_fault, value) if p), None)
                problem = problem or ("a name is too long" if any(len(k) > MAX_KEY for k in value) else None)
                stack += value.values()
            elif kind is list:
                stack += value
                continue
            elif kind is str:
                problem = _text_fault(value)
            elif kind is int:
                problem = None if -_LARGEST <= value < _LARGEST else "a number has more than 64 bits"
            elif kind is float:
                problem = None if math.isfinite(value) else "a number is not finite"
            else:
                continue
            if problem:
                return f"{_place((section,))}: {problem}"
    return None


def _text_fault(text: str) -> str | None:
    if len(text) > MAX_TEXT:
        return f"a text has more than {MAX_TEXT} characters"
    return "a text has control characters" if UNSEEN.search(text) else None


def largest_number(value: Any) -> float:
    """The largest absolute number among nested settings."""
    if isinstance(value, Mapping | list):
        return max(map(largest_number, value.values() if isinstance(value, Mapping) else value), default=0.0)
    return abs(value) if isinstance(value, int | float) else 0.0
