"""Benchmarks of trio_mix, other clients and lower bounds: docs/explanation/benchmarks.md.

`python -m benchmarks` runs all of them and prints a Markdown table.
"""
