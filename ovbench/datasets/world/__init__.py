"""The embedded world: procedural clips with dense masks, a pure function of their seed.

Integer arithmetic throughout, so the same bytes come out on every machine and NumPy version.
"""
