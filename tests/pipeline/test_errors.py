"""How a missing extra is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from neardup.pipeline import errors


def test_an_extra_is_installed_by_the_clones_script_or_from_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert errors.install_command("api") == "scripts/environment api"
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "neardup" / "pipeline" / "errors.py"))
    assert errors.install_command("api") == "pip install 'neardup[api]'"
