"""Muon for the weight matrices inside the layers and AdamW for everything else, as one optimizer.

Muon (Jordan et al. 2024) makes all directions of a matrix's update equally large. Where thoughts hold several names at
once, a model has to tell every name from every other equally well, and with AdamW alone it learns that far later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon
from transformers import PreTrainedModel


class MuonAndAdamW(torch.optim.Optimizer):
    """Both optimizers over one state and one list of groups, so that schedules, resets and resuming see one."""

    def __init__(
        self, model: PreTrainedModel, decayed: Collection[str], *, lr: float, beta2: float, decay: float
    ) -> None:
        """`decayed` names the parameters that weight decay (`decay`) pulls at; `beta2` is AdamW's second beta."""
        inside = _matrices_inside(model)
        kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                kinds.setdefault((name in inside, name in decayed), []).append(parameter)
        muon, adamw = (
            [
                {"params": parameters, "weight_decay": decay * decays}
                for (matrix, decays), parameters in kinds.items()
                if matrix is wanted
            ]
            for wanted in (True, False)
        )
        # With steps as large as AdamW's, one learning rate serves both.
        self._parts: list[torch.optim.Optimizer] = [
            Muon(muon, lr=lr, adjust_lr_fn="match_rms_adamw"),
            AdamW(adamw, lr=lr, betas=(0.9, beta2)),
        ]
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of all parameters."""
        for part in self._parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Each part works on this optimizer's own state and groups."""
        groups = iter(self.param_groups)
        for part in self._parts:
            part.state = self.state
            part.param_groups = [next(groups) for _ in part.param_groups]


def _matrices_inside(model: PreTrainedModel) -> set[str]:
    """Names of the matrices that are neither embeddings nor the LM head."""
    outside = {
        id(weight) for module in model.modules() if isinstance(module, nn.Embedding) for weight in module.parameters()
    }
    outside |= {id(weight) for weight in model.get_output_embeddings().parameters()}
    return {name for name, weight in model.named_parameters() if weight.ndim == 2 and id(weight) not in outside}
