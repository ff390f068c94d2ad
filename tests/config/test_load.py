"""How file, environment and --set fill the configuration, and everything that is wrong with them."""

from __future__ import annotations

import os
import socket
import zoneinfo
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distd.config import Config, ConfigError, load_config
from distd.config.checks import NOT_IN_THIS_VERSION, is_loopback
from distd.config.sections import LimitWindow, PrefetchEntry
from distd.config.show import config_as_toml
from tests.config.conftest import Load, faults_of

DEFAULTS: dict[str, dict[str, Any]] = {
    name: keys for name, keys in msgspec.to_builtins(Config()).items() if isinstance(keys, dict)
}
OTHER: dict[str, tuple[str, object]] = {
    "node.name": ("gpu-01", "gpu-01"),
    "node.zone": ("rack 7", "rack 7"),
    "node.state_dir": ("/tmp", "/tmp"),
    "node.log_level": ("debug", "debug"),
    "node.log_format": ("json", "json"),
    "hub.endpoint": ("http://mirror:8080/hf/", "http://mirror:8080/hf"),
    "hub.token_file": ("/etc/hostname", "/etc/hostname"),
    "hub.fetch": ("false", False),
    "hub.connections": ("16", 16),
    "hub.ca_file": ("/etc/hostname", "/etc/hostname"),
    "hub.source": ("bridge", "bridge"),
    "hub.give_up_after": ("5m", 300.0),
    "cache.hub_dir": ("/tmp/hub", "/tmp/hub"),
    "cache.store_dir": ("/tmp/store", "/tmp/store"),
    "cache.max_bytes": ("2 TB", 2 * 10**12),
    "cache.min_free_bytes": ("64 MiB", 64 * 2**20),
    "cache.scrub_interval": ("30d", 2_592_000.0),
    "api.listen": ("[::1]:0", "[::1]:0"),
    "api.socket": ("/run/distd/distd.sock", "/run/distd/distd.sock"),
    "api.token_file": ("/etc/hostname", "/etc/hostname"),
    "cluster.name": ("fleet", "fleet"),
    "cluster.listen": ("[::1]:8071", "[::1]:8071"),
    "cluster.advertise": ("node-1.example:8071", "node-1.example:8071"),
    "cluster.join": ("a:1,[::1]:2", ("a:1", "[::1]:2")),
    "cluster.secret_file": ("/etc/hostname", "/etc/hostname"),
    "cluster.wire_version": ("0", 0),
    "cluster.allow": ("org/* n1 zone:a,o/b n2", ("org/* n1 zone:a", "o/b n2")),
    "cluster.gated": ("own_access", "own_access"),
    "cluster.tls_cert_file": ("/etc/passwd", "/etc/passwd"),
    "cluster.tls_key_file": ("/etc/passwd", "/etc/passwd"),
    "cluster.tls_ca_file": ("/etc/passwd", "/etc/passwd"),
    "cluster.tls_crl_file": ("/etc/passwd", "/etc/passwd"),
    "swarm.listen": ("127.0.0.1:8072", "127.0.0.1:8072"),
    "swarm.advertise": ("192.0.2.1:8072", "192.0.2.1:8072"),
    "swarm.encryption": ("full", "full"),
    "swarm.max_connections": ("7", 7),
    "limits.hub_down": ("50 MB/s", 50_000_000),
    "limits.hub_down_cluster": ("2 Gbit/s", 250_000_000),
    "limits.peer_up": ("1 Gbit/s", 125_000_000),
    "limits.peer_down": ("64 KiB/s", 65_536),
}
"""Key -> a value as text that is not the default, and what the program sees. Directories of one filesystem."""
TABLES = ("limits.window",)
"""Set in the file only; tested apart."""
SUPPORTED = [
    f"{section}.{key}"
    for section, keys in DEFAULTS.items()
    for key in keys
    if f"{section}.{key}" not in (*NOT_IN_THIS_VERSION, *TABLES)
]


def value_of(config: Config, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def beside(key: str) -> tuple[str, ...]:
    """What has to be set beside a key: both directories on /tmp, where one lies; the other files of TLS."""
    tls = [f"cluster.tls_{name}_file" for name in ("cert", "key", "ca")]
    if key in (*tls, "cluster.tls_crl_file"):
        return tuple(f"{each}=/etc/hostname" for each in tls if each != key)
    return ("node.state_dir=/tmp",) if key.startswith("cache.") else ()


def test_without_anything_the_defaults_hold() -> None:
    config = load_config(None, (), {"DISTD_CONFIG": "/dev/null"})
    assert config == Config()
    assert config.node.name == socket.gethostname()
    assert (config.hub_dir, config.store_dir) == ("/var/lib/distd/hub", "/var/lib/distd/store")


def test_there_is_another_value_for_every_key_that_has_an_effect() -> None:
    assert sorted(OTHER) == sorted(SUPPORTED)


@pytest.mark.parametrize("key", SUPPORTED)
def test_every_key_is_set_by_file_environment_and_command_line(load: Load, key: str) -> None:
    text, expected = OTHER[key]
    section, _, name = key.partition(".")
    written = text if isinstance(expected, bool) or text.isdigit() else f'"{text}"'
    if isinstance(expected, tuple):
        written = str(list(expected))
    variable = {f"DISTD_{section}__{name}".upper(): text}
    assert value_of(load(f"[{section}]\n{name} = {written}", *beside(key)), key) == expected
    assert value_of(load("", *beside(key), **variable), key) == expected
    assert value_of(load("", *beside(key), f"{key}={text}"), key) == expected


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(load: Load) -> None:
    file = "[hub]\nconnections = 1\ngive_up_after = 1\n[node]\nzone = 'file'"
    config = load(file, "hub.connections=3", DISTD_HUB__CONNECTIONS="2", DISTD_HUB__GIVE_UP_AFTER="2s")
    assert (config.hub.connections, config.hub.give_up_after, config.node.zone) == (3, 2.0, "file")
    assert config.hub.fetch is True


def test_of_two_settings_of_one_key_the_later_counts(load: Load) -> None:
    assert load("", "hub.connections=2", "hub.connections=3").hub.connections == 3


def test_a_value_may_contain_an_equals_sign(load: Load) -> None:
    assert load("", "node.zone=a=b").node.zone == "a=b"


def test_the_file_is_the_argument_else_the_environments(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("[node]\nzone = 'one'")
    two.write_text("[node]\nzone = 'two'")
    assert load_config(str(one), (), {"DISTD_CONFIG": str(two)}).node.zone == "one"
    assert load_config(None, (), {"DISTD_CONFIG": str(two)}).node.zone == "two"


def test_the_endpoint_defaults_to_that_of_hugging_faces_own_tools(load: Load) -> None:
    assert load("", HF_ENDPOINT="https://mirror/").hub.endpoint == "https://mirror"
    assert load("", HF_ENDPOINT="").hub.endpoint == "https://huggingface.co"
    assert (
        load("[hub]\nendpoint = 'https://file'", HF_ENDPOINT="https://mirror").hub.endpoint == "https://file"
    )
    assert "environment HF_ENDPOINT: hub.endpoint = 'mirror'" in faults_of(load, HF_ENDPOINT="mirror")[0]


def test_other_programs_variables_are_left_alone(load: Load) -> None:
    load("", DISTD_URL="http://x", DISTD_TOKEN="x", DISTD_SOCKET="x", PATH="/bin", HUB__CONNECTIONS="x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hubb]\nfetch = true", "FILE: hubb: unknown section: did you mean 'hub'?"),
        ("[zzz]\nx = 1", "FILE: zzz: unknown section: one of api, cache, cluster"),
        ("hub = 3", "FILE: hub = '3': is a section: write [hub] on its own line"),
        ("[hub]\nconections = 3", "FILE: hub.conections = 3: unknown key: did you mean 'connections'?"),
        ("[hub]\nqqqqqq = 3", "FILE: hub.qqqqqq = 3: unknown key: one of ca_file, connections"),
        ("[hub]\nconnections = '8'", "FILE: hub.connections = '8': expected `int`, got `str`"),
        ("[hub]\nconnections = 0", "FILE: hub.connections = 0: expected `int` >= 1"),
        ("[hub]\nconnections = 65", "FILE: hub.connections = 65: expected `int` <= 64"),
        ("[hub]\nconnections = 1.5", "FILE: hub.connections = 1.5: expected `int`, got `float`"),
        ("[hub]\nfetch = 'yes'", "FILE: hub.fetch = 'yes': expected `bool`, got `str`"),
        ("[hub]\nsource = 'torrent'", "FILE: hub.source = 'torrent': must be one of auto, bridge, xet"),
        ("[hub]\nendpoint = 'ftp://x'", "is not a Hub address"),
        ("[hub]\nendpoint = 'https://x?y'", "is not a Hub address"),
        ("[hub]\nendpoint = 'https://x:y'", "FILE: hub.endpoint = 'https://x:y': Port"),
        ("[hub]\nendpoint = 7", "is not a Hub address"),
        ("[hub]\ngive_up_after = 'soon'", "'soon' is not a duration"),
        ("[hub]\ngive_up_after = inf", "is not a duration"),
        ("[cache]\nmax_bytes = '5 XB'", "'5 XB' is not a size"),
        ("[cache]\nmax_bytes = -1", "is not a size"),
        ("[cache]\nmax_bytes = true", "FILE: cache.max_bytes = True: True is neither a number nor a text"),
        ("[cache]\nmax_bytes = []", "neither a number nor a text"),
        ("[limits]\nhub_down = 'fast'", "'fast' is not a rate"),
        ("[api]\nlisten = '7070'", 'is not an address: write "HOST:PORT"'),
        ("[api]\nlisten = 'host:70700'", "is not an address"),
        ("[api]\nlisten = ':7070'", "is not an address"),
        ("[api]\nlisten = 7070", "is not an address"),
        ("[node]\nname = ''", "FILE: node.name: expected `str` of length >= 1"),
        ("[node]\nlog_level = 'loud'", "must be one of debug, info, warning, error"),
        ("[cluster]\njoin = 'a:1'", "FILE: cluster.join = 'a:1': is a list: write it in [brackets]"),
        ("[cluster]\njoin = [7]", "FILE: cluster.join[0] = 7: expected `str`"),
        ("[prefetch]\nrepo = 'a/b'", "is a list: write it in [brackets]"),
        (
            "[[prefetch]]\nrepo = 'a/b'\nrevison = 'x'",
            "prefetch[0].revison = 'x': unknown key: did you mean 'revision'?",
        ),
        ("[[prefetch]]\ntype = 'model'", "lacks repo"),
        (
            "[[limits.window]]\ndays = ['mon', 'someday']",
            "limits.window[0].days[1] = 'someday': must be one of mon",
        ),
        ("[node", "FILE: is not valid TOML"),
    ],
)
def test_a_fault_names_the_file_the_key_the_value_and_what_is_allowed(
    load: Load, text: str, said: str
) -> None:
    lines = faults_of(load, text)
    assert len(lines) == 1
    assert lines[0].startswith("FILE:")
    assert said in lines[0]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("hub.connections", "write --set SECTION.KEY=VALUE"),
        ("connections=3", "write --set SECTION.KEY=VALUE"),
        (
            "hub.conections=3",
            "--set hub.conections=3: hub.conections = '3': unknown key: did you mean 'connections'?",
        ),
        ("hubb.x=3", "hubb.x = '3': unknown section: did you mean 'hub'?"),
        ("hub.connections=many", "expected `int`"),
        ("prefetch.repo=a/b", "lists of tables are set in the file only"),
        ("limits.window=x", "lists of tables are set in the file only"),
    ],
)
def test_a_fault_on_the_command_line_shows_the_words(load: Load, setting: str, said: str) -> None:
    (line,) = faults_of(load, "", setting)
    assert line.startswith(f"--set {setting}:")
    assert said in line


def test_a_fault_in_the_environment_names_the_variable(load: Load) -> None:
    (line,) = faults_of(load, DISTD_HUB__CONECTIONS="3")
    assert (
        line
        == "environment DISTD_HUB__CONECTIONS: hub.conections = '3': unknown key: did you mean 'connections'?"
    )
    (line,) = faults_of(load, DISTD_PREFETCH__REPO="a/b")
    assert "lists of tables are set in the file only" in line


def test_all_faults_are_told_at_once(load: Load) -> None:
    lines = faults_of(
        load, "[hub]\nconnections = 0\nsorce = 'x'\n[nod]\n", "api.listen=x", DISTD_CACHE__MAX_BYTES="much"
    )
    assert sorted(line.split(" ")[1] for line in lines) == [
        "DISTD_CACHE__MAX_BYTES:",
        "api.listen=x:",
        "hub.connections",
        "hub.sorce",
        "nod:",
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    for file, said in (
        (missing, "No such file"),
        (tmp_path, "Is a directory"),
        (binary, "is not valid TOML"),
    ):
        with pytest.raises(ConfigError) as refused:
            load_config(str(file), (), {})
        assert str(refused.value).startswith(f"{file}: ")
        assert said in str(refused.value)


def test_lists_outside_the_file_are_separated_by_commas(load: Load) -> None:
    assert load("", "cluster.join=a:1, b:2,").cluster.join == ("a:1", "b:2")


def test_a_window_says_what_is_wrong_with_it(load: Load) -> None:
    def faults(window: str) -> list[str]:
        return faults_of(load, f"[[limits.window]]\n{window}")

    assert "limits.window[0].from = '8:00': '8:00' is not a time of the day" in faults("from = '8:00'")[0]
    assert "is not a time of the day" in faults("to = '24:01'")[0]
    assert "did you mean 'Europe/Berlin'?" in faults("tz = 'Europe/Berlim'")[0]
    assert "is not a time zone" in faults("tz = '../../etc/passwd'")[0]
    assert "begins and ends at the same time" in faults("from = '08:00'\nto = '08:00'\nhub_down = 0")[0]
    assert "limits.window[0].peer_up = 10: is too little" in faults("peer_up = 10")[0]
    assert "limits.hub_down = 10: is too little" in faults_of(load, "[limits]\nhub_down = 10")[0]
    (line,) = faults_of(load, "[[limits.window]]\npeer_up = 0\n" * 51)
    assert "are too many windows: at most 50" in line


def test_without_time_zone_data_utc_works_and_others_say_what_to_install(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distd.config.kinds.ZoneInfo", zoneinfo.ZoneInfo.no_cache)
    monkeypatch.setattr("distd.config.kinds.available_timezones", set)
    zoneinfo.reset_tzpath(())
    try:
        assert load("[[limits.window]]\ntz = 'UTC'\npeer_up = 0").limits.window[0].tz == "UTC"
        (line,) = faults_of(load, "[[limits.window]]\ntz = 'Europe/Berlin'")
        assert "install tzdata, or write times in UTC" in line
    finally:
        zoneinfo.reset_tzpath()


def test_a_limit_that_a_window_leaves_out_is_told_from_none(load: Load) -> None:
    (window,) = load("[[limits.window]]\nfrom = '22:00'\nto = '06:00'\nhub_down = 0").limits.window
    assert (window.hub_down, window.peer_up) == (0, None)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("repo = 'no name at all'", "prefetch[0].repo = 'no name at all'"),
        (
            "repo = 'a/b'\nschedule = '0 3 * *'",
            "prefetch[0].schedule = '0 3 * *': '0 3 * *' is not a schedule",
        ),
        ("repo = 'a/b'\nschedule = '0 0 31 2 *'", "names a day that never comes"),
        ("repo = 'a/b'\n[[prefetch]]\nrepo = 'a/b'\npin = true", "prefetch[1] = 'a/b': is declared twice"),
    ],
)
def test_a_prefetch_entry_says_what_is_wrong_with_it(load: Load, entry: str, said: str) -> None:
    (line,) = faults_of(load, f"[[prefetch]]\n{entry}")
    assert said in line


FEATURES: dict[str, str] = {
    "mirror.listen": '"127.0.0.1:7073"',
}


@pytest.mark.parametrize("key", NOT_IN_THIS_VERSION)
def test_a_key_without_effect_yet_is_refused_instead_of_ignored(load: Load, key: str) -> None:
    section, _, name = key.partition(".")
    text = f"[{section}]\n{name} = {FEATURES[key]}" if name else f"{section} = {FEATURES[key]}"
    (line,) = faults_of(load, text)
    assert line.startswith(f"FILE: {key} = ")
    assert line.endswith("is not in this version: leave it out")


def test_a_key_without_effect_yet_may_stand_at_its_default(load: Load) -> None:
    assert load("[cluster]\nlisten = '127.0.0.1:7071'\njoin = []\n[mirror]\nlisten = ''").cluster.join == ()


@pytest.mark.parametrize("key", ["cluster.listen", "swarm.listen"])
def test_a_listener_for_members_beyond_loopback_needs_the_secret(load: Load, key: str) -> None:
    (line,) = faults_of(load, "", f"{key}=10.0.0.7:7071")
    assert f"{key} = '10.0.0.7:7071': can be reached by other hosts and needs cluster.secret_file" in line
    assert "distctl cluster init" in line
    load("", f"{key}=10.0.0.7:7071", "cluster.secret_file=/etc/hostname")


def test_a_listener_for_members_beyond_loopback_may_have_tls_instead(load: Load) -> None:
    tls = [f"cluster.tls_{name}_file=/etc/hostname" for name in ("cert", "key", "ca")]
    load("", "cluster.listen=10.0.0.7:7071", *tls)
    load("", "swarm.listen=10.0.0.7:7072", *tls, "swarm.encryption=tls")
    (line,) = faults_of(load, "", "swarm.listen=10.0.0.7:7072", *tls)
    assert 'swarm.encryption = "tls"' in line
    for missing in tls:
        (line,) = faults_of(load, "", *(each for each in tls if each != missing))
        assert f"{missing.partition('=')[0]}: is missing" in line


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("node.name=all", "cannot be told apart in --nodes"),
        ("node.name=a,b", "cannot be told apart in --nodes"),
        (
            "cluster.join=10.0.0.1",
            "cluster.join[0] = '10.0.0.1': is not a member's address: write \"HOST:PORT\"",
        ),
        ("cluster.join=a:1,b:0", "cluster.join[1] = 'b:0': names no one host and port"),
        ("cluster.join=0.0.0.0:7071", "names no one host and port"),
        ("cluster.advertise=0.0.0.0:7071", "is no address that others could connect to"),
        ("swarm.advertise=[::]:7072", "is no address that others could connect to"),
        ("swarm.advertise=gpu-1:7072", "needs a numeric address"),
        ("swarm.listen=localhost:7072", "needs a numeric address"),
        ("swarm.listen=127.0.0.1:65535", "leaves no next port"),
        ("swarm.encryption=tls", "needs cluster.tls_cert_file, tls_key_file and tls_ca_file"),
        ("cluster.secret_file=/nowhere", "cannot be read"),
        ("cluster.tls_crl_file=/nowhere", "cannot be read"),
        ("cluster.tls_crl_file=/etc/passwd", "revokes certificates, of which there are none"),
        ("cluster.allow=meta-llama/*", "allows nobody: write"),
        ("cluster.allow=llama gpu-1", "allows nobody: write"),
    ],
)
def test_what_a_cluster_cannot_work_with_is_refused(load: Load, setting: str, said: str) -> None:
    (line,) = faults_of(load, "", setting)
    assert said in line


def test_xet_is_refused_in_this_version(load: Load) -> None:
    assert "is not in this version" in faults_of(load, "[hub]\nsource = 'xet'")[0]


def test_directories_follow_the_state_directory_and_may_be_set_apart(load: Load, tmp_path: Path) -> None:
    config = load("", f"node.state_dir={tmp_path}/")
    assert (config.hub_dir, config.store_dir) == (f"{tmp_path}/hub", f"{tmp_path}/store")
    config = load("", f"node.state_dir={tmp_path}", f"cache.hub_dir={tmp_path}/elsewhere")
    assert (config.hub_dir, config.store_dir) == (f"{tmp_path}/elsewhere", f"{tmp_path}/store")


def test_hub_and_store_on_different_filesystems_are_refused(load: Load, tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two filesystems")
    (line,) = faults_of(
        load, "", f"cache.hub_dir={tmp_path}/hub", "cache.store_dir=/dev/shm/distd-test/store"
    )
    assert "another filesystem" in line
    assert "cache.store_dir = '/dev/shm/distd-test/store'" in line


@pytest.mark.parametrize("key", ["node.state_dir", "cache.hub_dir", "cache.store_dir"])
@pytest.mark.parametrize("relative", [False, True])
def test_a_directory_that_is_a_file_is_refused(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, relative: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    path = "file" if relative else str(tmp_path / "file")
    (line,) = faults_of(load, "", f"node.state_dir={tmp_path}", f"{key}={path}")
    assert f"{key} = {path!r}: is not a directory" in line


@pytest.mark.parametrize("key", ["hub.token_file", "hub.ca_file", "api.token_file"])
def test_a_named_file_that_cannot_be_read_is_refused(load: Load, tmp_path: Path, key: str) -> None:
    (line,) = faults_of(load, "", f"{key}={tmp_path}/missing")
    assert f"{key} = '{tmp_path}/missing': cannot be read" in line


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("gpu-01:1", False),
    ],
)
def test_only_loopback_is_loopback(listen: str, expected: bool) -> None:
    assert is_loopback(listen) is expected


# Shown as TOML.


def test_what_is_shown_loads_again_to_the_same(load: Load) -> None:
    config = load("", *(f"{key}={text}" for key, (text, _) in OTHER.items()))
    assert config != Config()
    assert load(config_as_toml(config)) == config


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), st.integers(0, 10**18))
def test_any_text_and_number_survive_being_shown(load: Load, text: str, number: int) -> None:
    config = Config()
    config = msgspec.structs.replace(
        config,
        node=msgspec.structs.replace(config.node, zone=text, log_format="json"),
        cache=msgspec.structs.replace(config.cache, max_bytes=number),
    )
    assert load(config_as_toml(config)) == config


def test_tables_are_shown_in_full(load: Load) -> None:
    window = LimitWindow(days=("mon", "sun"), from_time="22:00", to="06:00", hub_down=100_000)
    config = msgspec.structs.replace(
        Config(),
        limits=msgspec.structs.replace(Config().limits, window=(window, window)),
        prefetch=(PrefetchEntry(repo="a/b", include=("*.json", 'q"uote')),),
    )
    shown = config_as_toml(config)
    assert shown.count("[[limits.window]]") == 2
    assert 'from = "22:00"' in shown
    assert 'include = ["*.json", "q\\"uote"]' in shown
    assert load(shown) == config


def test_nothing_of_the_environment_changes_while_loading(load: Load) -> None:
    before = dict(os.environ)
    load("[node]\nzone = 'x'")
    assert dict(os.environ) == before


def test_credentials_are_defaults_of_their_keys_and_none_means_there_is_none(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "cluster-secret").write_text("0f9c2ab1764de83350a1f2b4c6d8e7f9\n")
    (credentials / "api-token").write_text("none\n")
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    config = load_config(None, (), environment)
    assert config.cluster.secret_file == f"{credentials}/cluster-secret"
    assert config.is_member
    assert config.api.token_file == ""
    # So that a listener beyond loopback needs no key beside it.
    assert load_config(None, ["cluster.listen=0.0.0.0:7071"], environment).cluster.listen == "0.0.0.0:7071"


def test_whatever_is_written_wins_over_a_credential(tmp_path: Path) -> None:
    for name in ("cluster-secret", "mine"):
        (tmp_path / name).write_text("0f9c2ab1764de83350a1f2b4c6d8e7f9\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    file = tmp_path / "config.toml"
    file.write_text(f"[cluster]\nsecret_file = '{tmp_path}/mine'\n")
    assert load_config(str(file), (), environment).cluster.secret_file == f"{tmp_path}/mine"
    assert load_config(None, ["cluster.secret_file="], environment).cluster.secret_file == ""
