"""Compiles kernels for a real card, without one: a script, since a process that interprets kernels cannot compile them.

Reads a list of launches (see `test_cuda_compiles.py`) as JSON from its input and prints, for each, the bytes of shared
memory of a program and of stack of a thread (what does not fit into registers), or what went wrong.
"""

import json
import re
import subprocess
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.errors import TritonError


def memory(launch, capability):
    """Bytes of shared memory, and of stack."""
    kernel = getattr(import_module(launch["module"]), launch["kernel"])
    names = list(kernel.arg_names)
    constants = {(names.index(name),): value for name, value in launch["constants"].items()}
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in launch["aligned"]}
    signature = {name: launch["types"].get(name, "constexpr") for name in names}
    source = ASTSource(kernel, signature, constants, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch["options"])
    return made.metadata.shared, stack(made.asm["cubin"])


def stack(binary):
    """Bytes of stack of compiled code."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        told = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    return int(re.search(r"STACK:(\d+)", told.stdout)[1])


def result(launch, capability):
    """The bytes, or the error's text."""
    try:
        return memory(launch, capability)
    except (TritonError, AttributeError, TypeError, ValueError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    capability = int(sys.argv[1])
    print(json.dumps([result(launch, capability) for launch in json.load(sys.stdin)]))
