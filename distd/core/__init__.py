"""What decides. Nothing in this package awaits, reads a clock, or touches disk or network.

Machines take past-tense events and `now` (monotonic seconds) and return imperative actions; the
shell (`distd/pulls/`) does them and feeds back what happened.
"""
