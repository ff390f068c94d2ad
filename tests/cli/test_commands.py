"""The other commands, piped: what a script would read."""

from __future__ import annotations

import json
import stat
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from distd.api.schema import BadFile, Finding
from distd.cli.commands.cluster import config_for
from distd.config.load import CREDENTIALS_SOURCE
from distd.core.refs import Repo
from peers import secret, tls
from peers.tls import TlsFiles
from tests.api.memory import COMMIT, peer, snapshot_path
from tests.cli.serving import ServedDaemon, command, distctl, environment

TINY = Repo("model", "acme/tiny")


def pulled(daemon: ServedDaemon) -> str:
    return distctl(daemon, "pull", "--detach", "--quiet", "acme/tiny").stdout.strip()


def test_a_plan_shows_bytes_by_source_and_the_disk(daemon: ServedDaemon) -> None:
    ran = distctl(daemon, "plan", "acme/tiny")
    assert ran.returncode == 0
    assert "model.safetensors  2.0 MB   0 B" in ran.stdout
    assert "from the Hub 2.0 MB, from peers 0 B, held already 0 B" in ran.stdout
    assert "time about 1 m 00 s (50 s to 1 m 30 s)" in ran.stdout


def test_a_plan_of_an_unknown_repo_exits_with_4(daemon: ServedDaemon) -> None:
    ran = distctl(daemon, "plan", "acme/none", "--json")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "has no repository acme/none" in ran.stderr


def test_a_pull_is_shown_steered_and_told(daemon: ServedDaemon) -> None:
    pull_id = pulled(daemon)
    for verb, state in [("pause", "paused"), ("resume", "downloading"), ("cancel", "cancelled")]:
        ran = distctl(daemon, verb, pull_id)
        assert (ran.returncode, ran.stderr) == (0, f"acme/tiny@main is {state}\n")
    assert distctl(daemon, "show", pull_id, "-q").stdout == "cancelled\n"
    assert json.loads(distctl(daemon, "show", pull_id, "--json").stdout)["id"] == pull_id
    story = distctl(daemon, "story", pull_id).stdout.splitlines()
    assert len(story) == 4
    assert story[0].endswith("submitted     asked for acme/tiny@main")
    ran = distctl(daemon, "resume", pull_id)
    assert (ran.returncode, ran.stderr) == (1, "distctl: Conflict: pull p0001 is cancelled\n")


def test_pulls_are_listed_over_several_pages(daemon: ServedDaemon) -> None:
    for number in range(3):
        distctl(daemon, "pull", "-d", "acme/tiny", "--priority", str(number - 9))
    assert distctl(daemon, "pulls", "-q").stdout.split() == ["p0003", "p0002", "p0001"]
    assert distctl(daemon, "pulls", "-q", "--limit", "2").stdout.split() == ["p0003", "p0002"]
    lines = distctl(daemon, "pulls", "--state", "queued").stdout.splitlines()
    assert lines[0].split() == ["PULL", "REPO", "STATE", "DONE", "SIZE", "CREATED"]
    assert len(lines) == 4


def test_what_is_held_is_listed_and_its_path_printed(daemon: ServedDaemon) -> None:
    daemon.memory.models.hold(TINY)
    daemon.memory.models.hold(Repo("dataset", "squad"))
    lines = distctl(daemon, "ls").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["squad", "dataset"], ["acme/tiny", "model"]]
    assert len(json.loads(distctl(daemon, "ls", "--json").stdout)["items"]) == 2
    for name in ("acme/tiny", "acme/tiny@main", f"acme/tiny@{COMMIT}"):
        assert distctl(daemon, "path", name).stdout == snapshot_path(TINY) + "\n"
    ran = distctl(daemon, "path", "squad@v2", "--type", "dataset")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "held are main" in ran.stderr


def test_an_empty_cache_lists_nothing_on_stdout(daemon: ServedDaemon) -> None:
    ran = distctl(daemon, "ls")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "holds nothing yet" in ran.stderr


def test_a_pinned_repo_is_removed_only_after_unpin(daemon: ServedDaemon) -> None:
    daemon.memory.models.hold(TINY)
    assert distctl(daemon, "pin", "acme/tiny").stderr == "acme/tiny is pinned\n"
    assert "pinned" in distctl(daemon, "ls").stdout
    assert distctl(daemon, "rm", "acme/tiny").returncode == 1
    assert distctl(daemon, "unpin", "acme/tiny@main").stderr == "acme/tiny@main is unpinned\n"
    ran = distctl(daemon, "rm", "acme/tiny", "--json")
    assert json.loads(ran.stdout) == {"removed": [COMMIT], "freed_bytes": 1000}
    assert distctl(daemon, "rm", "acme/tiny").returncode == 4


def test_gc_says_what_went_and_what_stays_and_exits_with_7_when_that_is_not_enough(
    daemon: ServedDaemon,
) -> None:
    told = distctl(daemon, "gc", "--dry-run")
    assert told.returncode == 0
    assert "acme/old" in told.stdout
    assert "kept: pinned" in told.stdout
    assert "would come free" in told.stdout
    assert distctl(daemon, "gc", "--quiet").stdout == "1000\n"
    assert distctl(daemon, "gc", "--free", "1 GB").returncode == 7
    assert distctl(daemon, "gc", "--free", "much").returncode == 2


def test_verify_goes_over_all_that_is_held_and_exits_with_6_for_a_bad_file(daemon: ServedDaemon) -> None:
    daemon.memory.models.hold(TINY)
    daemon.memory.models.hold(Repo("model", "gpt2"))
    ran = distctl(daemon, "verify")
    assert (ran.returncode, ran.stdout) == (
        0,
        "ok  acme/tiny: 2 files, 1.0 kB\nok  gpt2: 2 files, 1.0 kB\n",
    )
    daemon.memory.models.bad = (BadFile(COMMIT, "a\x1b[31m.bin", "a" * 64, "b" * 64),)
    ran = distctl(daemon, "verify", "acme/tiny")
    assert ran.returncode == 6
    assert f"BAD acme/tiny a\\x1b[31m.bin: is {'b' * 64}" in ran.stdout


def test_status_names_the_node_and_what_it_does(daemon: ServedDaemon) -> None:
    pulled(daemon)
    daemon.memory.node.unready = ["the disk is full"]
    out = distctl(daemon, "status").stdout
    assert "gpu-01, distd" in out
    assert "not ready: distctl doctor says why" in out
    assert "p0001  acme/tiny@main: queued" in out
    assert json.loads(distctl(daemon, "--json", "status").stdout)["node"] == "gpu-01"


def test_the_members_are_a_table_with_what_is_wrong_with_them(daemon: ServedDaemon) -> None:
    daemon.memory.node.others = [
        peer("gpu-02", fetches_hub=False),
        peer("gpu-03", state="dead", rtt_s=None, clock_skew_s=-70.0, trouble="no answer\x1b[2J in time"),
    ]
    lines = distctl(daemon, "peers").stdout.splitlines()
    assert lines[0].split()[:5] == ["NAME", "ZONE", "STATE", "ADDRESS", "RTT"]
    assert lines[1].split()[0] == "gpu-01"
    assert lines[1].endswith("this node")
    assert "1.2 ms  61.0 MB/s  5.0 MB/s" in lines[2]
    assert lines[2].endswith("does not fetch from the Hub")
    assert "its clock differs by -70 s; no answer\\x1b[2J in time" in lines[3]
    assert "last heard" in lines[3]
    assert distctl(daemon, "peers", "-q").stdout.split() == ["gpu-01", "gpu-02", "gpu-03"]
    assert len(json.loads(distctl(daemon, "peers", "--json").stdout)["items"]) == 3
    assert "2 of 3 members reachable" in distctl(daemon, "status").stdout


def test_a_new_secret_is_private_random_and_usable_and_its_configuration_loads(tmp_path: Path) -> None:
    file = tmp_path / "cluster-secret"
    ran = distctl(None, "cluster", "init", "--file", str(file))
    assert ran.returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
    assert secret.read(str(file)).warnings == ()
    assert file.read_text().strip() not in ran.stdout + ran.stderr
    assert "distctl peers" in ran.stderr
    config = tmp_path / "config.toml"
    config.write_text(ran.stdout)
    checked = distctl(None, "config", "check", "--config", str(config))
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_secret_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    file = tmp_path / "cluster-secret"
    assert distctl(None, "cluster", "init", "--file", str(file), "-q").stdout == f"{file}\n"
    first = file.read_text()
    ran = distctl(None, "cluster", "init", "--file", str(file))
    assert (ran.returncode, ran.stdout, file.read_text()) == (1, "", first)
    assert f"{file} exists" in ran.stderr
    ran = distctl(None, "cluster", "init", "--file", str(file), "--force", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["file"]) == (0, str(file))
    assert file.read_text() != first
    assert distctl(None, "cluster", "init", "--file", str(tmp_path / "no" / "file")).returncode == 1
    assert list(tmp_path.iterdir()) == [file]


def test_a_ca_and_certificates_are_made_that_the_daemon_takes(tmp_path: Path) -> None:
    secret_file, tls_dir = tmp_path / "cluster-secret", tmp_path / "tls"
    init = ("cluster", "init", "--file", str(secret_file), "--tls", "--tls-dir", str(tls_dir))
    ran = distctl(None, *init, "--node", "gpu-1", "--node", "gpu-2")
    assert (ran.returncode, ran.stderr.count("Traceback")) == (0, 0), ran.stderr
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tls_dir.iterdir()}
    assert modes == {
        **dict.fromkeys(("ca.key", "gpu-1.key", "gpu-2.key"), 0o600),
        **dict.fromkeys(("ca.pem", "gpu-1.pem", "gpu-2.pem", "issued"), 0o644),
    }
    config = tomllib.loads(ran.stdout)
    assert config["swarm"]["encryption"] == "tls"
    assert config["cluster"]["tls_ca_file"] == f"{tls_dir}/ca.pem"
    for name in ("gpu-1", "gpu-2"):
        files = TlsFiles(*(str(tls_dir / each) for each in (f"{name}.pem", f"{name}.key", "ca.pem")))
        assert tls.load(files, time.time()).warnings == ()
    for name in ("pem", "key"):
        (tls_dir / f"node.{name}").write_bytes((tls_dir / f"gpu-1.{name}").read_bytes())
        (tls_dir / f"node.{name}").chmod(0o600)
    (tmp_path / "config.toml").write_text(ran.stdout)
    checked = distctl(None, "config", "check", "--config", str(tmp_path / "config.toml"))
    assert (checked.returncode, checked.stderr) == (0, "")

    secret_before, ca_before = secret_file.read_bytes(), (tls_dir / "ca.pem").read_bytes()
    again = distctl(None, *init)
    assert again.returncode == 1
    assert "ca" in again.stderr
    before = (tls_dir / "gpu-2.pem").read_bytes()
    renewed = distctl(None, "cluster", "cert", "gpu-2", "--tls-dir", str(tls_dir), "--json")
    assert json.loads(renewed.stdout)["items"][0]["cert"] == f"{tls_dir}/gpu-2.pem"
    assert (tls_dir / "gpu-2.pem").read_bytes() != before
    assert (secret_file.read_bytes(), (tls_dir / "ca.pem").read_bytes()) == (secret_before, ca_before)

    # The one that was renewed counted on: all that were made for a node are revoked.
    for _ in range(2):
        revoked = distctl(None, "cluster", "revoke", "gpu-2", "--tls-dir", str(tls_dir), "--json")
        assert (revoked.returncode, json.loads(revoked.stdout)["file"]) == (0, f"{tls_dir}/crl.pem")
        assert len(json.loads(revoked.stdout)["items"][0]["serials"]) == 2
    crl = str(tls_dir / "crl.pem")
    for name, is_revoked in (("gpu-1", False), ("gpu-2", True)):
        files = TlsFiles(*(str(tls_dir / each) for each in (f"{name}.pem", f"{name}.key", "ca.pem")), crl)
        if is_revoked:
            with pytest.raises(tls.TlsUnusable, match="it is revoked"):
                tls.load(files, time.time())
        else:
            assert len(tls.load(files, time.time()).revoked) == 2
    assert "swarms" in distctl(None, "cluster", "revoke", "gpu-1", "--tls-dir", str(tls_dir)).stderr
    for unknown in ("gpu-9", "ca", "a/b"):
        ran = distctl(None, "cluster", "revoke", unknown, "--tls-dir", str(tls_dir))
        assert (ran.returncode, ran.stdout, "no certificate was made here" in ran.stderr) == (1, "", True)
    for wrong in (("gpu-3", "--tls-dir", str(tmp_path)), ("a/b", "--tls-dir", str(tls_dir))):
        ran = distctl(None, "cluster", "cert", *wrong)
        assert (ran.returncode, ran.stdout, ran.stderr.count("Traceback")) == (1, "", 0)


def test_a_healthy_node_passes_the_doctor(daemon: ServedDaemon) -> None:
    ran = distctl(daemon, "doctor", "--json")
    report = json.loads(ran.stdout)
    assert (ran.returncode, report["ok"]) == (0, True)
    names = [found["name"] for found in report["findings"]]
    assert names == ["daemon", "version", "ready", "config", "filesystem", "hub"]


def test_the_doctor_names_each_fault_and_its_fix(daemon: ServedDaemon) -> None:
    daemon.memory.node.unready = ["the disk is full"]
    daemon.memory.node.version = "9.9.9"
    daemon.memory.node.findings = [Finding("hub", "fail", "timed out", "check the proxy")]
    ran = distctl(daemon, "doctor", env={"DISTD_HUB__CONNECTIONS": "many"})
    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    for name, outcome, says in [
        ("version", "warn", "9.9.9"),
        ("ready", "fail", "the disk is full"),
        ("config", "fail", "hub.connections"),
        ("hub", "fail", "timed out"),
    ]:
        line = next(n for n, line in enumerate(lines) if line.split()[:2] == [outcome, name])
        assert says in lines[line]
        assert lines[line + 1].strip().startswith("fix: ")


def test_the_doctor_works_without_a_daemon(tmp_path: Path) -> None:
    ran = distctl(None, "doctor", "--socket", str(tmp_path / "none.sock"))
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[0].split()[:6] == ["fail", "daemon", "the", "daemon", "does", "not"]


def test_a_shown_configuration_is_one_that_check_accepts(tmp_path: Path) -> None:
    shown = distctl(None, "config", "show", "--set", "hub.connections=7").stdout
    assert "connections = 7\n" in shown
    file = tmp_path / "config.toml"
    file.write_text(shown)
    ran = distctl(None, "config", "check", "--config", str(file))
    assert (ran.returncode, ran.stdout) == (0, "the configuration is valid\n")
    again = distctl(None, "config", "show", "--config", str(file), "--json")
    assert json.loads(again.stdout)["hub"]["connections"] == 7


def test_a_wrong_configuration_is_named_and_exits_with_2(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[hub]\nconnectoins = 3\n")
    ran = distctl(None, "config", "check", "--config", str(file))
    assert ran.returncode == 2
    assert str(file) in ran.stderr
    assert "did you mean 'connections'?" in ran.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(shell: str) -> None:
    ran = distctl(None, "completion", shell)
    assert ran.returncode == 0
    assert "_DISTCTL_COMPLETE" in ran.stdout


def test_the_shell_completes_commands() -> None:
    words = {"_DISTCTL_COMPLETE": "bash_complete", "COMP_WORDS": "distctl pu", "COMP_CWORD": "1"}
    assert distctl(None, env=words).stdout == "plain,pull\nplain,pulls\n"


@pytest.mark.parametrize("models", [1, 60], ids=["at the end", "while it prints"])
def test_a_reader_that_leaves_causes_no_noise(daemon: ServedDaemon, models: int) -> None:
    for number in range(models):
        daemon.memory.models.hold(Repo("model", f"acme/model-{number:03d}-{'x' * 60}"))
    process = subprocess.Popen(
        command("ls", "--json"), env=environment(daemon), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(10) == 1
    process.stderr.close()


def test_a_full_output_device_is_named_and_fails(daemon: ServedDaemon) -> None:
    daemon.memory.models.hold(TINY)
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            command("ls"),
            env=environment(daemon),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_limits_are_shown_with_their_reasons_and_set(daemon: ServedDaemon) -> None:
    shown = distctl(daemon, "limits").stdout
    assert "hub_down          50.0 MB/s  configured" in shown
    assert "hub_down_cluster       none  configured" in shown
    assert "the limits change next at 2026-03-07T00:00:00.000Z" in shown
    done = distctl(daemon, "limits", "set", "peer_up=1 Gbit/s", "hub_down=0", "--for", "2h")
    assert "peer_up           125.0 MB/s  set until 2026-03-02T11:00:00.000Z" in done.stdout
    assert "hub_down 0\n" in distctl(daemon, "--quiet", "limits", "show").stdout
    back = json.loads(distctl(daemon, "--json", "limits", "set", "peer_up=config").stdout)
    assert list(back["set"]) == ["hub_down"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["peer_sideways=1"], "write KEY=RATE, with one of hub_down"),
        (["peer_up"], "write KEY=RATE"),
        (["peer_up=fast"], "'fast' is not a rate"),
        (["peer_up=0", "--for", "soon"], "'soon' is not a duration"),
    ],
)
def test_a_limit_that_cannot_be_read_is_a_usage_error(
    daemon: ServedDaemon, words: list[str], said: str
) -> None:
    done = distctl(daemon, "limits", "set", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_prefetch_entries_are_added_listed_run_and_removed(daemon: ServedDaemon) -> None:
    assert "0 3 * * *  never  2026-03-03T03:0" in distctl(daemon, "prefetch", "ls").stdout
    added = distctl(daemon, "prefetch", "add", "acme/tiny@v1", "--include", "*.json", "--pin")
    assert added.stderr.endswith("acme/tiny@v1 is kept present\n")
    entry_id = added.stderr.partition(":")[0]
    listed = json.loads(distctl(daemon, "prefetch", "ls", "--json").stdout)["items"]
    (entry,) = [each for each in listed if each["id"] == entry_id]
    assert (entry["revision"], entry["include"], entry["pin"]) == ("v1", ["*.json"], True)
    assert distctl(daemon, "prefetch", "run", entry_id, "-q").stdout == f"{entry_id}\n"
    assert distctl(daemon, "prefetch", "rm", entry_id).returncode == 0
    assert distctl(daemon, "prefetch", "rm", entry_id).returncode == 4
    bad = distctl(daemon, "prefetch", "add", "acme/tiny", "--schedule", "nightly")
    assert bad.returncode == 2
    assert "write five fields as in cron" in bad.stderr


def test_a_secret_that_the_unit_hands_over_is_not_named_in_the_configuration(tmp_path: Path) -> None:
    text = config_for(f"{CREDENTIALS_SOURCE}/cluster-secret", "fleet")
    assert "secret_file" not in tomllib.loads(text)["cluster"]
    elsewhere = tomllib.loads(config_for(f"{tmp_path}/secret", "fleet"))
    assert elsewhere["cluster"]["secret_file"] == f"{tmp_path}/secret"
