"""Recipes: one that extends another is the two written as one; every recipe of the package is sound."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcot import methods
from latentcot.cli import main
from latentcot.config import RunConfig
from latentcot.core import UserError
from latentcot.recipe import find, load_config

RECIPES = Path(__file__).parents[2] / "recipes"
ROWS = {name for name in methods.__all__ if name != "Method"}
OPTIONS = {
    ("curriculum", "stages"): 3,
    ("curriculum", "mix"): 0.25,
    ("model", "base"): "some/model",
    ("model", "scratch", "layers"): 4,
    ("model", "scratch", "tokenizer"): "words",
    ("data", "train"): "train.json",
    ("train", "lr"): 0.5,
    ("seed",): 7,
    ("method",): {"class_path": "ICoT", "init_args": {"tokens_per_epoch": 3}},
}
"""Options and a value of each that is not the default."""


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def nested(names: set[tuple[str, ...]], **top: Any) -> dict[str, Any]:
    tree: dict[str, Any] = dict(top)
    for name in names:
        group = tree
        for part in name[:-1]:
            group = group.setdefault(part, {})
        group[name[-1]] = OPTIONS[name]
    return tree


@settings(max_examples=8, deadline=None)
@given(places=st.tuples(*[st.integers(0, 2) for _ in OPTIONS]))
def test_a_chain_is_its_options_in_one_file(places: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whichever of the three recipes of a chain says an option."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "middle").mkdir()
    said = [{name for name, at in zip(OPTIONS, places, strict=True) if at == number} for number in range(3)]
    write(folder / "base.yaml", nested(said[0], data={"reshuffle": True}))
    write(folder / "middle" / "middle.yaml", nested(said[1], extends="../base.yaml"))
    top = write(folder / "top.yaml", nested(said[2], extends="middle/middle.yaml"))
    whole = nested(set(OPTIONS))
    whole["data"]["reshuffle"] = True
    assert load_config(top) == load_config(write(folder / "whole.yaml", whole))
    assert load_config(top) != RunConfig()


def test_what_a_recipe_says_goes_over_its_base_and_flags_over_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = {"class_path": "ICoT", "init_args": {"tokens_per_epoch": 3}}
    write(tmp_path / "base.yaml", {"method": method, "train": {"lr": 0.5, "clip": 2.0}, "seed": 1})
    recipe = write(tmp_path / "top.yaml", {"extends": "base.yaml", "method": "CoT", "train": {"lr": 0.25}, "seed": 2})
    shown = printed(capsys, f"--config={recipe}", "--seed=3")
    assert shown["method"] == {"class_path": "latentcot.methods.CoT", "init_args": {}}
    assert (shown["train"]["lr"], shown["train"]["clip"], shown["seed"]) == (0.25, 2.0, 3)
    other = write(tmp_path / "other.yaml", {"train": {"clip": 3.0}})
    shown = printed(capsys, f"--config={recipe}", f"--config={other}")
    assert (shown["train"]["lr"], shown["train"]["clip"], shown["seed"]) == (0.25, 3.0, 2)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What --print_config shows."""
    with pytest.raises(SystemExit) as ended:
        main(["train", "--run=r", *words, "--print_config"])
    assert ended.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("base", "top", "said"),
    [
        ("train: {lr: fast}", "extends: base.yaml", "base.yaml: "),
        ("train: {learning_rate: 3}", "extends: base.yaml", "base.yaml: "),
        ("seed: 1", "extends: base.yaml\ntrain: {learning_rate: 3}", "top.yaml: "),
        ("train: {batch_size: 8}", "extends: base.yaml\ntrain: {micro_batch: 3}", "top.yaml: train.batch_size 8"),
        ("method: ICoT", "extends: base.yaml\nmethod: {init_args: {tokens: 3}}", "top.yaml: "),
        ("seed: 1", "extends: base.yaml\ntrain:", "top.yaml: train is None"),
        ("model: {scratch: 3}", "extends: base.yaml", "base.yaml: model.scratch is 3"),
        ("- seed", "extends: base.yaml", "base.yaml: holds no options"),
        ("a: [", "extends: base.yaml", "base.yaml: not YAML"),
        ("extends: top.yaml", "extends: base.yaml", "base.yaml: extends top.yaml closes a circle"),
        ("seed: 1", "extends: top.yaml", "top.yaml: extends top.yaml closes a circle"),
        ("seed: 1", "extends: [base.yaml]", "top.yaml: extends is ['base.yaml']"),
        ("seed: 1", "extends: gone.yaml", "top.yaml: extends gone.yaml: there is no"),
    ],
)
def test_a_fault_names_the_recipe_that_it_is_in(
    base: str, top: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "top.yaml").write_text(top)
    with pytest.raises(UserError) as raised:
        load_config(tmp_path / "top.yaml")
    assert f"{tmp_path / said}" in str(raised.value)
    assert main(["train", f"--config={tmp_path / 'top.yaml'}", f"--run={tmp_path / 'run'}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{tmp_path / said}" in line
    assert not (tmp_path / "run").exists()


def test_a_misspelt_recipe_is_answered_with_those_that_are_spelt_alike() -> None:
    with pytest.raises(UserError, match=r"such as prosqa/coconut\.yaml"):
        find("recipes/prosqa/coconot.yaml")


def test_the_packages_recipes_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("recipes/prosqa/cot.yaml") == load_config("prosqa/cot.yaml") == load_config(
        RECIPES / "prosqa" / "cot.yaml"
    )  # fmt: skip
    with pytest.raises(UserError, match=r"prosqa/coconut\.yaml"):
        find("prosqa/kokonut.yaml")
    with pytest.raises(UserError, match="is a folder"):
        find(tmp_path)


RUN_RECIPES = sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name not in ("table", "accelerate"))


@pytest.mark.parametrize("recipe", RUN_RECIPES, ids=lambda path: str(path.relative_to(RECIPES)))
def test_every_recipe_parses(recipe: Path) -> None:
    config = load_config(recipe)
    assert config.data.train is not None
    assert config.data.valid is not None


LONGEST = {"gsm8k": 90, "prontoqa": 103, "prosqa": 70}
"""Longest chain of the original training files (ProsQA: of a generated one) in GPT-2 tokens."""


@pytest.mark.parametrize("dataset", LONGEST)
def test_the_published_rows_fit_their_epochs(dataset: str) -> None:
    rows = {path.stem: load_config(path) for path in (RECIPES / dataset).glob("*.yaml") if path.stem != "base"}
    assert {type(config.method).__name__ for config in rows.values()} == ROWS
    for stem, config in rows.items():
        plan = config.method.plan(config.curriculum, LONGEST[dataset])
        assert config.method.name == stem
        assert sum(stage.epochs for stage in plan) == config.curriculum.epochs
        thoughtless = stem in ("cot", "no_cot", "icot", "without_thought")
        assert plan[-1].thoughts == (0 if thoughtless else 6)
        assert (config.train.lr, config.train.batch_size, config.train.weight_decay) == (1e-4, 128, 0.01)
        assert config.train.max_new_tokens == (64 if dataset == "gsm8k" else 128)
