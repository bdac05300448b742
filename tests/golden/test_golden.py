"""Every configuration still gives the losses and the answers that were kept."""

import json
from pathlib import Path

import pytest

from tests.golden.runs import CONFIGURATIONS, EXPECTED, run_configuration

TOLERANCE = {"coconut_bf16": 5e-3, "coconut_taught_with_muon": 1e-3}
"""Relative; bf16 autocast, and Muon's own products in bf16, round to 8 bits. Everything else is fp32."""


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_losses_and_answers_are_kept(name: str, tmp_path: Path) -> None:
    expected = json.loads(EXPECTED.read_text())[name]
    result = run_configuration(name, tmp_path)
    tolerance = TOLERANCE.get(name, 1e-5)
    assert len(result["losses"]) == 20
    assert result["losses"] == pytest.approx(expected["losses"], rel=tolerance)
    assert result["grad_norms"] == pytest.approx(expected["grad_norms"], rel=10 * tolerance)
    assert result["answers"] == expected["answers"]
