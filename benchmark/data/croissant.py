"""A dataset as Croissant metadata: JSON-LD that catalogues and loaders of datasets read.

Croissant 1.0 with the responsible-AI vocabulary 1.0 of MLCommons (docs.mlcommons.org/croissant). Files are named as
they lie in the folder of the dataset, with their SHA-256.
"""

from __future__ import annotations

import mimetypes
import re
from typing import Any

from benchmark import tasks
from benchmark.contracts import Dataset

FORMATS = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0")
_TYPES = {".h5": "application/x-hdf5", ".npy": "application/octet-stream", ".root": "application/octet-stream",
          ".tif": "image/tiff", ".toml": "application/toml"}  # fmt: skip
_REAL = re.compile(r"[xyz]$|energy$|volume$|log_|fractions$")  # names of columns that hold no whole numbers
_TERMS = (
    "citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo", **{term: f"cr:{term}" for term in _TERMS},
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
}  # fmt: skip


def croissant(dataset: Dataset) -> dict[str, Any]:
    """The metadata of a dataset that is on this machine."""
    info = dataset.info
    is_simulated = info.name.endswith("-sim")
    files = [_file(name, digest) for name, digest in sorted(dataset.files.items())]
    columns = [("event_id", "name of the event, the same on every machine"), *_measured(dataset), *info.labels.items()]
    fields = [_field(name, meaning, files) for name, meaning in columns]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": info.name,
        "description": info.summary,
        "conformsTo": list(FORMATS),
        "license": info.licence,
        "citeAs": info.citation,
        "version": dataset.revision,
        "isLiveDataset": False,
        "rai:dataCollection": "Simulated." if is_simulated else "As its publication describes it.",
        "rai:dataLimitations": "Scores compare models with each other; they replace none on data of an experiment.",
        "rai:dataUseCases": f"Training and scoring of models for {', '.join(info.tasks)}.",
        "rai:personalSensitiveInformation": "None: particle interactions.",
        "rai:hasSyntheticData": is_simulated,
        "distribution": files,
        "recordSet": [{
            "@type": "cr:RecordSet", "@id": "points", "name": "points",
            "description": "a row for each point of an event, as the suite reads it", "field": fields,
        }],
    }  # fmt: skip


def _measured(dataset: Dataset) -> list[tuple[str, str]]:
    """Name and meaning of what was measured of a point, or of a volume."""
    info = dataset.info
    if tasks.task(info.tasks[0]).data == "volumes":
        return [("volume", f"brightness of voxels (Z, Y, X), each a {info.frame.unit}")]
    axes = [(axis, f"coordinate of a point; one is a {info.frame.unit}") for axis in "xyz"]
    return [*axes, ("energy", f"measured energy of a point, {info.energy_unit}")]


def _file(name: str, digest: str) -> dict[str, Any]:
    suffix = f".{name.rsplit('.', 1)[-1]}" if "." in name else ""
    kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    held = {"sha256": digest} if re.fullmatch(r"[0-9a-f]{64}", digest) else {"description": f"digest {digest}"}
    return {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "encodingFormat": kind, **held}


def _field(name: str, meaning: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    kind = "sc:Text" if name == "event_id" else "sc:Float" if _REAL.match(name) else "sc:Integer"
    source = (
        {"source": {"fileObject": {"@id": files[0]["@id"]}, "extract": {"fileProperty": "content"}}} if files else {}
    )
    described = {"@type": "cr:Field", "@id": f"points/{name}", "name": f"points/{name}", "description": meaning}
    return {**described, "dataType": kind, **source}
