"""Validation and test sets taken out of a data set, so that no question is in two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from latentcot.core import Example, UserError
from latentcot.data.records import question_key


def hold_out(examples: Sequence[Example], sizes: Mapping[str, int], seed: int) -> dict[str, list[Example]]:
    """`train`, and one set of each size that is not 0, all in the order of the examples.

    The repetitions of a question stay together. Which set it belongs to depends on it and the seed alone, so the order
    and the format of a source do not matter. UserError where the sizes cannot be met or leave no training record.
    """
    for name, size in sizes.items():
        if size < 0:
            raise UserError(f"{name} is {size}: give 0 or more")
    groups: dict[bytes, list[int]] = {}
    order: dict[bytes, bytes] = {}
    for index, example in enumerate(examples):
        key, place = question_key(example.question), _place(example.question, seed)
        groups.setdefault(key, []).append(index)
        order[key] = min(place, order.get(key, place))
    waiting = sorted(groups, key=order.__getitem__)
    home = ["train"] * len(examples)
    for name, size in sizes.items():
        passed = []
        for key in waiting:
            if len(groups[key]) > size:  # Nothing more is wanted, or so many repetitions do not fit.
                passed.append(key)
                continue
            size -= len(groups[key])
            for index in groups[key]:
                home[index] = name
        waiting = passed
        if size:
            raise UserError(f"{name}: {sizes[name]:,} records cannot be taken out of {len(examples):,}: ask for fewer")
    if not waiting:
        raise UserError(f"nothing is left to train on of {len(examples):,} records: ask for fewer")
    names = ["train", *(name for name, size in sizes.items() if size)]
    return {name: [examples[i] for i, at in enumerate(home) if at == name] for name in names}


def _place(question: str, seed: int) -> bytes:
    """Return a question's place in the random order of a seed. Another hash would change every split made before."""
    key = hashlib.sha256("\0".join(sorted(question.strip().split(". "))).encode(errors="surrogatepass")).digest()
    return hashlib.sha256(f"{seed} ".encode() + key).digest()
