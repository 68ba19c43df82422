"""Plan of a simulation: scans, their shape and physics, and the identity of the content."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.datasets._folders import check_disk
from benchmark.datasets._identity import Content, plain
from benchmark.errors import ConfigError

SPLITS = ("train", "val", "test")
FORMAT = 1  # of plans, files and manifests
LEAST = (5, 64, 64)  # minimum shape of a scan, in voxels
MAX_SCANS = 10_000
# After a change of physics: the new digest (`digest.py`), which alone names the new content: named_by=(digest,).
CONTENT = Content(
    prefix="lif",
    digest="38c3662884e5e5bfe9bac232261befbbb9e5fe369dfd9d6f7699542f57ff755f",
    named_by=("790948b40ece8e55aea1618649ee666acb35fb7369898d0b0295538d86efdaf3",),
)


@dataclass(frozen=True)
class Physics:
    """Densities, optics and camera. Placeholders until they are calibrated on real scans; see docs/lif_sim.md."""

    # Reactions
    events_per_mm3: float = 1200.0  # mean of a scan's density, which is lognormal
    density_spread: float = 0.35  # its logarithm's standard deviation over scans
    thermal_share: float = 0.45  # of reactions that are captures on lithium-6: alpha and triton back to back
    recoil_kev: float = 450.0  # mean energy of recoils, exponential
    recoil_least_kev: float = 30.0
    fluorine_share: float = 0.6  # of recoils; the others are lithium
    kink_share: float = 0.12  # of tritons that scatter once by a large angle
    beading: float = 0.55  # standard deviation of the logarithm of the light yield along a track
    bead_um: float = 1.6  # its correlation length
    # Optics
    counts_per_kev: float = 11.0  # camera counts of a deposited keV, all voxels together; its scans differ
    gain_spread: float = 0.2  # of its logarithm over scans
    psf_um: float = 0.85  # standard deviation across, in y and x: a width of 2 um at half height
    sheet_um: float = 6.5  # standard deviation of the light sheet in z, at its waist
    sheet_growth: float = 2.2  # of that at the far edge in x, over the waist's
    halo_share: float = 0.12  # of the light, in a halo of halo_um
    halo_um: float = 4.0
    # Background and camera, in counts
    offset: float = 100.0
    background: float = 420.0  # at the waist, its scans differ by a fifth
    gradient: float = 3.0  # change along x over a scan, from attenuation and the sheet's width
    stripes: float = 0.35  # standard deviation of absorption stripes along x
    periodic: float = 0.3  # amplitude of each of the periodic patterns
    cloud: float = 0.55  # standard deviation of slow patches, some 10 voxels wide
    read_noise: float = 1.5
    hot_pixels: float = 4.0  # mean number of a scan: the camera's, so the same in every slice
    dust: float = 3.0  # mean number of dust spots of a scan, shadows along x behind them


@dataclass(frozen=True)
class Plan:
    """Description of a data set. Equal plans give equal scans on any number of workers."""

    scans: Mapping[str, int] = field(default_factory=lambda: dict(zip(SPLITS, (6, 2, 3), strict=True)))
    shape: tuple[int, int, int] = (30, 1120, 1080)  # z, y, x voxels of a scan
    voxel_um: tuple[float, float, float] = (7.0, 0.425, 0.425)
    seed: int = 1
    physics: Physics = field(default_factory=Physics)

    def describe(self) -> dict[str, Any]:
        """JSON-able statement of everything that determines the files."""
        return CONTENT.describe({
            "format": FORMAT,
            "scans": dict(self.scans),
            "shape": list(self.shape),
            "voxel_um": list(self.voxel_um),
            "seed": self.seed,
            "physics": plain(dataclasses.asdict(self.physics)),
        })  # fmt: skip

    def revision(self) -> str:
        """Name of the content: `lif-<first 12 hex digits>` of the description's hash."""
        return CONTENT.revision(self.describe())

    def aliases(self) -> tuple[str, ...]:
        """Names that earlier versions gave to the same content."""
        return CONTENT.aliases(self.describe())

    def pieces(self) -> list[Piece]:
        """The scans, in order."""
        return [Piece(split, number) for split in SPLITS for number in range(self.scans.get(split, 0))]


class Piece(NamedTuple):
    """One scan: the unit of work and of resuming."""

    split: str
    number: int

    @property
    def n_events(self) -> int:
        """Scans in it."""
        return 1

    @property
    def name(self) -> str:
        """Of the scan."""
        return f"{self.split}{self.number:02d}"

    def path(self, work: Path) -> Path:
        """The file that exists once the scan is finished."""
        return work / f"{self.name}.json"


def check_plan(plan: Plan, out: Path) -> None:
    """Refuse what cannot be simulated or does not fit on the disk. Raises ConfigError."""
    total = sum(plan.scans.values())
    if not 1 <= total <= MAX_SCANS or min(plan.scans.values()) < 0:
        raise ConfigError(
            f"{dict(plan.scans)} scans were requested. From 1 to {MAX_SCANS:,} in all were expected. Correct the "
            f"numbers."
        )
    if any(n < least for n, least in zip(plan.shape, LEAST, strict=True)):
        raise ConfigError(
            f"Scans of {' x '.join(map(str, plan.shape))} voxels were requested. At least "
            f"{' x '.join(map(str, LEAST))} were expected. Correct the shape."
        )
    voxels = plan.shape[0] * plan.shape[1] * plan.shape[2]
    check_disk(total, 2.1 * voxels * total, out)
