"""The small files of a synthetic model: the least that real loaders accept."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

GGUF_HEADER = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
"""Magic, version 3, no tensors, no metadata (ggml docs/gguf.md)."""

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")
WORDS = ("the", "a", "model", "weights", "of", "and", "to", "in", "is", "hello", "world", ".", ",")

_CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "max_position_embeddings": 256,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 3,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.0",
    "use_cache": True,
    "vocab_size": len(SPECIAL_TOKENS) + len(WORDS),
}

_ATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n"
    for suffix in ("safetensors", "bin", "gguf", "pth", "pt")
)


def _tokenizer() -> dict[str, object]:
    def special(index: int, text: str) -> dict[str, object]:
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        return {"id": index, "content": text, **flags}

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special(index, text) for index, text in enumerate(SPECIAL_TOKENS)],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: index for index, word in enumerate(SPECIAL_TOKENS + WORDS)},
            "unk_token": "<unk>",
        },
    }


def text_files(seed: int) -> dict[str, bytes]:
    """Path to content of every small file; only the README depends on `seed`, the rest is shared between models."""
    special = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=True))
    tokenizer_config = {
        **special,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3, "do_sample": False}
    readme = f"---\nlicense: apache-2.0\nlibrary_name: transformers\n---\n# Synthetic model {seed}\nRandom weights.\n"
    return {
        ".gitattributes": _ATTRIBUTES.encode(),
        "LICENSE": b"Synthetic test data. Free for any use.\n",
        "README.md": readme.encode(),
        "config.json": _json(_CONFIG),
        "generation_config.json": _json(generation),
        "special_tokens_map.json": _json(special),
        "tokenizer.json": _json(_tokenizer()),
        "tokenizer_config.json": _json(tokenizer_config),
    }


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
