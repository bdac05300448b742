"""Memory that is freed is there again, and goes back to the system afterwards."""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs the GNU C library"
)

# In a process of its own, since it is about the main thread, where tests need not run.
FAULTS = """
from resource import RUSAGE_SELF, getrusage
import torch
from latentcot.speed.memory import kept_memory

def faults():
    torch.ones(2**24)
    before = getrusage(RUSAGE_SELF).ru_minflt
    torch.ones(2**24 - 2**10)  # Its place needs room to be aligned as well.
    return getrusage(RUSAGE_SELF).ru_minflt - before

first = faults()
with kept_memory():
    kept = faults()
print(first, kept, faults())
"""


def test_large_blocks_are_cleared_once() -> None:
    """64 MiB of pages, when as much was freed right before: before, within, and after."""
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, kept, after = map(int, run.stdout.split())
    if before < 30:  # Even if they are of 2 MiB.
        pytest.skip("the system does not count pages")
    assert kept < before / 4
    assert after > before / 2
