"""The fixture of the tests of pipelines: a working directory with the shipped recipes."""

import shutil
from pathlib import Path

import pytest
from repository import ROOT


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path
