"""Addresses of functions (`module:func`, `path/to/file.py:func`): parsed, imported, made of a
function, and found for completion without importing anything."""
