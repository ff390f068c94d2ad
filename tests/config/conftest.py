"""A place for configuration files, and loading without this machine's own settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distd.config import Config, ConfigError, load_config

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load(text, *settings, **environment)`: from a file with this text; state lies below the test's directory."""

    def load_text(text: str = "", *settings: str, **environment: str) -> Config:
        file = tmp_path / "config.toml"
        file.write_text(text, encoding="utf-8")
        return load_config(str(file), settings, environment)

    return load_text


def faults_of(load: Load, text: str = "", *settings: str, **environment: str) -> list[str]:
    """The lines of the ConfigError that loading this ends with; the file is called FILE in them."""
    with pytest.raises(ConfigError) as refused:
        load(text, *settings, **environment)
    lines = str(refused.value).splitlines()
    assert len(lines) == len(refused.value.faults)
    return [
        line.replace(line.partition("config.toml")[0] + "config.toml", "FILE")
        if "config.toml:" in line
        else line
        for line in lines
    ]
