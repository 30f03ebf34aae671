"""The tests of trio_mix."""
