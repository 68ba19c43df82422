"""Faults on purpose: commands killed at seeded moments, full disks, deleted caches, many writers (`make faults`)."""
