"""Errors that reach a person: codes, exit codes and texts."""

from __future__ import annotations

from dataclasses import fields

import pytest

from distd import errors
from distd.errors import EXIT_CODES, HTTP_STATUS, DistdError
from distd.state.database import DatabaseFromNewerVersion

CODES_OF_THE_CONTRACT = [
    "invalid_request",
    "not_found",
    "repo_not_found",
    "revision_not_found",
    "file_not_found",
    "access_denied",
    "hash_mismatch",
    "no_space",
    "hub_unreachable",
    "rate_limited",
    "not_authenticated",
    "clock_skew",
    "conflict",
    "internal",
]
ADDED = ["timed_out"]
"""Since then; adding is free."""

EXAMPLES: dict[type[DistdError], DistdError] = {
    type(error): error
    for error in (
        errors.InvalidRequest("'x' is not a repo name"),
        errors.NotFound("there is no pull 7"),
        errors.Conflict("pull 7 is complete"),
        errors.ElsewhereRefused(
            "gpu-17", errors.Problem("conflict", "Conflict", "it is the last member", False)
        ),
        errors.TimedOut("org/name@main", 30.0, ("gpu-17", "gpu-18 (it is dead)")),
        errors.RepoNotFound("org/name", "https://hub", authenticated=False),
        errors.RevisionNotFound("org/name", "v9"),
        errors.FileNotFound("org/name", "main", "model.bin"),
        errors.AccessDenied("org/name", "the repo is gated.", "Ask on its page."),
        errors.HubUnreachable("https://hub", "connection refused"),
        errors.RateLimited("https://hub", 42.4),
        errors.HashMismatch("model.bin", "ab" * 32, "cd" * 32),
        errors.UnsafePath("../x", "has an empty part, '.' or '..'"),
        errors.NoSpace(10**12, 5 * 10**9, 10**9, "/data"),
        errors.StorageFailed("/data", "Input/output error"),
        DatabaseFromNewerVersion("/data/distd.sqlite", 99),
    )
}


MODULES = {kind.__module__ for kind in EXAMPLES}
"""Other modules may define errors of their own, tested beside them; which are loaded depends on other tests."""


def error_types() -> list[type[DistdError]]:
    found, todo = [], [DistdError]
    while todo:
        children = [kind for kind in todo.pop().__subclasses__() if kind.__module__ in MODULES]
        found += children
        todo += children
    return found


def test_the_codes_are_the_contracts() -> None:
    assert list(EXIT_CODES) == [*CODES_OF_THE_CONTRACT, *ADDED]
    assert list(HTTP_STATUS) == [*CODES_OF_THE_CONTRACT, *ADDED]


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("invalid_request", 2),
        ("not_found", 4),
        ("repo_not_found", 4),
        ("revision_not_found", 4),
        ("file_not_found", 4),
        ("access_denied", 5),
        ("not_authenticated", 5),
        ("hash_mismatch", 6),
        ("no_space", 7),
        ("hub_unreachable", 8),
        ("rate_limited", 8),
        ("clock_skew", 1),
        ("conflict", 1),
        ("timed_out", 9),
        ("internal", 1),
    ],
)
def test_a_problem_code_has_its_exit_code(code: str, exit_code: int) -> None:
    assert EXIT_CODES[code] == exit_code


def test_exit_codes_without_a_problem_are_the_contracts() -> None:
    assert (errors.EXIT_DONE, errors.EXIT_FAILED, errors.EXIT_USAGE) == (0, 1, 2)
    assert (errors.EXIT_DAEMON_UNREACHABLE, errors.EXIT_TIMED_OUT, errors.EXIT_INTERRUPTED) == (3, 9, 130)


def test_every_status_is_one_of_an_error() -> None:
    assert all(400 <= status < 600 for status in HTTP_STATUS.values())


def test_there_is_an_example_of_every_error() -> None:
    assert set(error_types()) == set(EXAMPLES)


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda error: type(error).__name__)
def test_an_error_is_a_problem_with_a_code_of_the_contract_and_a_text_with_its_facts(
    error: DistdError,
) -> None:
    problem = error.problem()
    assert problem.code in (*CODES_OF_THE_CONTRACT, *ADDED)
    assert problem.title
    assert problem.detail == str(error) != ""
    assert problem.retryable is error.retryable
    assert error.facts() == {f.name: getattr(error, f.name) for f in fields(error)}  # type: ignore[arg-type]  # every error is a dataclass
    for fact in error.facts().values():
        if isinstance(fact, str):
            assert fact.rstrip(".") in problem.detail


def test_errors_that_time_or_an_operator_can_cure_are_retryable() -> None:
    retryable = {kind.__name__ for kind, error in EXAMPLES.items() if error.retryable}
    assert retryable == {
        *("HubUnreachable", "RateLimited", "HashMismatch", "NoSpace", "StorageFailed", "TimedOut")
    }


def test_no_space_names_what_is_needed_what_is_free_and_what_stays_reserved() -> None:
    text = str(errors.NoSpace(1_000_000, 5_000, 1_000, "/data"))
    assert "/data needs 1.0 MB (1000000 bytes) more" in text
    assert "5.0 kB (5000 bytes) free" in text
    assert "1.0 kB stay reserved (cache.min_free_bytes)" in text


def test_no_space_under_a_quota_names_the_quota_instead_of_the_disk() -> None:
    text = str(errors.NoSpace(1_000_000, 5_000, 1_000, "/data", over_quota_bytes=3_000))
    assert "exceeds cache.max_bytes by 3.0 kB" in text
    assert "min_free_bytes" not in text


def test_a_repo_not_found_advises_a_token_only_to_who_has_none() -> None:
    without = str(errors.RepoNotFound("org/name", "https://hub", authenticated=False))
    with_token = str(errors.RepoNotFound("org/name", "https://hub", authenticated=True))
    assert "hub.token_file" in without
    assert "hub.token_file" not in with_token
