"""One run of `fb chaos`: does this broker, as its server is set up, lose anything? `trial` runs it,
`analysis` counts."""
