"""The fault proxy: a plan of faults, and the proxy that carries it out."""
