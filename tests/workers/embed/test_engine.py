from __future__ import annotations

import pytest

from neardup.pipeline.settings import load
from neardup.workers.embed.engine import say_what_has_no_effect


def test_a_wait_that_processes_do_not_know_is_said_to_have_no_effect(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    say_what_has_no_effect(load())
    assert not caplog.records
    monkeypatch.setenv("NEARDUP_MAX_BATCH_WAIT_SECONDS", "0.02")
    say_what_has_no_effect(load())
    assert "NEARDUP_MAX_BATCH_WAIT_SECONDS has no effect" in caplog.text
