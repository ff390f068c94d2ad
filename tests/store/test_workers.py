"""What threads measure of their work."""

from __future__ import annotations

import time

from distd.store.workers import wanting_processor_s


def test_computing_counts_and_waiting_for_anything_else_does_not() -> None:
    began = wanting_processor_s()
    until = time.thread_time() + 0.03
    while time.thread_time() < until:
        pass
    assert wanting_processor_s() - began >= 0.025
    waited = []
    for _ in range(20):  # on a busy machine some of them wait for a processor afterwards
        began = wanting_processor_s()
        time.sleep(0.01)
        waited.append(wanting_processor_s() - began)
    assert min(waited) < 0.008
