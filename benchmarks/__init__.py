"""Benchmarks of trio_mix beside other clients and beside floors: docs/explanation/benchmarks.md.

`python -m benchmarks` runs them all and prints a Markdown table.
"""
