"""How servers are reached: client libraries, and the connections that brokers and stores share."""
