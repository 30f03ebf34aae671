"""Recording what a client and a server exchange, and replaying it."""
