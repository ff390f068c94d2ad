"""URLs and header values, as pure functions."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.refs import Repo
from distd.errors import InvalidRequest
from distd.hub.headers import ContentRange, bare_etag, bearer, parse_content_range, parse_length
from distd.hub.locations import LOCATIONS_MAX, Location, Locations, lifetime_s
from distd.hub.urls import expires_unix, origin, redirect_target, resolve_url, shown

COMMIT = "0" * 40


def test_repos_of_each_type_have_their_prefix() -> None:
    assert (
        resolve_url("https://hf/", Repo("model", "a/b"), COMMIT, "c.json")
        == f"https://hf/a/b/resolve/{COMMIT}/c.json"
    )
    assert resolve_url("https://hf", Repo("dataset", "a/b"), COMMIT, "c").startswith(
        "https://hf/datasets/a/b/"
    )
    assert resolve_url("https://hf/x", Repo("space", "a/b"), COMMIT, "c").startswith(
        "https://hf/x/spaces/a/b/"
    )


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda path: path[0] != "/"))
def test_any_path_survives_its_way_through_a_url(path: str) -> None:
    url = resolve_url("https://hf", Repo("model", "a/b"), COMMIT, path)
    parts = urlsplit(url)
    assert unquote(parts.path) == f"/a/b/resolve/{COMMIT}/{path}"
    assert (parts.query, parts.fragment, url.isascii()) == ("", "", True)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://Hub.example/x") == origin("https://hub.example:443/y")
    assert origin("https://hub.example") != origin("http://hub.example")
    assert origin("https://hub.example") != origin("https://hub.example:8443")
    assert origin("https://hub.example") != origin("https://hub.example.evil")
    for url in ("ftp://hub.example", "/relative", "https://", "https://hub:port/", "https://[::1/"):
        with pytest.raises(ValueError):
            origin(url)


def test_redirects_resolve_against_the_url_they_answer() -> None:
    assert redirect_target("https://hub/a/b", "/c?d=%2F&e=%22x%22#f") == "https://hub/c?d=%2F&e=%22x%22"
    assert redirect_target("https://hub/a/b", "//cdn/c") == "https://cdn/c"
    assert redirect_target("http://hub/a", "https://cdn/ü b") == "https://cdn/%C3%BC%20b"


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://hub/a",
        "ftp://hub/a",
        "file:///etc/passwd",
        "https://hub@evil/a",
        "https://hub\\@evil/a",
        "x" * 20_000,
    ],
)
def test_redirects_that_are_not_to_be_followed_are_refused(location: str) -> None:
    with pytest.raises(ValueError):
        redirect_target("https://hub/a", location)


@given(st.text(max_size=300))
def test_a_followed_redirect_is_plain_ascii_http_with_one_reading(location: str) -> None:
    try:
        target = redirect_target("http://hub/a", location)
    except ValueError:
        return
    assert target.isascii()
    assert target.isprintable()
    assert not set(target) & set(" \\")
    assert origin(target)[0] in ("http", "https")


def test_expiry_is_read_from_the_query_of_each_known_signer() -> None:
    assert expires_unix("https://cdn/x?Expires=1800000000&Signature=a") == 1_800_000_000
    assert expires_unix("https://cdn/x?exp=1800000000") == 1_800_000_000
    assert expires_unix("https://cdn/x?X-Xet-Expires=1800000000") == 1_800_000_000
    assert expires_unix("https://s3/x?X-Amz-Date=20270115T080000Z&X-Amz-Expires=3600") == 1_800_003_600
    assert expires_unix("https://gs/x?X-Goog-Date=20270115T080000Z&X-Goog-Expires=60") == 1_800_000_060
    assert expires_unix("https://cdn/x?Expires=1800000000&exp=1700000000") == 1_700_000_000


@pytest.mark.parametrize(
    "query", ["", "Expires=soon", "Expires=1", "X-Amz-Date=x&X-Amz-Expires=5", "a=1&" * 200]
)
def test_a_url_that_names_no_expiry_has_none(query: str) -> None:
    assert expires_unix(f"https://cdn/x?{query}") is None


@given(st.text(max_size=200))
def test_no_query_breaks_the_reading_of_expiry(query: str) -> None:
    found = expires_unix(f"https://cdn/x?{query}")
    assert found is None or found > 0


def test_shown_urls_have_no_query_and_no_user() -> None:
    assert shown("https://user:secret@cdn:8443/x?Signature=secret") == "https://cdn:8443/x"
    assert "secret" not in shown("https://cdn:port/x?Signature=secret")


def test_urls_are_used_until_a_minute_before_they_expire() -> None:
    assert lifetime_s(4600, now_unix=1000) == 3540
    assert lifetime_s(1100, now_unix=1000) == 50
    assert lifetime_s(1121, now_unix=1000) == 61
    assert lifetime_s(900, now_unix=1000) == 0
    assert lifetime_s(None, now_unix=1000) > 0


def test_locations_are_bounded_and_end() -> None:
    locations = Locations()
    locations.keep(("first",), Location("u", 10.0))
    assert locations.find(("first",), 9.9) == Location("u", 10.0)
    assert locations.find(("first",), 10.0) is None
    locations.forget(("first",), "another")
    assert locations.find(("first",), 9.9) is not None
    for number in range(LOCATIONS_MAX):
        locations.keep((number,), Location(None, 10.0))
    assert len(locations) == LOCATIONS_MAX
    assert locations.find(("first",), 9.9) is None


def test_tokens_that_no_header_can_carry_are_refused_without_being_named() -> None:
    assert bearer("hf_x") == {"Authorization": "Bearer hf_x"}
    assert bearer(None) == bearer("") == {}
    for token in ("hf_secret\nX: y", "hf secret", "hf_secrét"):
        with pytest.raises(InvalidRequest) as caught:
            bearer(token)
        assert "secr" not in str(caught.value)


def test_content_ranges_and_lengths_are_read_strictly() -> None:
    assert parse_content_range("bytes 0-99/1000") == ContentRange(0, 100, 1000)
    assert parse_content_range("bytes 5-5/*") == ContentRange(5, 6, None)
    for value in ("", "bytes */1000", "bytes 9-5/10", "items 0-1/2", "bytes 0-/5", "bytes -1-5/9"):
        assert parse_content_range(value) is None
    assert parse_length("12") == 12
    assert parse_length("-1") is parse_length("") is parse_length("1.0") is None
    assert bare_etag('W/"abc"') == bare_etag('"abc"') == "abc"


@given(st.integers(0, 10**15), st.integers(1, 10**9), st.integers(0, 10**9))
def test_every_well_formed_content_range_is_understood(start: int, count: int, rest: int) -> None:
    end, total = start + count, start + count + rest
    assert parse_content_range(f"bytes {start}-{end - 1}/{total}") == ContentRange(start, end, total)


@given(st.text(max_size=60))
def test_no_text_makes_an_empty_or_backward_range(value: str) -> None:
    sent = parse_content_range(value)
    assert sent is None or 0 <= sent.start < sent.end
