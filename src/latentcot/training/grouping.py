"""The order of an epoch: shuffled, with examples of like length side by side, so that batches pad little.

Across updates (`LengthGrouped`), which pads least and gives each update examples of like length, or within them
(`SortedUpdates`), where an update's examples are drawn at random, as published.
"""

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


class SortedUpdates(Sampler[int]):
    """Indices in groups of `group` examples, those of one update, drawn at random and sorted within the update so that
    micro-batches of `rows` examples pad little.

    Which examples an update has depends on the seed and the epoch, and on nothing else.
    """

    def __init__(self, dataset: TrainingSet, group: int, rows: int) -> None:
        self.dataset, self.group, self.rows = dataset, group, rows

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.dataset.seed, self.dataset.epoch]).permutation(len(self))
        lengths = self.dataset.lengths()
        for first in range(0, len(order), self.group):
            yield from self._sort(order[first : first + self.group], *lengths).tolist()

    def _sort(
        self, update: NDArray[np.int64], prompts: NDArray[np.int64], rests: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the order of an update that needs the fewest columns: by prompt, by rest, or by rest in strata of
        prompts, for each number of strata that the micro-batches divide into."""
        by_prompt = update[np.argsort(prompts[update], kind="stable")]
        micro_batches = -(-len(update) // self.rows)
        orders = []
        for strata in range(1, micro_batches + 1):
            if micro_batches % strata == 0:
                stratum = np.arange(len(update)) // (micro_batches // strata * self.rows)
                orders.append(by_prompt[np.lexsort((rests[by_prompt], stratum))])
        return min(orders, key=lambda order: self._columns(order, prompts, rests))

    def _columns(self, order: NDArray[np.int64], prompts: NDArray[np.int64], rests: NDArray[np.int64]) -> int:
        """Return the columns of an update's micro-batches: prompts and rests are padded each on their side."""
        firsts = np.arange(0, len(order), self.rows)
        widths = sum(np.maximum.reduceat(lengths[order], firsts) for lengths in (prompts, rests))
        return int((widths * np.diff([*firsts, len(order)])).sum())
