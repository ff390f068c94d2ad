"""Generated repos are what loaders expect, exact in size, and the same each time."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest

from tests.hub import ModelSpec, digest_file, generate
from tests.hub.hashes import DigestCache
from tests.hub.repo import files_of

MIB = 1024 * 1024


def hashes(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): digest_file(path).sha256 for path in files}


def test_equal_specs_give_equal_bytes_and_other_seeds_other_weights(tmp_path: Path) -> None:
    spec = ModelSpec(seed=1, weight_bytes=3 * MIB, shards=2, nested=True, small_files=3)
    for name in ("a", "b"):
        generate(spec, tmp_path / name)
    generate(ModelSpec(seed=2, weight_bytes=3 * MIB, shards=2), tmp_path / "c")
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    shard = "model-00001-of-00002.safetensors"
    assert hashes(tmp_path / "a")[shard] != hashes(tmp_path / "c")[shard]
    assert hashes(tmp_path / "a")["config.json"] == hashes(tmp_path / "c")["config.json"]


def test_weights_have_the_exact_size_and_no_two_pieces_alike(tmp_path: Path) -> None:
    spec = ModelSpec(weight_bytes=20 * MIB + 13, shards=3)
    files = generate(spec, tmp_path / "m")
    shards = [path for path in files if path.suffix == ".safetensors"]
    assert sum(path.stat().st_size for path in shards) == spec.weight_bytes
    pieces = [
        data[at : at + MIB]
        for data in (path.read_bytes() for path in shards)
        for at in range(0, len(data), MIB)
    ]
    assert len(set(pieces)) == len(pieces)
    assert all(len(zlib.compress(piece, 1)) > 0.98 * len(piece) for piece in pieces)


def test_shards_are_valid_safetensors_and_the_index_names_their_tensors(tmp_path: Path) -> None:
    generate(ModelSpec(weight_bytes=70 * MIB, shards=2), tmp_path / "m")
    index = json.loads((tmp_path / "m" / "model.safetensors.index.json").read_text())
    found: dict[str, str] = {}
    data_bytes = 0
    for shard in sorted((tmp_path / "m").glob("*.safetensors")):
        with shard.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__")
        end = 0
        for name, tensor in header.items():
            assert tensor["data_offsets"][0] == end
            end = tensor["data_offsets"][1]
            assert tensor["shape"] == [end - tensor["data_offsets"][0]]
            found[name] = shard.name
        assert 8 + length + end == shard.stat().st_size
        data_bytes += end
    assert index["weight_map"] == found
    assert index["metadata"]["total_size"] == data_bytes


def test_further_formats_and_small_files_appear_where_real_repos_have_them(tmp_path: Path) -> None:
    formats = ("safetensors", "bin", "gguf", "pth", "consolidated")
    files = generate(ModelSpec(weight_bytes=MIB, formats=formats, small_files=4, nested=True), tmp_path / "m")
    names = {path.relative_to(tmp_path / "m").as_posix() for path in files}
    assert names >= {
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "pytorch_model.bin",
        "model.Q8_0.gguf",
        "original/consolidated.00.pth",
        "consolidated.safetensors",
        "extra/part-00003.json",
        "onnx/fp16/decoder/model.bin",
    }
    assert len(names) == len(files)


def test_the_tokenizer_file_numbers_its_words_without_gaps(tmp_path: Path) -> None:
    generate(ModelSpec(weight_bytes=MIB), tmp_path / "m")
    tokenizer = json.loads((tmp_path / "m" / "tokenizer.json").read_text())
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert sorted(tokenizer["model"]["vocab"].values()) == list(range(config["vocab_size"]))


def test_impossible_specs_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown weight formats"):
        ModelSpec(formats=("onnx",))
    with pytest.raises(ValueError, match="at least 4096 bytes"):
        ModelSpec(weight_bytes=8191, shards=2)


def test_hashes_computed_while_writing_are_those_of_the_files(tmp_path: Path) -> None:
    directory = tmp_path / "m"
    generate(ModelSpec(weight_bytes=12 * MIB, nested=True, small_files=2), directory)
    cached = json.loads((tmp_path / "m.hashes.json").read_text())
    for path, file in files_of(directory).items():
        digest = digest_file(directory / path)
        assert cached[path][2] == digest.sha256 == file.sha256
        assert file.lfs or file.oid == digest.git_sha1
    assert files_of(directory)["model.safetensors"].lfs
    assert not files_of(directory)["config.json"].lfs


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    directory = tmp_path / "m"
    directory.mkdir()
    (directory / "a.txt").write_bytes(b"one")
    before = files_of(directory)["a.txt"]
    (directory / "a.txt").write_bytes(b"other")
    assert files_of(directory)["a.txt"].oid != before.oid
    assert DigestCache(directory).digest("a.txt") == digest_file(directory / "a.txt")
