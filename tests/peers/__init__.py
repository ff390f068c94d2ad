"""Tests of the swarm engine, its metainfo and its port."""
