"""Theorems that classical algorithms cannot break: what breaks them is a bug.

``perceptron``: the number of mistakes on separable data; ``kmeans``: the inertia of Lloyd's
algorithm; ``em``: the likelihood of expectation maximisation; ``monotone``: what they share.
NumPy only.
"""
