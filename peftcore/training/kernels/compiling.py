"""Compile the kernels on this machine, once, and load them.

Compiling takes a few seconds and happens in a process of its own, so that no trial's memory holds
what compiles. Where there is no compiler, training goes on without the kernels.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("kernels.cpp")
# The compiler of macOS comes without OpenMP: there the kernels run on one thread.
_THREADS = () if sys.platform == "darwin" else ("-fopenmp",)
FLAGS = ("-O3", "-march=native", "-fno-math-errno", *_THREADS)
# A compiler of C, such as CXX=gcc, links no library of C++ by itself. peft sets just that where it
# can't compile a kernel of BOFT's, and leaves it so.
_LINKED = () if sys.platform == "darwin" else (*_THREADS, "-lstdc++")
_PATIENCE = 300.0
"""Seconds that compiling may take."""


class NoKernels(Exception):
    """There are no kernels on this machine; the message says why, in a few words."""


@cache
def find_kernels() -> ctypes.CDLL | str:
    """Return the compiled kernels, or why there are none.

    They are compiled if this machine has not done so before; in one process it is tried once.
    """
    try:
        return _load()
    except NoKernels as why:
        return str(why)


def _load() -> ctypes.CDLL:
    path = _folder() / f"{_name()}.so"
    try:
        if not path.exists():
            _compile_to(path)
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise NoKernels(f"the compiled kernels can't be loaded: {error}") from error
    for name in ("sum_of_squares_float32", "sum_of_squares_bfloat16"):
        getattr(library, name).restype = ctypes.c_double
    library.use_threads(ctypes.c_int64(torch.get_num_threads()))
    return library


def _folder() -> Path:
    """Return where torch keeps what its extension loader compiles."""
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    return Path(given) if given else Path.home() / ".cache" / "torch_extensions"


def _name() -> str:
    """Return a name that changes with the source, the flags and the processor."""
    seen = hashlib.sha256(SOURCE.read_bytes())
    seen.update(" ".join(FLAGS).encode())
    seen.update(_processor().encode())
    return f"peftcore_kernels_{seen.hexdigest()[:16]}"


def _processor() -> str:
    """Return what tells processors apart that run other instructions."""
    described = {platform.machine(), platform.processor()}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        described |= {
            line for line in lines if line.startswith(("model name", "flags", "Features"))
        }
    return "\n".join(sorted(described))


def _compile_to(path: Path) -> None:
    """Compile in a folder of its own and move the result into place.

    Trials that begin at one time then each compile, and none waits for another's lock, which a
    killed one would leave behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # torch's loader calls ninja, which may be installed beside this interpreter alone.
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="peftcore-") as folder:
        # A session of its own, so that the compiler it started ends with it.
        compiling = subprocess.Popen(
            [sys.executable, "-m", __name__, _name(), folder],
            env={**os.environ, "PATH": search},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = compiling.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired as error:
            os.killpg(compiling.pid, signal.SIGKILL)
            compiling.communicate()
            raise NoKernels(f"compiling them took longer than {_PATIENCE:g} s") from error
        if compiling.returncode != 0:
            raise NoKernels(f"they can't be compiled here: {_reason(output)}")
        (Path(folder) / path.name).replace(path)


def _reason(output: str) -> str:
    """Return the line of a failed compilation that says the most."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line or "not found" in line]
    # What could be compiled but not loaded is told by the first of two exceptions.
    telling += [line for line in lines if "Error: " in line]
    return next(iter(telling), lines[-1] if lines else "the compiler said nothing")


def _compile(name: str, folder: str) -> None:
    from torch.utils.cpp_extension import load

    load(
        name=name,
        sources=[str(SOURCE)],
        extra_cflags=list(FLAGS),
        extra_ldflags=list(_LINKED),
        build_directory=folder,
        is_python_module=False,
    )


if __name__ == "__main__":
    _compile(*sys.argv[1:])
