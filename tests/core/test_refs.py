"""Refs: what a caller may name, and that it stays a safe path."""

from __future__ import annotations

import posixpath

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distd.core.refs import Ref, Repo, is_commit, parse_ref, parse_repo, parse_revision
from distd.errors import InvalidRequest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def is_accepted(repo_id: str) -> bool:
    try:
        parse_repo(repo_id)
    except InvalidRequest:
        return False
    return True


@pytest.mark.parametrize(
    ("repo_id", "org", "name", "folder"),
    [
        ("gpt2", "_", "gpt2", "models--gpt2"),
        ("meta-llama/Llama-3.1-8B", "meta-llama", "Llama-3.1-8B", "models--meta-llama--Llama-3.1-8B"),
        ("a/b", "a", "b", "models--a--b"),
        ("_x/y_", "_x", "y_", "models--_x--y_"),
    ],
)
def test_a_repo_knows_its_parts_and_its_folder_in_the_cache(
    repo_id: str, org: str, name: str, folder: str
) -> None:
    repo = parse_repo(repo_id)
    assert (repo.org, repo.name, repo.folder) == (org, name, folder)


def test_a_dataset_has_its_own_folder_and_is_shown_as_one() -> None:
    repo = parse_repo("org/data", "dataset")
    assert repo.folder == "datasets--org--data"
    assert str(repo) == "datasets/org/data"
    assert str(parse_repo("org/name")) == "org/name"


@pytest.mark.parametrize(
    "repo_id",
    [
        *("", "/", "a/", "/a", "a//b", "a/b/c", ".", "..", "../a", "a/..", "a/.b", ".a/b", "-a/b", "a/b-"),
        *("a/b.", "a--b", "a..b", "a b", "a\nb", "a/b\n", "a\\b", "a\0", "caf\u00e9/x", "a@b", "x.git"),
        *("a" * 97, "a/" + "b" * 97, "a" * 97 + "/b", "https://huggingface.co/a/b", "%2e%2e/a"),
    ],
)
def test_what_is_no_repo_name_is_refused_with_the_rule(repo_id: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_repo(repo_id)
    assert "write org/name" in str(refused.value)


def test_a_long_organisation_with_a_long_name_is_accepted_as_by_the_hub() -> None:
    assert parse_repo(f"{'o' * 96}/{'n' * 96}").name == "n" * 96


def test_an_unknown_repo_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_repo("a/b", "models")
    assert "model, dataset, space" in str(refused.value)


@given(st.text(alphabet="aZ9_-./\n\u00e9 ", max_size=12) | st.from_regex(r"[\w.-]{1,98}(/[\w.-]{1,98})?"))
@example("a/b.git")
def test_names_are_accepted_as_by_huggingface_hub(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        valid = False
    else:
        valid = True
    assert is_accepted(repo_id) == valid


@settings(max_examples=30)
@given(
    st.lists(st.from_regex(r"[\w.-]{1,6}(/[\w.-]{1,6})?", fullmatch=True).filter(is_accepted), unique=True)
)
def test_two_repos_never_share_a_folder(repo_ids: list[str]) -> None:
    assert len({parse_repo(repo_id).folder for repo_id in repo_ids}) == len(repo_ids)


@pytest.mark.parametrize(
    "revision", ["main", "v1.0", "refs/pr/3", "feature/x-1", "a@b", COMMIT, "1", "x=y+z"]
)
def test_branches_tags_pull_requests_and_commits_are_revisions(revision: str) -> None:
    assert parse_revision(revision) == revision


@pytest.mark.parametrize(
    "revision",
    [
        *(
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/./b",
            "a..b",
            ".a",
            "a/.b",
            "-x",
            "a b",
        ),
        *("a\n", "a\\b", "a\0b", "a~1", "a^", "a:b", "a?b", "a*", "a[b", "a@{1}", "x.lock", "x.lock/y", "x."),
        *("caf\u00e9", "a" * 251),
    ],
)
def test_what_git_or_a_file_system_would_refuse_is_no_revision(revision: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_revision(revision)
    assert "refs/pr/N" in str(refused.value)


@given(st.text(alphabet="ab./@-_\0\n\\", max_size=12))
def test_an_accepted_revision_stays_below_the_directory_it_is_joined_to(revision: str) -> None:
    try:
        parse_revision(revision)
    except InvalidRequest:
        return
    joined = posixpath.normpath(posixpath.join("/cache/refs", revision))
    assert joined == f"/cache/refs/{revision}"


@pytest.mark.parametrize(
    ("revision", "expected"),
    [(COMMIT, True), (COMMIT[:7], False), (COMMIT.upper(), False), (f"{COMMIT}\n", False)],
)
def test_only_a_full_lower_case_hash_is_a_commit(revision: str, expected: bool) -> None:
    assert is_commit(revision) is expected


def test_a_ref_is_a_repo_with_a_revision_and_main_without_one() -> None:
    assert parse_ref("a/b") == Ref(Repo("model", "a/b"), "main")
    assert parse_ref("a/b@v1") == Ref(Repo("model", "a/b"), "v1")
    assert parse_ref("a/b", "dataset", "v1") == Ref(Repo("dataset", "a/b"), "v1")
    assert parse_ref("a/b@v1", revision="v1").revision == "v1"
    assert str(parse_ref("a/b@refs/pr/1")) == "a/b@refs/pr/1"


def test_two_revisions_that_differ_are_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_ref("a/b@v1", revision="v2")
    assert "'v1' and 'v2'" in str(refused.value)


def test_an_at_sign_without_a_revision_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        parse_ref("a/b@")
