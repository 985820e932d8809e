"""Steps: the parts of which every job is a list, one file a step. `step.py` has the protocol and the runner."""
