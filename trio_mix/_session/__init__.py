"""Session streams: the tasks that send messages, read events, dispatch and recover."""
