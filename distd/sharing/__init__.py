"""Joins `peers` to the daemon: blobs shared with the other members of the cluster.

The only package of `distd` that imports `peers` machines and engine; `peers` knows no Hub, and the rest
of `distd` knows no swarm.
"""
