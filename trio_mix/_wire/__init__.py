"""JSON to values, and values to JSON."""
