"""How the whole fleet stands, computed from what its consumers say of themselves in the store: what
every view, probe and metric reads."""
