"""What is done beside the work, one duty a file, shared by all consumers of a process."""
