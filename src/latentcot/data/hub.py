"""Rows of a data set on the hub, through the `datasets` library and its cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from latentcot.core import UserError
from latentcot.data.files import BATCH, Row, arrow_rows

if TYPE_CHECKING:
    from datasets import Dataset

PATIENCE = 10.0
"""Seconds that the hub has for its first answer."""


def hub_rows(source: str, repository: str, config: str | None, split: str, local: str) -> Iterator[Row]:
    """The rows of one split; UserError, with the name of the `source` and the `local` file to give instead."""
    place = ""
    for place, row in arrow_rows(_load(source, repository, config, split, local).with_format("arrow").iter(BATCH)):
        yield place, row
    if not place:
        raise UserError(f"{source}: holds no records: name another split")


def _load(source: str, repository: str, config: str | None, split: str, local: str) -> Dataset:
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    try:
        with _offline_unless_reached(repository):
            return datasets.load_dataset(repository, config, split=split)
    except DatasetNotFoundError as error:
        raise UserError(
            f"{source}: no such file, and no data set {repository} on the hub that you may read: check the name"
        ) from error
    except ConnectionError as error:
        raise UserError(
            f"{source}: no such file, and the hub cannot be reached ({repository} is not in its cache either): "
            f"give {local} instead"
        ) from error
    except (DatasetsError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{source}: {repository} cannot be read ({reason:.200}): check configuration and split"
        ) from error


@contextmanager
def _offline_unless_reached(repository: str) -> Iterator[None]:
    """Go by the cache alone where the hub does not answer at once; the library itself tries again for minutes."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or not answers(repository, "dataset")
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def answers(repository: str, kind: Literal["dataset", "model"]) -> bool:
    """Whether the hub answers at once when it is asked for a repository, be it that there is none."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().repo_info(repository, repo_type=kind, timeout=PATIENCE)
    except HfHubHTTPError:  # An answer, if not a good one: the loader says what is wrong.
        return True
    except Exception:  # The error without a connection is the HTTP client's own, and hubs change clients.
        return False
    return True
