"""SIGINT while training, without a process of its own."""

import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl

from latentcot.training.interrupt import SaveOnInterrupt

ARGUMENTS: Any = SimpleNamespace(num_train_epochs=3)


def state(update: int) -> Any:
    """Four updates an epoch."""
    return SimpleNamespace(global_step=update, max_steps=12)


def test_the_first_signal_saves_and_the_second_stops() -> None:
    interrupt, control = SaveOnInterrupt(), TrainerControl()
    with interrupt.handle():
        interrupt.on_step_end(ARGUMENTS, state(5), control)
        assert not control.should_save
        interrupt.on_save(ARGUMENTS, state(5), control)
        os.kill(os.getpid(), signal.SIGINT)
        interrupt.on_step_end(ARGUMENTS, state(8), control)
        assert not control.should_save  # The epoch's validation comes first, and a checkpoint after it.
        interrupt.on_step_end(ARGUMENTS, state(9), control)
        assert control.should_save
        with pytest.raises(KeyboardInterrupt):
            interrupt.on_save(ARGUMENTS, state(9), control)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_process_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    own = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with SaveOnInterrupt().handle():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, own)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with SaveOnInterrupt().handle():
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_handle_no_signals() -> None:
    entered: list[bool] = []

    def enter() -> None:
        with SaveOnInterrupt().handle():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]
