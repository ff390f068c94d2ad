"""What a daemon may have to show, put into one in memory: a fleet at work, its troubles, names that are attacks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec import structs

from distd.api.schema import ErrorView, FlowView, NodePullView, PullRequest, RatesView, StatusView
from distd.core.audience import Node, NodeSilent
from distd.core.refs import Repo
from distd.nodes.operations import NodeOperations
from distd.nodes.own import OwnAnswers
from distd.nodes.questions import Held, ModelsAsked, Question, Reply
from tests.api.memory import peer
from tests.cli.serving import WAIT_S, ServedDaemon

GB = 10**9
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


class Others:
    """The members of the scene: `gpu-01` is the daemon in memory itself, the others say what is in `statuses`."""

    me = "gpu-01"

    def __init__(self, own: OwnAnswers, statuses: dict[str, StatusView], models: Held) -> None:
        self._own = own
        self._statuses = statuses
        self._models = models

    def known(self) -> Sequence[Node]:
        live = [Node(name, "rack-4", True) for name in (self.me, *self._statuses)]
        return [*live, Node("gpu-04", "rack-4", False, "dead", "no answer: connection refused")]

    async def ask(self, node: str, question: Question, timeout_s: float) -> Reply:
        if node == self.me:
            return await self._own.reply(question)
        if node not in self._statuses:
            raise NodeSilent("no answer: connection refused")
        value = self._models if isinstance(question, ModelsAsked) else self._statuses[node]
        return Reply(msgspec.msgpack.encode(value))


class Scene:
    def __init__(self, daemon: ServedDaemon) -> None:
        self.daemon = daemon
        self.memory = daemon.memory

    @property
    def url(self) -> str:
        return self.daemon.url

    def pull(self, repo: str) -> str:
        """Its id. The request is made on the daemon's own loop."""
        submitted = self.memory.pulls.submit(PullRequest(repo=repo))
        return asyncio.run_coroutine_threadsafe(submitted, self.daemon._loop).result(WAIT_S).id

    def downloading(self, share: float = 0.43) -> str:
        """One pull of this node alone."""
        self.memory.pulls.repos["acme/solo"] = {"model.safetensors": 40 * GB}
        id_ = self.pull("acme/solo")
        self.memory.pulls.download(id_, share)
        self.memory.pulls.advance(id_, eta_low_s=70.0, eta_high_s=130.0, limited_by="hub")
        return id_

    def fleet(self) -> str:
        """A pull on four nodes, one of which is dead; models here; one pull that failed and one that stalls."""
        gone = {"receive_rate_bytes_per_s": 0.0, "send_rate_bytes_per_s": 0.0, "rtt_s": None}
        self.memory.node.others = [
            peer("gpu-02"),
            peer("gpu-03", receive_rate_bytes_per_s=3.1e8, send_rate_bytes_per_s=2e8),
            peer("gpu-04", state="dead", trouble="no answer: connection refused", **gone),
        ]
        for position, repo in enumerate(("acme/qwen-32b-instruct", "acme/llama-70b")):
            self.memory.models.hold(Repo("model", repo), (1 + position) * 65 * GB)
        self.memory.pulls.repos["acme/mixtral-8x22b"] = {"model.safetensors": 40 * GB}
        id_ = self.pull("acme/mixtral-8x22b")
        self.memory.pulls.download(id_, 0.43)
        parts = [_part(f"gpu-0{number}", share) for number, share in ((1, 0.43), (2, 0.4), (3, 1.0))]
        silent = "gpu-04 gives no answer: connection refused"
        parts.append(
            structs.replace(_part("gpu-04", 0.21), stalled_reason=silent, eta_s=None, rate_bytes_per_s=0.0)
        )
        self.memory.pulls.advance(id_, nodes=tuple(parts), eta_low_s=70.0, eta_high_s=130.0, limited_by="hub")
        self.stalled()
        self.failed()
        self._others()
        return id_

    def _others(self) -> None:
        """What `gpu-02` and `gpu-03` say when they are asked: who feeds them, what they hold, one pull of their own."""
        own = self.memory.node.status()
        solo = structs.replace(
            own.active_pulls[0], id="7-abcd", repo="acme/whisper", nodes=(), stalled_reason=None
        )
        said = {
            "gpu-02": (RatesView(4e8, 9e8), (FlowView("gpu-01", 6e8, 61e6, 9 * GB, GB),), ()),
            "gpu-03": (RatesView(2e8, 5e8), (FlowView("gpu-02", 5e8, 0.0, 3 * GB, GB),), (solo,)),
        }
        statuses = {
            name: structs.replace(own, node=name, rates=rates, flows=flows, active_pulls=pulls)
            for name, (rates, flows, pulls) in said.items()
        }
        held = Held(tuple(self.memory.models.models.values())[:1])
        self.daemon.stop()
        self.memory.nodes = NodeOperations(Others(self.memory.answers, statuses, held))
        self.daemon.start()

    def stalled(self, reason: str = "the Hub answers 429: the next try is in 30 s") -> str:
        id_ = self.pull("acme/tiny")
        self.memory.pulls.download(id_, 0.7)
        still = {"rate_bytes_per_s": 0.0, "rate_hub_bytes_per_s": 0.0, "rate_peers_bytes_per_s": 0.0}
        self.memory.pulls.advance(id_, stalled_reason=reason, eta_s=None, limited_by="waiting", **still)
        return id_

    def failed(self) -> str:
        id_ = self.pull("acme/gated")
        error = ErrorView(
            "access_denied", "Access denied", "acme/gated is gated: accept its terms on the Hub", False
        )
        self.memory.pulls.advance(id_, state="failed", error=error, finished_at="2026-01-02T03:05:45Z")
        return id_

    def hostile(self) -> None:
        """Every text that comes from elsewhere is an attack, past all checks that the daemon makes."""
        self.memory.node.others = [peer(HOSTILE, zone=HOSTILE, state="suspect", trouble=HOSTILE)]
        self.memory.models.hold(Repo("model", HOSTILE), GB)
        error = ErrorView("internal", HOSTILE, HOSTILE, False)
        running = self.downloading()
        part = structs.replace(_part(HOSTILE, 0.4), stalled_reason=HOSTILE, limited_by=HOSTILE)
        self.memory.pulls.advance(
            running, repo=HOSTILE, revision=HOSTILE, limited_by=HOSTILE, nodes=(part, _part("gpu-01", 0.2))
        )
        self.memory.pulls.advance(self.stalled(HOSTILE), repo=HOSTILE)
        self.memory.pulls.advance(self.failed(), repo=HOSTILE, error=error)


def _part(name: str, share: float) -> NodePullView:
    done, complete = int(share * 40 * GB), share == 1
    return NodePullView(
        name=name,
        pull_id=f"p-{name}",
        state="complete" if complete else "downloading",
        bytes_done=done,
        eta_s=None if complete else 88.0,
        error=None,
        bytes_total=40 * GB,
        bytes_from_hub=done // 4,
        bytes_from_peers=done - done // 4,
        rate_bytes_per_s=0.0 if complete else 4e8,
        rate_hub_bytes_per_s=0.0 if complete else 1e8,
        rate_peers_bytes_per_s=0.0 if complete else 3e8,
        eta_low_s=None if complete else 80.0,
        eta_high_s=None if complete else 140.0,
        limited_by=None if complete else "hub",
    )
