"""README.md as printed: its commands are understood, the quick ones run in their order, its Python prints answers."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import latentcot
from latentcot.cli import _spelled, build_parser, main
from latentcot.config import RunConfig, Scratch
from latentcot.data import chains, records
from latentcot.table import cells
from latentcot.tokens import final_answer

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
SMALL = ["--train=48", "--valid=6", "--test=6"]


@pytest.fixture(autouse=True)
def _forget_files() -> None:
    """What a table has read is kept by its relative path, and each test has a folder of its own."""
    for cached in (cells.digest, cells._read_once, cells._overlaps):
        cached.cache_clear()


def commands() -> list[list[str]]:
    """Every command of the README in words, in order, without comments."""
    texts = [text.replace("\\\n", " ") for kind, text in BLOCKS if not kind]
    return [words for text in texts for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def verbs() -> Iterator[list[str]]:
    """The arguments of each latentcot command, those that accelerate launches too."""
    for words in commands():
        if "latentcot" in words:
            yield words[words.index("latentcot") + 1 :]


def test_every_command_is_known() -> None:
    tools = {"latentcot", "accelerate", "make", "pip", ".", "mkdir", "cp"}
    assert {words[0] for words in commands()} == tools
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {words[1] for words in commands() if words[0] == "make"} <= set(targets)
    named = {word for words in commands() for word in words if word.startswith(("recipes/", "benchmarks/"))}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_verb_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real parser takes the words as they are printed."""
    monkeypatch.chdir(ROOT)
    parser = build_parser()
    found = list(verbs())
    assert len(found) > 20
    for words in found:
        parser.parse_args([_spelled(word) for word in words])


def test_quick_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a fresh folder, with small sizes: data, and what the whole table will take."""
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "benchmarks"):
        Path(name).symlink_to(ROOT / name)
    Path("own.csv").write_text("ask,chain,reply\n" + "".join(f"A{n} of B?,one;two,C{n}\n" for n in range(20)))
    ran = []
    for words in commands():
        if words[0] == "mkdir":
            Path(words[-1]).mkdir(parents=True)
        elif words[0] == "cp":
            (Path(words[-1]) / Path(words[-2]).name).symlink_to(Path(words[-2]).resolve())
        elif words[:2] == ["latentcot", "data"] or "--dry-run" in words:
            verb = words[1:]
            if verb[1] == "make":
                verb += SMALL
            if verb[1] == "split":
                verb += ["--valid=4", "--test=4"]
            if "--dry-run" in verb:
                verb += ["--only=row=coconut,seed=0"]
            verb = [name for word in verb for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
            ran.append(verb[1] if verb[0] == "data" else verb[0])
            assert main(verb) == 0, (verb, capsys.readouterr().err)
    assert ran.count("make") == 8
    assert ran[-4:] == ["convert", "split", "check", "check"]
    assert "left: 2 runs" in capsys.readouterr().out


def test_without_its_data_a_recipe_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["table", "recipes/table/laptop.yaml", "--dry-run"], ["train", "--config=recipes/chains.yaml"]):
        assert main([*words, "--run=run"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "data/chains/train.json: no such file" in line
        assert "a recipe's first lines name the commands that make its data" in line
    head = (ROOT / "recipes" / "chains.yaml").read_text().split("method:")[0]
    assert "latentcot data make chains --out data/chains" in head


def test_the_python_snippet_prints_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a model that has learned this very question by heart, in seconds."""
    first, second = (text for kind, text in BLOCKS if kind == "python")
    (question,) = re.findall(r'\["(.*?)"\]', first)
    example = chains.from_text(question)
    assert example is not None
    drawn = chains.make_splits({"train": 50, "test": 1}, 0)["train"]
    words = {word for one in drawn for word in one.question.split()}
    assert set(question.split()) <= words
    assert len(example.extra["candidates"]) == len(drawn[0].extra["candidates"])

    monkeypatch.chdir(tmp_path)
    load_config = latentcot.load_config

    def small(recipe: str, **fields: object) -> RunConfig:
        config = load_config(recipe, **fields)
        model = replace(config.model, scratch=Scratch(layers=1, heads=2, width=32, positions=64))
        curriculum = replace(config.curriculum, epochs_first=2, epochs_per_stage=2, epochs=24, advance_at=None)
        train = replace(config.train, batch_size=16, lr=0.01, warmup_steps=0)
        return replace(config, model=model, curriculum=curriculum, train=train)

    monkeypatch.setattr(latentcot, "load_config", small, raising=False)
    asked = [question.replace("follow 3 arrows", f"follow {count} arrows") for count in (2, 3, 4)]
    learned = [one for text in asked if (one := chains.from_text(text)) is not None]
    other = chains.from_text(asked[0].replace("From A", "From B"))
    assert other is not None
    records.write(tmp_path / "data" / "chains" / "train.json", learned * 32)
    records.write(tmp_path / "data" / "chains" / "valid.json", [other])
    exec(compile(first, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed == f"### {example.answer} 6"
    assert f"# {printed}" in first
    assert final_answer(printed.removesuffix(" 6")) == example.answer
    names: dict[str, type] = {}
    exec(compile(second, "README.md", "exec"), {"__name__": "my_rows"}, names)
    curriculum = load_config("recipes/chains.yaml").curriculum
    assert names["Impatient"]().plan(curriculum, 20) == latentcot.methods.Coconut().plan(curriculum, 20)[1:]
