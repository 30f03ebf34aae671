"""The states of a turn, and the events that complete one whose events were lost."""
