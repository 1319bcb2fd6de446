"""Certificates: proof that models train as the originals do, step by step, and what else is proven for each."""
