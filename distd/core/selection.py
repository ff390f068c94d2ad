"""Which files of a manifest a pull takes: globs, and one weight format instead of duplicates.

Globs are huggingface_hub's (`fnmatch` over the whole path; a pattern that ends in `/` takes the
directory, a backslash stands for `/`), so that a selection means the same here and in `hf download`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from distd.core.manifest import Manifest, ManifestFile
from distd.errors import FileNotFound

Weights = Literal["auto", "all", "safetensors", "gguf", "bin", "pth"]
WEIGHTS: tuple[str, ...] = get_args(Weights)

Format = Literal["safetensors", "gguf", "bin", "pth", "other"]

_PREFERENCE: tuple[Format, ...] = ("safetensors", "bin", "pth", "gguf")
"""Order in which `auto` prefers the formats found side by side in one directory: what vLLM, SGLang,
TGI and transformers try first. GGUF is last because users of llama.cpp name it."""

_COPY_DIRECTORIES = frozenset({"original", "metal", "onnx", "openvino", "coreml", "gguf", "tf", "flax"})
"""Directories in which publishers put the same weights converted or unconverted, when the top of the
repo has them in a preferred format: `original/` of Llama and gpt-oss, `onnx/` of sentence-transformers.
Other directories hold parts of the model (a pipeline's `unet/`, a `1_Dense/` layer) and are kept."""

_CONVERTED_NAMES = frozenset(
    {
        "model",
        "pytorch_model",
        "tf_model",
        "flax_model",
        "rust_model",
        "openvino_model",
        "adapter_model",
        "consolidated",
        "diffusion_pytorch_model",
        "diffusion_flax_model",
    }
)
"""Names that publishers' tools give to one and the same weights. A file of another format and another
name (`vae.pt`, `speech_tokenizer.onnx`) may be another part of the model, and is kept."""
_SHARD = re.compile(r"-\d+-of-\d+$")

_SUFFIXES: dict[str, Format] = {
    ".safetensors": "safetensors",
    ".safetensors.index.json": "safetensors",
    ".gguf": "gguf",
    ".bin": "bin",
    ".bin.index.json": "bin",
    ".pth": "pth",
    ".pt": "pth",
    ".ckpt": "pth",
    ".h5": "other",
    ".msgpack": "other",
    ".onnx": "other",
    ".onnx_data": "other",
    ".ot": "other",
    ".tflite": "other",
}

_TRAINING_STATE = frozenset(
    {"training_args.bin", "optimizer.bin", "scheduler.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"}
)
"""Pickles with the suffix of weights that the trainers of transformers and accelerate leave beside them."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    file: ManifestFile
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What is taken and what is not, with the reason. `complete`: nothing was left out."""

    weights: Weights
    files: tuple[ManifestFile, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def complete(self) -> bool:
        return not self.left_out

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def select(
    manifest: Manifest, include: Sequence[str], exclude: Sequence[str], weights: Weights | None
) -> Selection:
    """Applies globs, then the weight choice. `weights` None: `auto`, or `all` for an explicit `include`.

    The choice concerns only duplicates: whatever is no weight file is kept. A dataset or space has no
    weight formats; there only globs apply. Raises FileNotFound when nothing is left, or no file has
    the named format.
    """
    chosen: Weights = weights or ("all" if include else "auto")
    left_out: list[LeftOut] = []
    kept: list[ManifestFile] = []
    for file in manifest.files:
        if include and not matches(file.path, include):
            left_out.append(LeftOut(file, "not in --include"))
        elif matches(file.path, exclude):
            left_out.append(LeftOut(file, "in --exclude"))
        else:
            kept.append(file)
    if manifest.repo.type == "model" and chosen != "all":
        reasons = _duplicates(kept) if chosen == "auto" else _other_formats(manifest, kept, chosen)
        left_out += [LeftOut(file, reasons[file.path]) for file in kept if file.path in reasons]
        kept = [file for file in kept if file.path not in reasons]
    if not kept:
        wanted = ", ".join(include) or ("left by --exclude" if exclude else "at all")
        raise FileNotFound(str(manifest.repo), manifest.commit[:12], wanted)
    left_out.sort(key=lambda item: item.file.path)
    return Selection(chosen, tuple(kept), tuple(left_out))


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether any pattern takes the path; `dir/` stands for `dir/*`."""
    slashed = (pattern.replace("\\", "/") for pattern in patterns)
    return any(fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in slashed)


def weight_format(path: str) -> Format | None:
    """The weight format a file belongs to by its name, None for everything that is no weight file.

    `training_args.bin`, an optimizer's state and the like are no weights: kept whatever the choice.
    """
    name = path.rpartition("/")[2].lower()
    if name in _TRAINING_STATE:
        return None
    return next((format_ for suffix, format_ in _SUFFIXES.items() if name.endswith(suffix)), None)


def _duplicates(files: Sequence[ManifestFile]) -> dict[str, str]:
    """Path -> reason for the weight files that repeat others kept beside them."""
    formats: defaultdict[str, set[Format]] = defaultdict(set)
    has_model_shards: set[str] = set()
    for file in files:
        directory, _, name = file.path.rpartition("/")
        if format_ := weight_format(file.path):
            formats[directory].add(format_)
        if name.startswith("model") and name.endswith(".safetensors"):
            has_model_shards.add(directory)
    best = {
        directory: next((format_ for format_ in _PREFERENCE if format_ in present), None)
        for directory, present in formats.items()
    }
    names: defaultdict[str, set[str]] = defaultdict(set)
    for file in files:
        directory = file.path.rpartition("/")[0]
        if best.get(directory) and weight_format(file.path) == best[directory]:
            names[directory].add(_weight_name(file.path))
    reasons = {}
    for file in files:
        directory, _, name = file.path.rpartition("/")
        format_ = weight_format(file.path)
        if format_ is None:
            continue
        if directory.partition("/")[0] in _COPY_DIRECTORIES and best.get(""):
            reasons[file.path] = f"a copy of the {best['']} weights"
        elif best[directory] not in (None, format_) and (
            format_ == "gguf" or _weight_name(file.path) in _CONVERTED_NAMES | names[directory]
        ):
            reasons[file.path] = f"a copy of the {best[directory]} weights"
        elif format_ == "safetensors" and name.startswith("consolidated") and directory in has_model_shards:
            reasons[file.path] = (
                "a copy of the model*.safetensors weights"  # Mistral's own naming beside HF's
            )
    return reasons


def _weight_name(path: str) -> str:
    """File name without shard number, variant and suffix: `model` for `model.fp16-00001-of-00002.safetensors`."""
    name = path.rpartition("/")[2].partition(".")[0]
    return _SHARD.sub("", name).lower()


def _other_formats(manifest: Manifest, files: Sequence[ManifestFile], chosen: str) -> dict[str, str]:
    formats = {file.path: weight_format(file.path) for file in files}
    if chosen not in formats.values():
        present = ", ".join(sorted({format_ for format_ in formats.values() if format_})) or "none"
        raise FileNotFound(
            str(manifest.repo),
            manifest.commit[:12],
            f"of {chosen} weights (--weights {chosen}); it has: {present}",
        )
    return {
        path: f"not {chosen} weights" for path, format_ in formats.items() if format_ not in (None, chosen)
    }
