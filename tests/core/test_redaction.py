"""What looks like a secret is hidden, and facts are not."""

from __future__ import annotations

import pytest

from distd.redaction import HIDDEN, redacted

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"the token {TOKEN} was refused", TOKEN),
        ("GET https://cdn.example/x/y?X-Amz-Signature=0123abcd&Expires=9 failed", "0123abcd"),
        ("proxy http://joe:pa55word@proxy.example:3128 refused", "pa55word"),
        ("Authorization: Bearer 0123456789abcdef", "0123456789abcdef"),
        ('{"api_token": "s3cr3t-value"}', "s3cr3t-value"),
        ("CLUSTER_SECRET=0f9c2ab1764de833", "0f9c2ab1764de833"),
        ("password: hunter22", "hunter22"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, secret: str) -> None:
    hidden = redacted(text)
    assert secret not in hidden
    assert HIDDEN in hidden
    assert redacted(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "acme/llama-tiny@main: published at /var/lib/distd/hub/models--acme--llama-tiny/snapshots/1d2acb2b8812",
        'token_file = "/etc/distd/hf-token"'.replace('"/etc/distd/hf-token"', '""'),
        "secret_file = none",
        "https://huggingface.co is not reachable (it answered 502)",
        "expected 3f786850e387550fdab836ed7e6dc881de23001b, got 89e6c98d92887913cadf06b2adb97f26cde4849b",
        "tokenizer.json 50%",
        "hub 1.31 peers 0.11, user@host",
    ],
)
def test_facts_stay(text: str) -> None:
    assert redacted(text) == text


def test_known_secrets_are_hidden_wherever_they_stand_and_short_words_are_none() -> None:
    text = "xxtop-secretyy and top and none"
    assert redacted(text, ["top-secret", "top", "none"]) == f"xx{HIDDEN}yy and top and none"
    # The longer first: otherwise its end would be left.
    assert redacted("abcdef-123456", ["abcdef", "abcdef-123456"]) == HIDDEN
