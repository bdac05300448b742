"""Reading and tokenizing GSM8k-Aug's 385,620 examples: seconds and memory, first without a cache and then with it.

    python benchmarks/prepare.py TOKENIZER GSM8K_TRAIN.jsonl [GSM8K_AUG.txt ...]

The full set is stood in for by the given files' examples, repeated with every digit drawn anew. TOKENIZER is a folder
or a hub id (`latentcot fetch gpt2-tokenizer` prints one).
"""

import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from latentcot.data import records

EXAMPLES = 385_620


def write_examples(sources: list[str], file: Path) -> None:
    """Lines in GSM8k-Aug's format."""
    rng = random.Random(0)
    known = [example for example in records.read(sources) if example.steps]
    with file.open("w", encoding="utf-8") as out:
        for example in islice(cycle(known), EXAMPLES):
            question, *steps, answer = (
                re.sub(r"\d", lambda _: rng.choice("123456789"), " ".join(text.split()))
                for text in (example.question, *example.steps, example.answer)
            )
            out.write(f"{question}||{' '.join(steps)} #### {answer}\n")


def measure(tokenizer: str, file: str) -> dict[str, float]:
    """Read and prepare in this process."""
    from latentcot.checkpoint import start_tokenizer
    from latentcot.config import ModelConfig, Scratch
    from latentcot.training.samples import prepare

    began = time.perf_counter()
    examples = records.read(file)
    read = time.perf_counter()
    samples = prepare(examples, start_tokenizer(ModelConfig(scratch=Scratch(tokenizer=tokenizer)), []))
    return {
        "examples": len(samples),
        "tokens": len(samples.ids),
        "read_seconds": read - began,
        "prepare_seconds": time.perf_counter() - read,
        "processor_seconds": time.process_time(),
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def main() -> None:
    """Measure in two processes that share a new cache folder."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if sys.argv[1] == "--measure":
        print(json.dumps(measure(*sys.argv[2:])))
        return
    tokenizer, *sources = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        write_examples(sources, file)
        for name in ("without a cache", "with it"):
            command = [sys.executable, __file__, "--measure", tokenizer, str(file)]
            done = subprocess.run(
                command, env={**os.environ, "XDG_CACHE_HOME": folder}, check=True, stdout=subprocess.PIPE, text=True
            )
            figures = json.loads(done.stdout)
            print(name, *(f"{key} {value:,.1f}" for key, value in figures.items()), sep="  ")


if __name__ == "__main__":
    main()
