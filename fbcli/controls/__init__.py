"""Controls: policies around running, one file each, listed in `catalogue`. `base` is their
contract."""
