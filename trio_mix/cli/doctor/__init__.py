"""``doctor``: examines a server and reports what it found."""
