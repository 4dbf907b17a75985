"""The contract of brokers, one subject a file: `fbcli.testing.broker_contract` puts them
together."""
