"""`Prepared`: a request with its configuration, machine and dataset, resolved once."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from benchmark import registry
from benchmark.contracts import Dataset, Inputs, Model, ModelSpec
from benchmark.data.preparation import model_inputs
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import BenchmarkError
from benchmark.hardware.distributed import after_first
from benchmark.hardware.machine import Machine, choose_hardware
from benchmark.packages import missing_packages
from benchmark.runs.config import Request, RunConfig
from benchmark.runs.execution import Execution, machine_for
from benchmark.runs.fingerprint import Identity, model_code
from benchmark.runs.modes import check_read_out
from benchmark.runs.resolve import resolve
from benchmark.seeding import seed_from


@dataclass(frozen=True)
class Prepared:
    """A request with its dataset opened and its machine set up: the input of training and scoring."""

    identity: Identity
    execution: Execution  # with the device and the threads in use
    machine: Machine
    dataset: Dataset
    started: float = field(default_factory=time.monotonic)  # s; time limits count from here

    @property
    def config(self) -> RunConfig:
        """The resolved configuration."""
        return self.identity.config

    @property
    def spec(self) -> ModelSpec:
        """The model's specification."""
        return self.identity.spec

    @property
    def device(self) -> str:
        """Torch device: cpu or cuda."""
        return self.identity.device

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the result."""
        return self.identity.fingerprint(self.dataset.revision)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprint, and those of the same result under earlier names of the same events."""
        return self.identity.fingerprints(self.dataset.revision)

    @property
    def data_inputs(self) -> Inputs:
        """The columns of the data."""
        return model_inputs(self.config.preprocess, self.dataset.info.frame)

    @property
    def inputs(self) -> Inputs:
        """The model's description of its data: the data's columns, and those of the pretext."""
        return model_inputs(self.config.preprocess, self.dataset.info.frame, self.config.pretext)

    @property
    def resume(self) -> bool:
        """Whether to resume from the training states of an interrupted attempt."""
        return self.execution.resume and not self.execution.force

    @property
    def deadline(self) -> float | None:
        """When training has to stop, in seconds of `time.monotonic()`; None: never."""
        limit = self.execution.max_minutes
        return None if limit is None else self.started + 60 * limit

    @property
    def environment(self) -> dict[str, Any]:
        """The machine, as records hold it."""
        return self.machine.description

    @property
    def source(self) -> str:
        """The dataset, for messages: `lartpc-sim (sim-ba595627f976)`."""
        return f"{self.dataset.info.name} ({self.dataset.revision})"

    @cached_property
    def train(self) -> EventSet:
        """All usable events of the training split."""
        return self.events("train")

    def events(self, split: str) -> EventSet:
        """All usable events of a split. Raises DataError."""
        return event_set(self.dataset, split, self.config.task, self.config.preprocess)

    def build_model(self) -> Model:
        """The model with this seed's initial weights, before pre-training; a torch model on its device."""
        from benchmark.contracts.torch_model import TorchModel

        model = first_model(self.identity, self.inputs)
        return model.to(self.device) if isinstance(model, TorchModel) else model

    def with_config(self, config: RunConfig) -> Prepared:
        """A copy with other settings of model or training."""
        return dataclasses.replace(self, identity=dataclasses.replace(self.identity, config=config))


def identify(request: Request, device: str) -> Identity:
    """Identity of a run, without opening its data. Raises BenchmarkError for a run that is not possible."""
    config = resolve(request)
    spec = registry.model_spec(request.model)
    chosen_device, precision = choose_hardware(device, config.train.precision)
    reason = missing_packages(spec.extras) or spec.skip(config.task, chosen_device)
    if reason:
        raise BenchmarkError(
            f"{spec.name} cannot run here: {reason}. Another model or device was expected. "
            f"Type `python -m benchmark list models`."
        )
    frame = registry.dataset_spec(request.dataset or config.dataset).info.frame
    check_read_out(spec, config, model_inputs(config.preprocess, frame, config.pretext))
    pretext = None if config.pretext is None else request.pretext or config.pretext
    return Identity(request, config, spec, chosen_device, precision, model_code(request.model, pretext))


def first_model(identity: Identity, inputs: Inputs) -> Model:
    """The model with the weights that its seed starts from, pre-training aside; seeds torch."""
    import torch

    config = identity.config
    torch.manual_seed(seed_from("weights", config.model, config.seed))
    return identity.spec.build_model(config.model_config, inputs, config.task)


def prepare(identity: Identity, execution: Execution) -> Prepared:
    """Set up torch, connect the processes of this command, and open the dataset, which may simulate or check it first.

    Raises ConfigError for an execution that is not possible, DataError for data that cannot be read.
    """
    started = time.monotonic()
    config = identity.config
    machine = machine_for(execution, identity.device, identity.precision)
    with after_first():
        dataset = registry.dataset_spec(config.dataset).open(config.data, execution.data)
    carried_out = dataclasses.replace(execution, device=machine.device, threads=machine.threads)
    return Prepared(identity, carried_out, machine, dataset, started)
