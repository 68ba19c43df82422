"""Point-cloud operations on the CPU, compiled on first use: sampling, neighbours, suppression, grouping.

Every function takes one event at a time as a float32 array of coordinates, so an event's result can never depend on
its batch. Distances are accumulated in the order x, y, z in float32 without fused multiply-add, which makes the
index results equal, point for point, to a brute-force evaluation and to the stored reference results.
"""
