"""Selections, on the file lists of real repos."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from huggingface_hub.utils._paths import filter_repo_objects
from hypothesis import example, given
from hypothesis import strategies as st

from distd.core.manifest import Manifest, ManifestFile, checked_files
from distd.core.refs import Repo
from distd.core.selection import WEIGHTS, Selection, Weights, matches, select, weight_format
from distd.errors import FileNotFound

COMMON = (".gitattributes", "LICENSE", "README.md", "config.json", "generation_config.json", "tokenizer.json")

LLAMA = (
    *COMMON,
    *(f"model-0000{number}-of-00004.safetensors" for number in range(1, 5)),
    "model.safetensors.index.json",
    "original/consolidated.00.pth",
    "original/params.json",
    "original/tokenizer.model",
)
MISTRAL = (
    *COMMON,
    "consolidated.safetensors",
    *(f"model-0000{number}-of-00003.safetensors" for number in range(1, 4)),
    "model.safetensors.index.json",
    "params.json",
    "tekken.json",
)
GPT_OSS = (
    *COMMON,
    "chat_template.jinja",
    "metal/model.bin",
    *(f"model-0000{number}-of-00002.safetensors" for number in range(3)),
    "model.safetensors.index.json",
    "original/config.json",
    "original/dtypes.json",
    "original/model.safetensors",
)
DIFFUSERS = (
    ".gitattributes",
    "README.md",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "sd_xl_base_1.0.safetensors",
    "text_encoder/config.json",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.onnx",
    "text_encoder/model.safetensors",
    "text_encoder/openvino_model.bin",
    "text_encoder/openvino_model.xml",
    "tokenizer/merges.txt",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/model.onnx",
    "unet/model.onnx_data",
    "vae/diffusion_pytorch_model.safetensors",
)
SENTENCE_TRANSFORMERS = (
    *COMMON,
    "1_Pooling/config.json",
    "1_Dense/model.safetensors",
    "1_Dense/pytorch_model.bin",
    "2_Dense/pytorch_model.bin",
    "model.safetensors",
    "modules.json",
    "onnx/model.onnx",
    "onnx/model_qint8_avx512.onnx",
    "openvino/openvino_model.bin",
    "openvino/openvino_model.xml",
    "pytorch_model.bin",
    "rust_model.ot",
    "tf_model.h5",
    "train_script.py",
)
GGUF_ONLY = (
    ".gitattributes",
    "README.md",
    "model-Q4_K_M.gguf",
    "model-Q8_0.gguf",
    "BF16/model-00001-of-00002.gguf",
)
BIN_ONLY = (
    *COMMON,
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model-00002-of-00002.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "training_args.bin",
)
REPOS = (LLAMA, MISTRAL, GPT_OSS, DIFFUSERS, SENTENCE_TRANSFORMERS, GGUF_ONLY, BIN_ONLY)
MODEL = Repo("model", "org/name")


def manifest(paths: Sequence[str], repo: Repo = MODEL) -> Manifest:
    files = (ManifestFile(path, 10, hashlib.sha256(path.encode()).hexdigest()) for path in paths)
    return Manifest(repo, "c0" * 20, checked_files(files))


def chosen(paths: Sequence[str], weights: Weights | None = None, *include: str) -> Selection:
    return select(manifest(paths), include, (), weights)


def left_out(selection: Selection) -> dict[str, str]:
    return {item.file.path: item.reason for item in selection.left_out}


def test_llama_comes_without_the_unconverted_copy_but_with_its_small_files() -> None:
    selection = chosen(LLAMA)
    assert left_out(selection) == {"original/consolidated.00.pth": "a copy of the safetensors weights"}
    assert selection.weights == "auto"
    assert not selection.complete


def test_mistral_comes_as_shards_without_the_consolidated_file() -> None:
    assert left_out(chosen(MISTRAL)) == {
        "consolidated.safetensors": "a copy of the model*.safetensors weights"
    }


def test_a_consolidated_file_alone_is_the_model() -> None:
    assert chosen((*COMMON, "consolidated.safetensors", "params.json")).complete


def test_gpt_oss_comes_without_its_metal_and_original_copies() -> None:
    assert left_out(chosen(GPT_OSS)) == {
        "metal/model.bin": "a copy of the safetensors weights",
        "original/model.safetensors": "a copy of the safetensors weights",
    }


def test_a_pipeline_keeps_each_part_in_its_preferred_format() -> None:
    assert set(left_out(chosen(DIFFUSERS))) == {
        "text_encoder/flax_model.msgpack",
        "text_encoder/model.onnx",
        "text_encoder/openvino_model.bin",
        "unet/diffusion_pytorch_model.bin",
        "unet/model.onnx",
        "unet/model.onnx_data",
    }


def test_sentence_transformers_keep_their_layers_and_lose_the_conversions() -> None:
    selection = chosen(SENTENCE_TRANSFORMERS)
    assert set(left_out(selection)) == {
        "1_Dense/pytorch_model.bin",
        "onnx/model.onnx",
        "onnx/model_qint8_avx512.onnx",
        "openvino/openvino_model.bin",
        "pytorch_model.bin",
        "rust_model.ot",
        "tf_model.h5",
    }
    assert "2_Dense/pytorch_model.bin" in {file.path for file in selection.files}


def test_a_repo_with_gguf_alone_comes_whole() -> None:
    assert chosen(GGUF_ONLY).complete


def test_gguf_beside_safetensors_is_left_to_who_names_it() -> None:
    paths = (*COMMON, "model.safetensors", "model-Q4.gguf")
    assert set(left_out(chosen(paths))) == {"model-Q4.gguf"}
    assert set(left_out(chosen(paths, "gguf"))) == {"model.safetensors"}


def test_a_repo_with_bin_alone_keeps_it_and_the_pickled_settings() -> None:
    assert set(left_out(chosen(BIN_ONLY))) == {"tf_model.h5", "flax_model.msgpack"}


def test_a_repo_with_onnx_alone_keeps_it_also_in_a_directory_for_copies() -> None:
    assert chosen(("config.json", "onnx/model.onnx", "onnx/model_q4.onnx")).complete


def test_a_trainers_state_is_no_copy_of_the_weights() -> None:
    paths = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")
    assert chosen(paths).complete


@pytest.mark.parametrize("type_", ["dataset", "space"])
def test_a_dataset_or_space_has_no_weight_formats(type_: str) -> None:
    repo = Repo(type_, "org/data")  # type: ignore[arg-type]  # parametrised with repo types
    paths = ("README.md", "data/train.bin", "data/train.safetensors", "data/train.parquet")
    assert select(manifest(paths, repo), (), (), None).complete
    assert select(manifest(paths, repo), (), (), "safetensors").complete
    assert len(select(manifest(paths, repo), ("*.parquet",), (), None).files) == 1


@pytest.mark.parametrize("paths", REPOS, ids=lambda paths: paths[-1])
def test_all_takes_every_file(paths: Sequence[str]) -> None:
    selection = chosen(paths, "all")
    assert selection.complete
    assert selection.size_bytes == 10 * len(paths)


def test_a_named_format_leaves_the_other_formats_out() -> None:
    selection = chosen(LLAMA, "pth")
    assert "original/consolidated.00.pth" in {file.path for file in selection.files}
    assert set(left_out(selection).values()) == {"not pth weights"}
    assert len(selection.left_out) == 5  # four shards and their index


def test_a_named_format_that_the_repo_lacks_is_an_error_with_what_it_has() -> None:
    with pytest.raises(FileNotFound) as missing:
        chosen(LLAMA, "gguf")
    assert "--weights gguf" in str(missing.value)
    assert "it has: pth, safetensors" in str(missing.value)


def test_an_explicit_include_takes_what_it_names_without_a_weight_choice() -> None:
    selection = chosen(LLAMA, None, "original/")
    assert selection.weights == "all"
    assert {file.path for file in selection.files} == {path for path in LLAMA if path.startswith("original/")}


def test_an_include_with_a_weight_choice_applies_both() -> None:
    selection = chosen(LLAMA, "auto", "*.json", "*.safetensors", "*.pth")
    assert "original/consolidated.00.pth" in left_out(selection)
    assert left_out(selection)["README.md"] == "not in --include"


def test_a_weight_choice_sees_only_what_the_globs_left() -> None:
    selection = select(manifest(LLAMA), (), ("*.safetensors", "*.safetensors.index.json"), "auto")
    assert "original/consolidated.00.pth" in {file.path for file in selection.files}


def test_exclude_wins_over_include() -> None:
    selection = select(manifest(LLAMA), ("*.json",), ("original/*",), None)
    assert left_out(selection)["original/params.json"] == "in --exclude"


@pytest.mark.parametrize(
    ("include", "exclude", "paths", "said"),
    [
        (("nothing*",), (), LLAMA, "nothing*"),
        ((), ("*",), LLAMA, "--exclude"),
        ((), (), (), "no file at all"),
    ],
)
def test_nothing_left_is_an_error_that_says_why(
    include: tuple[str, ...], exclude: tuple[str, ...], paths: tuple[str, ...], said: str
) -> None:
    with pytest.raises(FileNotFound) as missing:
        select(manifest(paths), include, exclude, None)
    assert said in str(missing.value)


@pytest.mark.parametrize("weights", [*WEIGHTS, None])
@pytest.mark.parametrize("paths", REPOS, ids=lambda paths: paths[-1])
def test_every_file_is_either_taken_or_left_out_with_a_reason(
    paths: Sequence[str], weights: Weights | None
) -> None:
    try:
        selection = chosen(paths, weights)
    except FileNotFound:
        return
    taken, left = [file.path for file in selection.files], [item.file.path for item in selection.left_out]
    assert sorted([*taken, *left]) == sorted(paths)
    assert left == sorted(left)
    assert all(item.reason for item in selection.left_out)
    assert all(weight_format(path) is not None for path in left)


@pytest.mark.parametrize("paths", REPOS, ids=lambda paths: paths[-1])
def test_auto_always_keeps_some_weights_of_a_model_that_has_any(paths: Sequence[str]) -> None:
    assert any(weight_format(file.path) for file in chosen(paths).files)


PATHS = st.sampled_from(sorted({path for paths in REPOS for path in paths})) | st.from_regex(
    r"[a-c.\[\]*?]{1,4}(/[a-c.]{1,3}){0,2}", fullmatch=True
)
GLOBS = st.sampled_from(
    ["*", "*.safetensors", "original/", "original/*", "*/*", "model-0000?-of-*", "[!.]*", "*.JSON", "unet"]
) | st.text(alphabet="abc*?[]!./\\", max_size=6)


@given(st.lists(PATHS, max_size=12), st.lists(GLOBS, min_size=1, max_size=3), st.lists(GLOBS, max_size=3))
@example(["original/params.json"], ["original\\*.json"], [])
@example(["a/b"], ["a/"], ["a/"])
def test_globs_mean_what_they_mean_to_huggingface_hub(
    paths: list[str], include: list[str], exclude: list[str]
) -> None:
    theirs = list(filter_repo_objects(paths, allow_patterns=include, ignore_patterns=exclude))
    ours = [path for path in paths if matches(path, include) and not matches(path, exclude)]
    assert ours == theirs
