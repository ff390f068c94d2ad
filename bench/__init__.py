"""Benchmarks, side by side with what a user would pick instead. README.md has the numbers."""
