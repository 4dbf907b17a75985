"""Arguments on their way to a function: bound to its signature, converted to its annotations, read
from the command line and from records."""
