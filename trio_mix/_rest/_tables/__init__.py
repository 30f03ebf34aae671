"""The table of all operations, one module for each of the resources, loaded with it."""
