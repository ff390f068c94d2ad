"""The allow list: which lines cover a repo, and whom they name."""

from __future__ import annotations

import pytest

from distd.core.access import AllowList
from distd.errors import InvalidRequest

LIST = AllowList(
    ["meta-llama/* gpu-1 gpu-2 zone:rack-4", "meta-llama/Llama-9 gpu-9", "acme/secret zone:lab-*"]
)


@pytest.mark.parametrize(
    ("repo", "name", "zone", "allowed"),
    [
        ("google/gemma", "anybody", "", True),
        ("meta-llama/Llama-3", "gpu-1", "", True),
        ("Meta-Llama/llama-3", "gpu-1", "", True),
        ("META-LLAMA/Llama-3", "gpu-3", "", False),
        ("meta-llama/Llama-3", "gpu-3", "rack-4", True),
        ("meta-llama/Llama-3", "gpu-9", "", False),
        ("meta-llama/Llama-9", "gpu-9", "", True),
        ("meta-llama/Llama-9", "gpu-1", "", True),
        ("acme/secret", "gpu-1", "lab-7", True),
        ("acme/secret", "lab-7", "", False),
        ("acme/secret", "zone:lab-7", "", False),
    ],
)
def test_a_covered_repo_is_for_whom_any_of_its_lines_names(
    repo: str, name: str, zone: str, allowed: bool
) -> None:
    assert LIST.allows(repo, name, zone) is allowed


def test_an_empty_list_restricts_nothing() -> None:
    assert not AllowList()
    assert AllowList().allows("meta-llama/Llama-3", "x", "")
    assert not AllowList().restricts("meta-llama/Llama-3")


@pytest.mark.parametrize("line", ["", "meta-llama/*", "llama gpu-1"])
def test_a_line_that_lets_in_nobody_by_mistake_is_refused(line: str) -> None:
    with pytest.raises(InvalidRequest, match="allows nobody"):
        AllowList([line])
