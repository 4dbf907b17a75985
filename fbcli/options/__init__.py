"""All that can be set for one function, and the little that can be set for one message."""
