"""The Hub client: refs become manifests (`resolver`), and spans of files become bytes (`fetcher`).

Metadata goes through huggingface_hub, which only `resolver` imports and only when the Hub is first asked; file data
goes through aiohttp, which moves four times as many bytes per CPU second. The other modules are what both share,
and they are pure but for `network`, which reads the environment and the CA file.
"""
