"""latentcot: language models that reason in continuous latent space (Coconut, arXiv 2412.06769).

import latentcot

    result = latentcot.train(latentcot.RunConfig(...), "runs/mine")
    model = latentcot.load("runs/mine")
    predictions = latentcot.answer(model, ["Is Tom a lempus or scrompus?"], thoughts=6)

Names are imported when they are first used, so that `import latentcot` does not import torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Checkpoint": "checkpoint",
    "load": "checkpoint",
    "RunConfig": "config",
    "load_config": "recipe",
    "Curriculum": "curriculum",
    "Example": "core",
    "UserError": "core",
    "Method": "methods",
    "answer": "generate",
    "evaluate": "evaluation.answers",
    "train": "training.run",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'latentcot' has no attribute {name!r}")
    return getattr(import_module(f"latentcot.{_HOME[name]}"), name)
