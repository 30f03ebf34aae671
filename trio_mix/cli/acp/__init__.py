"""The Agent Client Protocol: editors drive Mix sessions over standard input and output."""
