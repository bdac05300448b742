"""The order of an epoch: shuffled, with examples of like length side by side, so that batches pad little."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from latentcot.training.dataset import TrainingSet

WINDOW = 256
"""Groups that are sorted together. More pad less, but the same questions then meet in a group again and again."""

STRATUM = 8
"""Groups whose prompts are of like length, within which the rest decides. Both parts are padded, each on its side of
the thoughts, so sorting by their sum would leave three times the padding."""


class LengthGrouped(Sampler[int]):
    """Indices in groups of `group` examples, those of one update.

    The order depends on the seed and on the data set's epoch and stage, and on nothing else: an interrupted epoch goes
    on where it stopped, and an update has the same examples however it is cut into micro-batches and processes. Groups
    come in random order, and the examples that fill none last.
    """

    def __init__(self, dataset: TrainingSet, group: int) -> None:
        self.dataset, self.group = dataset, group

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.dataset.seed, self.dataset.epoch])
        order = rng.permutation(len(self))
        whole = len(order) - len(order) % self.group
        prompts, rests = self.dataset.lengths()
        step = WINDOW * self.group
        windows = [order[first : min(first + step, whole)] for first in range(0, whole, step)]
        grouped = [self._sort(window, prompts, rests).reshape(-1, self.group) for window in windows]
        if grouped:
            groups = np.concatenate(grouped)
            yield from groups[rng.permutation(len(groups))].flatten().tolist()
        yield from order[whole:].tolist()

    def _sort(
        self, window: NDArray[np.int64], prompts: NDArray[np.int64], rests: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        # The window is in random order, which a stable sort keeps among equals.
        window = window[np.argsort(prompts[window], kind="stable")]
        stratum = np.arange(len(window)) // (STRATUM * self.group)
        return window[np.lexsort((rests[window], stratum))]
