"""The commands: each module does the work of one."""
