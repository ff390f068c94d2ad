"""How each model server loads a snapshot of this cache offline: its variables, and the command that uses them.

Pure: what lies in the snapshot is an argument. docs/SERVING.md says what of it was run, and what only read.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

SERVERS = ("vllm", "sglang", "transformers", "llama.cpp", "docker")

_SHARD = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")
_COMMANDS = {
    "vllm": 'vllm serve "$DISTD_MODEL" --served-model-name "$DISTD_REPO"',
    "sglang": 'python -m sglang.launch_server --model-path "$DISTD_MODEL" --served-model-name "$DISTD_REPO"',
    "transformers": 'AutoModelForCausalLM.from_pretrained(os.environ["DISTD_MODEL"])',
    "llama.cpp": "llama-server",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A published commit, and where the cache is that has it."""

    repo: str
    commit: str
    path: str
    hub_dir: str


@dataclass(frozen=True, slots=True)
class Serving:
    """`variables` in order; `command` uses them; `remarks` are sentences for a person."""

    variables: dict[str, str]
    command: str | None
    remarks: tuple[str, ...] = ()


def serving(snapshot: Snapshot, server: str | None, files: Sequence[str] | None, gid: int | None) -> Serving:
    """`files` are the snapshot's, `gid` is the cache's group; None: they cannot be seen from here.

    The model is always named by the path of its commit: that also holds for a selection of a repo's files, and a
    server that starts again gets the same weights when the branch has moved meanwhile.
    """
    variables = {
        "HF_HUB_CACHE": snapshot.hub_dir,
        "HF_HUB_OFFLINE": "1",
        "DISTD_MODEL": snapshot.path,
        "DISTD_REPO": snapshot.repo,
        "DISTD_COMMIT": snapshot.commit,
    }
    if server == "llama.cpp":
        return _llama_cpp(variables, files)
    if server == "vllm":
        # It reports its use to a server of its own project, and HF_HUB_OFFLINE does not stop that.
        variables["VLLM_NO_USAGE_STATS"] = "1"
    if server == "docker":
        group = str(gid) if gid is not None else "GID"
        mount = shlex.quote(f"{snapshot.hub_dir}:{snapshot.hub_dir}:ro")
        remarks = () if gid is not None else (f"GID is the number of the group of {snapshot.hub_dir}",)
        return Serving(
            variables, f"docker run --env-file FILE --group-add {group} --volume {mount} IMAGE", remarks
        )
    return Serving(variables, _COMMANDS.get(server or ""))


def _llama_cpp(variables: dict[str, str], files: Sequence[str] | None) -> Serving:
    variables["LLAMA_ARG_OFFLINE"] = "1"
    found = [] if files is None else _models(files)
    if len(found) == 1:
        variables["LLAMA_ARG_MODEL"] = f"{variables['DISTD_MODEL']}/{found[0]}"
        return Serving(variables, _COMMANDS["llama.cpp"])
    if found:
        reason = f"set LLAMA_ARG_MODEL to one of them below $DISTD_MODEL: {', '.join(found)}"
    elif files is None:
        reason = "set LLAMA_ARG_MODEL to a .gguf file below $DISTD_MODEL: this user cannot look there"
    else:
        reason = "llama.cpp loads .gguf files, and this snapshot has none"
    return Serving(variables, _COMMANDS["llama.cpp"], (reason,))


def _models(files: Sequence[str]) -> list[str]:
    """What `-m` may name: of a model in parts the first, and no projector of images, which is given beside it."""
    models = []
    for file in sorted(files):
        shard = _SHARD.search(file)
        is_model = file.endswith(".gguf") and not file.rpartition("/")[2].startswith("mmproj")
        if is_model and (shard is None or int(shard[1]) == 1):
            models.append(file)
    return models
