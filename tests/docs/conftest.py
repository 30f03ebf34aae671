"""Fixtures of the tests of the docs."""

from tests.support.example_programs import program_forks

__all__ = ["program_forks"]
