"""Synthetic model repos of any size: what a tests' Hub serves.

`generate(ModelSpec(...), directory)` writes a repo that real loaders accept (config, tokenizer, safetensors shards
with their index) and whose weights are incompressible. The same spec gives the same bytes on every machine. Weights
are streamed from a small pool of random bytes, so size costs time, not memory. Sizes are bytes.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tests.hub.hashes import Digest, DigestCache, digest_bytes
from tests.hub.texts import GGUF_HEADER, text_files

POOL_BYTES = 4 * 1024 * 1024
"""Random bytes drawn per file. Each further block is the pool turned by another odd amount, so no two pieces of
1 MiB or more are equal before 4 TB, at the speed of a copy instead of a random generator's."""

TURN_BYTES = 1_000_003
LAYER_TENSOR_BYTES = 64 * 1024 * 1024
"""Largest tensor in a shard's header; a shard of several GB has some tens of tensors, like a real one."""

FORMATS = ("safetensors", "bin", "gguf", "pth", "consolidated")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What to generate. Equal specs give equal bytes.

    `weight_bytes` is the exact total of the safetensors files, headers included. Every further format in `formats`
    (`bin`: pytorch_model.bin, `gguf`: model.Q8_0.gguf, `pth`: original/consolidated.00.pth, `consolidated`:
    consolidated.safetensors) adds as many bytes again. `small_files` adds that many JSON files of
    `small_file_bytes` under extra/; `nested` adds files several directories deep, one with spaces and non-ASCII.
    """

    seed: int = 0
    weight_bytes: int = 32 * 1024 * 1024
    shards: int = 1
    formats: tuple[str, ...] = ("safetensors",)
    small_files: int = 0
    small_file_bytes: int = 600
    nested: bool = False

    def __post_init__(self) -> None:
        unknown = set(self.formats) - set(FORMATS)
        if unknown:
            raise ValueError(f"unknown weight formats {sorted(unknown)}; known: {', '.join(FORMATS)}")
        if self.shards < 1 or self.weight_bytes < 4096 * self.shards:
            raise ValueError(
                f"a shard has at least 4096 bytes: {self.weight_bytes} bytes, {self.shards} shards"
            )


def generate(spec: ModelSpec, directory: Path) -> list[Path]:
    """Writes the repo into `directory` (created) and returns its files, sorted.

    The files' hashes are computed while writing and kept beside the directory, where `HubServer.add_repo` finds them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    digests = DigestCache(directory)
    written = []
    for path, content in _small_files(spec):
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        digests.remember(path, digest_bytes(content))
        written.append(target)
    for path, size_bytes, head in _weight_files(spec):
        digests.remember(path, write_random(directory / path, size_bytes, f"{spec.seed}/{path}", head))
        written.append(directory / path)
    digests.save()
    return sorted(written)


def write_random(path: Path, size_bytes: int, seed: int | str, head: bytes = b"") -> Digest:
    """Writes `head` and then random bytes up to `size_bytes` in total; deterministic by `seed`. Returns the digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256(head)
    git_sha1 = hashlib.sha1(b"blob %d\0" % size_bytes + head)
    # Only git files need the SHA-1 of their content, and the Hub keeps nothing of this size in git.
    wants_sha1 = size_bytes < 10 * 1024 * 1024
    with path.open("wb", buffering=0) as file:
        file.write(head)
        for block in random_blocks(seed, size_bytes - len(head)):
            file.write(block)
            sha256.update(block)
            if wants_sha1:
                git_sha1.update(block)
    return Digest(size_bytes, sha256.hexdigest(), git_sha1.hexdigest() if wants_sha1 else "")


def random_blocks(seed: int | str, size_bytes: int) -> Iterator[memoryview]:
    """Incompressible blocks, `size_bytes` in all, that never repeat at the same alignment."""
    pool = memoryview(_pool(str(seed)))
    left, index = size_bytes, 0
    while left > 0:
        turn = index * TURN_BYTES % POOL_BYTES
        for part in (pool[turn:], pool[:turn]):
            block = part[:left]
            left -= len(block)
            if block:
                yield block
        index += 1


@lru_cache(maxsize=4)
def _pool(seed: str) -> bytes:
    return random.Random(seed).randbytes(POOL_BYTES)


def safetensors_head(total_bytes: int, names: str) -> tuple[bytes, list[str]]:
    """The length and JSON header of a safetensors file of exactly `total_bytes`, and the names of its tensors.

    Format: https://github.com/huggingface/safetensors#format; offsets cover the data without holes, as readers insist.
    """
    reserve = 1024 + 160 * (total_bytes // LAYER_TENSOR_BYTES + 1)
    reserve += -reserve % 8
    data_bytes = total_bytes - 8 - reserve
    if data_bytes < 0:
        raise ValueError(f"{total_bytes} bytes hold no safetensors header")
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    tensors: list[str] = []
    begin = 0
    while begin < data_bytes:
        end = min(begin + LAYER_TENSOR_BYTES, data_bytes)
        name = f"model.layers.{names}.{len(tensors)}.mlp.weight"
        header[name] = {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}
        tensors.append(name)
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    assert len(text) <= reserve, (len(text), reserve)
    return struct.pack("<Q", reserve) + text.ljust(reserve), tensors


def _weight_files(spec: ModelSpec) -> Iterator[tuple[str, int, bytes]]:
    if "safetensors" in spec.formats:
        for index, (path, size_bytes) in enumerate(_shards(spec)):
            yield path, size_bytes, safetensors_head(size_bytes, str(index))[0]
    if "consolidated" in spec.formats:
        yield "consolidated.safetensors", spec.weight_bytes, safetensors_head(spec.weight_bytes, "c")[0]
    if "bin" in spec.formats:
        yield "pytorch_model.bin", spec.weight_bytes, b"PK\x03\x04"
    if "gguf" in spec.formats:
        yield "model.Q8_0.gguf", spec.weight_bytes, GGUF_HEADER
    if "pth" in spec.formats:
        yield "original/consolidated.00.pth", spec.weight_bytes, b"PK\x03\x04"


def _shards(spec: ModelSpec) -> list[tuple[str, int]]:
    if spec.shards == 1:
        return [("model.safetensors", spec.weight_bytes)]
    each = spec.weight_bytes // spec.shards
    sizes = [each] * (spec.shards - 1) + [spec.weight_bytes - each * (spec.shards - 1)]
    return [(f"model-{i + 1:05}-of-{spec.shards:05}.safetensors", size) for i, size in enumerate(sizes)]


def _index(spec: ModelSpec) -> bytes:
    weight_map: dict[str, str] = {}
    total_bytes = 0
    for index, (path, size_bytes) in enumerate(_shards(spec)):
        head, tensors = safetensors_head(size_bytes, str(index))
        total_bytes += size_bytes - len(head)
        weight_map |= dict.fromkeys(tensors, path)
    return json.dumps({"metadata": {"total_size": total_bytes}, "weight_map": weight_map}, indent=2).encode()


def _small_files(spec: ModelSpec) -> Iterator[tuple[str, bytes]]:
    yield from text_files(spec.seed).items()
    if spec.shards > 1 and "safetensors" in spec.formats:
        yield "model.safetensors.index.json", _index(spec)
    for index in range(spec.small_files):
        text = random.Random(f"{spec.seed}/small/{index}").randbytes(spec.small_file_bytes).hex()
        yield f"extra/part-{index:05}.json", json.dumps({"data": text})[: spec.small_file_bytes].encode()
    if spec.nested:
        yield "onnx/fp16/decoder/config.json", b'{"nested": true}\n'
        yield "a b/ünï côde/100%+#?.txt", f"awkward names, seed {spec.seed}\n".encode()
        yield "empty/.gitkeep", b""
        yield "onnx/fp16/decoder/model.bin", random.Random(f"{spec.seed}/nested").randbytes(70_000)
