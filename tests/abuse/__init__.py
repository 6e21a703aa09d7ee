"""Attacks on the running system, with an attacker and a victim. The tests assert counts and bounds, not seconds."""
