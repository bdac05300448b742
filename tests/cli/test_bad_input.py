"""Bad input: exit code 2, one clear line that says what and where, nothing written or lost."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from latentcot.cli import main

GOOD = {"question": "A B. B A. From A follow 1 arrow.", "steps": ["Then A B."], "answer": "B"}


def refused(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    """The one line that a refused command prints."""
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert line.startswith("latentcot: error: ")
    assert "Traceback" not in captured.err
    return line


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{not json", "not JSON"),
        ({"question": {"en": "A?"}, "answer": "B"}, '"question" is an object'),
        ([], "no records"),
        ([GOOD, {**GOOD, "question": " "}], 'record 2: "question" is empty'),
        ([GOOD, {**GOOD, "answer": ""}], 'record 2: "answer" is empty'),
        ([{"question": "A?", "steps": []}], 'record 1: "answer" is missing'),
        ([{**GOOD, "steps": ["fine", [4]]}], 'step 2 of "steps" is a list'),
        ([{**GOOD, "steps": "Then A B."}], '"steps" is text, not a list'),
        ([{**GOOD, "question": "A <bot> B?"}], "contains the marker <bot>"),
    ],
)
def test_a_faulty_file_is_named_with_its_record(
    content: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "bad.json", content)
    line = refused(capsys, "train", "--run", tmp_path / "run", "--data.train", file)
    assert str(file) in line
    assert said in line
    assert not (tmp_path / "run").exists()
    assert main(["data", "check", str(file)]) == 2
    printed = capsys.readouterr()
    assert said in printed.out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "question,reply\na,b\n", "no column 'answer': name one of question, reply"),
        ("a.csv", "question,steps,answer\na,[]\n", "line 2: 2 cells for 3 columns"),
        ("a.parquet", "PAR1 and then the connection broke", "not Parquet, or cut off"),
        ("a.json", '[{"question": "a", "ste', "it breaks off there"),
        ("a.txt", "a <<1+1=2>> #### 2", "line 1: no || between question and steps"),
        ("a.txt", "a||<<1+1=2>> 2", "line 1: no #### before the answer"),
        ("a.jsonl", '{"question": "a", "answer": "<<1+1=2>>\\n#### two"}', "line 1: the answer 'two' is not a number"),
        ("a.jsonl", '{"prompt": "a", "completion": "b"}', "no answer mark #### or ###"),
        ("a.csv", "", "the file is empty"),
        ("a.xlsx", "PK", "unknown format .xlsx"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "convert", "split"])
def test_a_faulty_source_is_named(
    verb: str, name: str, content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = write(tmp_path / name, content), tmp_path / "out.json"
    words: dict[str, list[Any]] = {
        "train": ["train", "--data.train", file, "--run", out],
        "convert": ["data", "convert", file, "--out", out],
        "split": ["data", "split", file, "--out", out, "--valid=1", "--test=1"],
    }
    line = refused(capsys, *words[verb])
    assert line.startswith(f"latentcot: error: {file}: ")
    assert said in line
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out=out.txt"], "out.txt: records are JSON or JSONL"),
        (["--out=out.json", "--filter.min_steps=9"], "no record is left of 1 (min_steps 9 dropped 1)"),
        (["--out=out.json", "--filter.min_steps=3", "--filter.max_steps=2"], "filter.min_steps 3 is above"),
        (["--out=out.json", "--filter.max_words=-1"], "filter.max_words is -1"),
        (["--out=out.json", "--columns.question=ask"], "no column 'ask'"),
        (["none-*.csv", "--out=out.json"], "none-*.csv: no file matches"),
        (["gsm8k:dev", "--out=out.json"], "gsm8k:dev: no split dev"),
        (["someone/else", "--out=out.json"], "the hub cannot be reached"),
    ],
)
def test_a_faulty_conversion(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "good.json", [GOOD])
    assert said in refused(capsys, "data", "convert", file, *words)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--method=Nonsense"], "no such row"),
        (["--method=json.JSONDecoder"], "no such row"),
        (["--method=ICoT", "--method.tokens_per_epoc=3"], "tokens_per_epoc"),
        (["--curriculum.mix=1.5"], "curriculum.mix is 1.5"),
        (["--curriculum.stages=-1"], "curriculum.stages is -1"),
        (["--curriculum.thoughts_per_step=-2"], "thoughts_per_step is -2"),
        (["--curriculum.epochs=2"], "the stages need 35"),
        (["--curriculum.epocs=2"], "--curriculum.epocs"),
        (["--curriculum.removal_smoothing=0"], "removal_smoothing is 0"),
        (["--train.lr=fast"], "train.lr"),
        (["--train.warmup_steps=-1"], "warmup_steps is -1"),
        (["--train.beta2=1"], "train.beta2 is 1.0"),
        (["--model.rope_theta=0"], "model.rope_theta is 0.0"),
        (["--train.batch_size=0"], "train.batch_size is 0"),
        (["--train.batch_size=10", "--train.micro_batch=4"], "multiple of train.micro_batch"),
        (["--model.scratch.architecture=nonsense"], "not a model type"),
        (["--model.scratch.architecture=t5"], "encoder-decoder"),
        (
            ["--model.scratch.architecture=mamba"],
            "mamba (MambaForCausalLM): this model cannot have",
        ),
        (["--model.scratch.architecture=bert"], "causal"),
        (["--model.scratch.width=30", "--model.scratch.heads=4"], "multiple of model.scratch.heads"),
        (["--model.scratch.positions=10"], "record 1 needs"),
        (["--model.base=./no/such/folder"], "model.base"),
        (["--model.scratch.tokenizer=./no/such/folder"], "model.scratch.tokenizer"),
        (["--model.scratch.config=none.json"], "none.json"),
        (["--config=none.yaml"], "none.yaml"),
        (["--curriculum.advance_at=0.9"], "data.valid"),
        (["--data.valid=none.json"], "none.json"),
        (["--data.valid=gsm8k:validation"], "no split validation: give one of train, test"),
        (["--data.filter.min_steps=5"], "no record is left"),
        (["--data.filter.min_stepps=5"], "min_stepps"),
        (["--data.columns.steps=chain"], "no column 'chain'"),
    ],
)
def test_a_faulty_configuration_is_named(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "good.json", [GOOD])
    small = ["--model.scratch.layers=1", "--model.scratch.heads=2", "--model.scratch.width=32"]
    line = refused(capsys, "train", "--run", tmp_path / "run", "--data.train", file, *small, *flags)
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_recipe_with_an_unknown_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write(tmp_path / "recipe.yaml", "train:\n  learning_rate: 3\n")
    assert "learning_rate" in refused(capsys, "train", "--config", recipe, "--run", tmp_path / "run")


def test_a_folder_with_other_files_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "good.json", [GOOD])
    other = write(tmp_path / "thesis.txt", "years of work")
    assert "no run's" in refused(capsys, "train", "--run", tmp_path, "--data.train", file)
    assert other.read_text() == "years of work"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prontoqa", "--hops=9"], "hops is 9: give 1 to 8"),
        (["prontoqa", "--hops=two"], "hops"),
        (["prosqa", "--hops-min=5", "--hops-max=4"], "hops is 5 to 4"),
        (["prosqa", "--parents=0"], "parents is 0"),
        (["prosqa", "--entities=99"], "entities is 99: give 0 to 15"),
    ],
)
def test_data_that_cannot_be_made(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "data", "make", *words, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("verb", ["eval", "generate"])
def test_no_checkpoint(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "good.json", [GOOD])
    more = ["--data", file] if verb == "eval" else ["A?"]
    assert "no checkpoint there" in refused(capsys, verb, tmp_path / "none", *more)
    write(tmp_path / "config.json", {"model_type": "gpt2"})
    assert "not trained by latentcot" in refused(capsys, verb, tmp_path, *more)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    file = write(folder / "good.json", [GOOD])
    sizes = ["--model.scratch.layers=1", "--model.scratch.heads=2", "--model.scratch.width=32"]
    epochs = ["--curriculum.stages=1", "--curriculum.epochs_first=0", "--curriculum.epochs_per_stage=1"]
    words = ["train", "--run", folder / "run", "--data.train", file, *sizes, *epochs]
    more = ["--curriculum.epochs=1", "--model.scratch.positions=32", "--train.max_new_tokens=4"]
    assert main([str(word) for word in (*words, *more)]) == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["A B. From A follow 1 arrow.", "--thoughts=-1"], "thoughts is -1"),
        (["A B. From A follow 1 arrow.", "--thoughts=99"], "positions"),
        (["A Zed. From A follow 1 arrow."], "Zed"),
        ([" "], "the question is empty"),
        (["A B. From A follow 1 arrow.", "--sample", "--temperature=0"], "temperature"),
        (["A B. From A follow 1 arrow.", "--max_new_tokens=0"], "max_new_tokens is 0"),
        (["A <eot> B."], "<eot>"),
    ],
)
def test_a_faulty_question(words: list[str], said: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(capsys, "generate", checkpoint, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "verb"),
        (["nonsense"], "nonsense"),
        (["data"], "verb"),
        (["train"], "--run"),
        (["eval", "x"], "--data"),
        (["--nonsense"], "--nonsense"),
        (["train", "--run=r", "--train.lr=fast"], "error: train.lr is fast: give a number"),
        (["bench", "--batch=many"], "error: batch is many: give a whole number"),
        (
            ["train", "--run=r", "--curriculum.removal_smoothing=big"],
            "error: curriculum.removal_smoothing is big: give a number, or leave it out",
        ),
        (["data", "convert", "x", "--out=y", "--steps=Named"], "error: steps is Named: give 'named', or leave it out"),
    ],
)
def test_a_faulty_command_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(capsys, *words)


def test_a_missing_flag_is_named_as_it_is_spelled(capsys: pytest.CaptureFixture[str]) -> None:
    assert "required: --run" in refused(capsys, "train", "--config=chains.yaml")


def test_a_row_in_the_current_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from latentcot.methods import Coconut\nclass Mine(Coconut):\n    pass\n")
    script = "import sys; sys.path.remove(''); from latentcot.__main__ import run; run()"
    command = [sys.executable, "-c", script, "train", "--method=mine.Mine", "--print_config"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "class_path: mine.Mine" in done.stdout, done.stderr


def test_a_model_that_cannot_be_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make", "chains", "--out", str(tmp_path), "--train=8", "--valid=1", "--test=1"]) == 0
    capsys.readouterr()
    said = refused(capsys, "data", "check", tmp_path / "train.json", "--tokenizer=nobody/nothing")
    assert "nobody/nothing" in said
    assert "latentcot fetch" in said


@pytest.mark.parametrize("base", ["./nowhere", "runs/small/nowhere"])
def test_a_base_that_is_no_folder(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make", "chains", "--out", str(tmp_path), "--train=8", "--valid=1", "--test=1"]) == 0
    capsys.readouterr()
    data = [f"--data.{name}={tmp_path / name}.json" for name in ("train", "valid")]
    said = refused(capsys, "train", "--run", tmp_path / "run", f"--model.base={base}", *data)
    assert f"model.base {base}: no such folder" in said


def test_a_base_that_is_not_trained_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make", "chains", "--out", str(tmp_path), "--train=8", "--valid=1", "--test=1"]) == 0
    capsys.readouterr()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("seed: 0\n")
    data = [f"--data.{name}={tmp_path / name}.json" for name in ("train", "valid")]
    said = refused(capsys, "train", "--run", tmp_path / "run", f"--model.base={tmp_path / 'begun'}", *data)
    assert "a run that has kept no checkpoint yet: finish it" in said


def test_help_and_configuration_do_not_import_torch() -> None:
    code = (
        "import sys; from latentcot.cli import build_parser; import latentcot.data.check; build_parser();"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--debug", str(tmp_path / "none.json")]) == 2
    assert "Traceback" in capsys.readouterr().err
