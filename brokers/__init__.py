"""The brokers: URL scheme -> "module:class". Imports none of them; each is imported when its URL is used."""

SCHEMES = {
    "memory": "fbcli.brokers.memory:MemoryBroker",
    "sqlite": "fbcli.brokers.sqlite:SqliteBroker",
    "redis": "fbcli.brokers.redis:RedisBroker",
    "rediss": "fbcli.brokers.redis:RedisBroker",
    "redis+sentinel": "fbcli.brokers.redis:RedisBroker",
    "redis+cluster": "fbcli.brokers.redis:RedisBroker",
    "redis+list": "fbcli.brokers.redis_list:RedisListBroker",
}
