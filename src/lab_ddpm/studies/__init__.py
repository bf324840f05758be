"""Measurements that train or sample many times: ablations, interpolation, speed."""
