"""What keeps training stable beyond two thoughts a step: one change at a time on the small task, several seeds.

    latentcot data make chains --out data/chains --seed 0
    python benchmarks/stability.py RUNS [--only base,clip] [--seeds 0 1 2] [--thoughts 3] [--stages 2] [--epochs 40]

Trains recipes/chains.yaml with `--thoughts` thoughts a step in the folder RUNS and writes RUNS/stability.md and .json
over all runs that are finished there; the same command goes on where it stopped. A normalised or projected thought is
what the last hidden state becomes on its way back to the input, so it needs no more than a hook on the model's inputs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latentcot.config import RunConfig
from latentcot.core import Stage
from latentcot.curriculum import Curriculum, fill
from latentcot.methods import Coconut
from latentcot.provenance import machine
from latentcot.recipe import load_config
from latentcot.training import run as training

RECIPE = Path(__file__).parents[1] / "recipes" / "chains.yaml"

Changed = Callable[[RunConfig], RunConfig]


def curriculum(**changes: Any) -> Changed:
    """A change of the curriculum."""
    return lambda config: replace(config, curriculum=replace(config.curriculum, **changes))


def optimizer(**changes: Any) -> Changed:
    """A change of the optimizer or the loop."""
    return lambda config: replace(config, train=replace(config.train, **changes))


@dataclass(frozen=True)
class OneAtATime(Coconut):
    """Coconut with the thoughts of a stage added one at a time, each for an equal share of the stage's epochs."""

    def plan(self, curriculum: Curriculum, longest: int) -> list[Stage]:
        """Every stage in as many parts as a step has thoughts; the last part takes what is left of its epochs."""
        first, *stages = curriculum.plan()
        parts = curriculum.thoughts_per_step
        plan = [first]
        for stage in stages:
            share = stage.epochs // parts
            plan += [
                replace(stage, epochs=share, thoughts=stage.thoughts - missing) for missing in range(parts - 1, 0, -1)
            ]
            plan.append(replace(stage, epochs=stage.epochs - share * (parts - 1)))
        return fill(plan, curriculum)


OPTIONS: dict[str, Changed] = {
    "base": lambda config: config,
    "clip 1": optimizer(clip=1.0),
    "one at a time": lambda config: replace(config, method=OneAtATime()),
    "removal smoothing 1": curriculum(removal_smoothing=1.0),
    "optimizer reset": curriculum(reset_optimizer="stage"),
    "normalised": lambda config: config,
    "projected": lambda config: config,
}


class Normalised(nn.Module):
    """A thought as large as the mean token embedding, in the direction of the last hidden state."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.embeddings = [model.get_input_embeddings()]  # In a list, so that it is no submodule of this one.

    def forward(self, state: Tensor) -> Tensor:
        """[B, 1, H] to [B, 1, H]."""
        size = self.embeddings[0].weight.norm(dim=-1).mean().detach()
        return nn.functional.normalize(state, dim=-1) * size


class Projected(nn.Sequential):
    """CODI's projection of a thought (arXiv 2502.21074): two linear layers with a GELU between, and a layer norm."""

    def __init__(self, model: PreTrainedModel) -> None:
        width = model.config.hidden_size
        super().__init__(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width))


FED_BACK: dict[str, type[nn.Module]] = {"normalised": Normalised, "projected": Projected}


def feed_back_through(model: PreTrainedModel, change: nn.Module) -> None:
    """Change the thoughts on their way in; nothing else enters the model as embeddings."""

    def changed(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if kwargs.get("inputs_embeds") is None:
            return args, kwargs
        return args, {**kwargs, "inputs_embeds": change(kwargs["inputs_embeds"])}

    model.fed_back = change  # A submodule, so that the optimizer finds its weights.
    model.register_forward_pre_hook(changed, with_kwargs=True)


def train(name: str, config: RunConfig, run: Path) -> None:
    """One run, resumed or left alone if it is there."""
    prepare = training.prepare

    def with_hook(*args: Any) -> Any:
        checkpoint, dataset = prepare(*args)
        torch.manual_seed(config.seed)
        feed_back_through(checkpoint.model, FED_BACK[name](checkpoint.model))
        return checkpoint, dataset

    training.prepare = with_hook if name in FED_BACK else prepare
    try:
        training.train(OPTIONS[name](config), run)
    finally:
        training.prepare = prepare


def measured(run: Path) -> dict[str, Any]:
    """What a finished run shows: its last stage's best accuracy, its updates, and the jumps of its loss."""
    result = json.loads((run / "result.json").read_text())
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [(entry["stage"], entry["loss"], entry.get("grad_norm", 0.0)) for entry in log if "loss" in entry]
    jumps = [after[1] - before[1] for before, after in pairwise(losses) if after[0] != before[0]]
    health = [entry for entry in log if entry.get("stage") == log[-1]["stage"] and "eval_thought_cosine" in entry]
    return {
        "seed": result["seed"],
        "accuracy": result["best"].get("accuracy", 0.0),
        "reached": result["stages"][-1]["thoughts"],
        "updates": result["updates"],
        "largest_jump": max(jumps, default=0.0),
        "largest_gradient": max(norm for _, _, norm in losses),
        "cosine": health[-1]["eval_thought_cosine"] if health else None,
    }


def report(folder: Path, settings: str) -> str:
    """The table over the finished runs, as Markdown."""
    lines = [
        f"{settings}; {machine()}",
        "",
        "| option | accuracy, mean | each seed | updates, mean | loss jump | gradient | cosine |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    found = {}
    for name in OPTIONS:
        runs = [measured(file.parent) for file in sorted((folder / name.replace(" ", "-")).glob("*/result.json"))]
        if not runs:
            continue
        found[name] = runs
        cosines = [run["cosine"] for run in runs if run["cosine"] is not None]
        lines.append(
            f"| {name} | {fmean(run['accuracy'] for run in runs):.1%} "
            f"| {', '.join(format(run['accuracy'], '.1%') for run in runs)} "
            f"| {fmean(run['updates'] for run in runs):,.0f} | {max(run['largest_jump'] for run in runs):.2f} "
            f"| {max(run['largest_gradient'] for run in runs):.1f} "
            f"| {format(fmean(cosines), '.2f') if cosines else '-'} |"
        )
    (folder / "stability.json").write_text(json.dumps(found, indent=2) + "\n")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train what is asked for and not there yet, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(OPTIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--thoughts", type=int, default=3)
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    base = optimizer(clip=0.0)(load_config(RECIPE))
    base = curriculum(thoughts_per_step=options.thoughts, stages=options.stages, epochs=options.epochs)(base)
    for seed in options.seeds:
        for name in options.only:
            train(name, replace(base, seed=seed), options.runs / name.replace(" ", "-") / f"seed-{seed}")
    settings = (
        f"chains, c = {options.thoughts}, {options.stages} stages, at most {options.epochs} epochs of 200 updates"
    )
    text = report(options.runs, settings)
    (options.runs / "stability.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
