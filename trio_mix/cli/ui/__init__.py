"""What the command line draws, and what it reads from the keyboard."""
