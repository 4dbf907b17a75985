"""One consumer of one queue: from the fetched message to the settled one."""
