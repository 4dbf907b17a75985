"""The brokers: URL scheme -> "module:class". Imports none of them; each is imported when its URL is
used."""

SCHEMES = {
    "memory": "fbcli.brokers.memory:MemoryBroker",
    "sqlite": "fbcli.brokers.sqlite.broker:SqliteBroker",
    "redis": "fbcli.brokers.redis.broker:RedisBroker",
    "rediss": "fbcli.brokers.redis.broker:RedisBroker",
    "redis+sentinel": "fbcli.brokers.redis.broker:RedisBroker",
    "redis+cluster": "fbcli.brokers.redis.broker:RedisBroker",
    "redis+list": "fbcli.brokers.redis.plain_list:RedisListBroker",
}
