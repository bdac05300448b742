"""Layouts stacked into tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from latentcot.core import NO_LABEL, Batch, Ids, Layout


def collate(layouts: Sequence[Layout], pad: int) -> Batch:
    """Stack layouts of one row (they share a thought token) into a batch.

    Prompts are padded on the left so that the thoughts line up, the rest on the right. `pad` may be any id of
    the vocabulary: padding is masked, never read.
    """
    (thought_token,) = {layout.thought_token for layout in layouts}
    cut = [_cut(layout) for layout in layouts]
    prompt, prompt_mask = _pad([prompt for prompt, _, _ in cut], pad, left=True)
    rest, rest_mask = _pad([rest for _, rest, _ in cut], pad)
    labels, _ = _pad([labels for _, _, labels in cut], NO_LABEL)
    thoughts = torch.tensor([layout.thoughts for layout in layouts])
    return Batch(prompt, prompt_mask, thoughts, rest, rest_mask, labels, thought_token, _taught(layouts))


def with_idle_rows(batch: Batch, thoughts: Sequence[int]) -> Batch:
    """The batch with one row more for each number in `thoughts`: one prompt token, so many thoughts, no label.

    They change no other row and no loss, only the passes that the batch takes.
    """
    size = len(batch.thoughts)
    grown = batch.take([*range(size), *[0] * len(thoughts)])
    grown.prompt_mask[size:, :-1] = grown.rest_mask[size:, 1:] = False
    grown.thoughts[size:] = torch.tensor(thoughts)
    grown.labels[size:] = NO_LABEL
    if grown.taught is not None:
        grown.taught[size:] = NO_LABEL
    return grown


def _taught(layouts: Sequence[Layout]) -> Tensor | None:
    """[B, T, A]: the tokens that each row's thoughts should hold; None if none of the layouts says."""
    sets = [layout.taught[: layout.thoughts] for layout in layouts]
    if not any(sets):
        return None
    width = max(len(tokens) for row in sets for tokens in row)
    taught = torch.full((len(sets), max(map(len, sets)), width), NO_LABEL)
    for row, columns in zip(sets, taught, strict=True):
        for tokens, column in zip(row, columns, strict=False):
            column[: len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return taught


def _cut(layout: Layout) -> tuple[Ids, Ids, Ids]:
    """Prompt, rest and the rest's labels. The last target token is predicted but never fed."""
    prompt, cue = (layout.prompt, layout.cue) if layout.cue else (layout.prompt[:-1], layout.prompt[-1:])
    return prompt, (*cue, *layout.target[:-1]), (NO_LABEL,) * (len(cue) - 1) + (layout.target or (NO_LABEL,))


def _pad(rows: Sequence[Ids], value: int, left: bool = False) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    padded = torch.full((len(rows), width), value)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        columns = slice(width - len(row), width) if left else slice(0, len(row))
        padded[index, columns] = torch.tensor(row, dtype=torch.long)
        mask[index, columns] = True
    return padded, mask
