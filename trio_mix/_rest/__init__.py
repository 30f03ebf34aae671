"""One operation of the Mix API: from its arguments to its result."""
