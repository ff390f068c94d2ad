"""Where the Hub token comes from, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from distd.config.token import TOKEN_BYTES_MAX, hub_token_source, read_token
from distd.errors import InvalidRequest


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """Every source at once, each with its own token. Remove one to see which is next."""
    (tmp_path / "named").write_text("from-file\n")
    (tmp_path / "hf-token").write_text("from-credentials\n")
    (tmp_path / "path").write_text("from-path\n")
    return {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "HF_TOKEN": "from-environment",
        "HF_TOKEN_PATH": str(tmp_path / "path"),
    }


def test_the_sources_are_asked_in_order(tmp_path: Path, sources: dict[str, str]) -> None:
    assert hub_token_source(str(tmp_path / "named"), sources)() == "from-file"
    assert hub_token_source("", sources)() == "from-credentials"
    del sources["CREDENTIALS_DIRECTORY"]
    assert hub_token_source("", sources)() == "from-environment"
    del sources["HF_TOKEN"]
    assert hub_token_source("", sources)() == "from-path"
    del sources["HF_TOKEN_PATH"]
    assert hub_token_source("", sources)() is None


def test_a_credentials_directory_without_the_credential_is_passed_over(
    tmp_path: Path, sources: dict[str, str]
) -> None:
    (tmp_path / "hf-token").unlink()
    assert hub_token_source("", sources)() == "from-environment"


def test_a_unit_without_a_token_says_none_and_that_ends_the_search(
    tmp_path: Path, sources: dict[str, str]
) -> None:
    (tmp_path / "hf-token").write_text("none\n")
    assert hub_token_source("", sources)() is None


def test_a_rotated_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    token = hub_token_source(str(file), {})
    assert token() == "old"
    file.write_text("new\n# comment of the tool that wrote it\n")
    assert token() == "new"


@pytest.mark.parametrize(
    ("content", "token"),
    [
        ("hf_x", "hf_x"),
        ("  hf_x \r\n", "hf_x"),
        ("hf_x\nhf_y", "hf_x"),
        ("", None),
        ("\n", None),
        ("none", None),
    ],
)
def test_the_first_line_is_the_token(tmp_path: Path, content: str, token: str | None) -> None:
    (tmp_path / "token").write_text(content)
    assert read_token(str(tmp_path / "token")) == token


def test_a_token_from_the_environment_is_one_line_too() -> None:
    assert hub_token_source("", {"HF_TOKEN": " hf_x\nInjected: header "})() == "hf_x"
    assert hub_token_source("", {"HF_TOKEN": "  "})() is None


def test_a_file_that_is_missing_or_no_token_is_refused_by_name(tmp_path: Path) -> None:
    large, binary = tmp_path / "large", tmp_path / "binary"
    large.write_text("x" * (TOKEN_BYTES_MAX + 1))
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path, large, binary):
        with pytest.raises(InvalidRequest) as refused:
            hub_token_source(str(path), {})()
        assert str(path) in str(refused.value)
