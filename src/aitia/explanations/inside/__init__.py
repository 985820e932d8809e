"""How much of a model's inside an explanation gets right: bits beyond the trivial, and its claims about states."""
