"""Runs cenote beside other runtimes of decision forests: the same trees, the same rows, in turn.

In goes nothing but package registries; out come `benches/results/peers.csv`, a method file and plots.
"""
