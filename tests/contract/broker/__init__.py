"""The contract of brokers, one subject a file: `tests.contract.broker_contract` puts them
together."""
