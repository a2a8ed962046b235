"""Label maps made elsewhere: PNG folders, run-length JSON and NumPy files behind one interface."""
