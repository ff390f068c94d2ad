"""A Hugging Face Hub to test against; README.md shows its interface."""

from tests.hub.faults import FAULTS, TRAVERSAL_ENTRIES, Faults, Rule
from tests.hub.hashes import Digest, digest_bytes, digest_file
from tests.hub.models import ModelSpec, generate, write_random
from tests.hub.process import HubProcess
from tests.hub.repo import Repo
from tests.hub.server import HubServer
from tests.hub.tls import make_certificate, server_context

__all__ = [
    "FAULTS",
    "TRAVERSAL_ENTRIES",
    "Digest",
    "Faults",
    "HubProcess",
    "HubServer",
    "ModelSpec",
    "Repo",
    "Rule",
    "digest_bytes",
    "digest_file",
    "generate",
    "make_certificate",
    "server_context",
    "write_random",
]
