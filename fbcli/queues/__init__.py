"""One queue by name, without any function: publishing, looking into it, its dead letters, waiting
until it is drained."""
