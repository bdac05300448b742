"""Freed memory that a process keeps, as PyTorch's allocator keeps it on a GPU.

The C library returns every block of 32 MiB or more to the system when it is freed, and the system clears it page by
page when it is asked for again: activations of an update, and gradients as large as the embedding.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The names of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within it, this process keeps what its main thread frees, to use it again; afterwards it returns all of that.

    On Linux with the GNU C library; elsewhere nothing changes. What `MALLOC_...` variables of the environment say does
    not count any more.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, -1)  # Never.
    try:
        yield
    finally:
        # Where the library's own adapting to large blocks ends.
        library.mallopt(M_MMAP_MAX, 2**16)
        library.mallopt(M_MMAP_THRESHOLD, 2**25)
        library.mallopt(M_TRIM_THRESHOLD, 2**26)
        library.malloc_trim(0)
