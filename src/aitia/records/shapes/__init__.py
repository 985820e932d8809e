"""The shapes that rows have: which columns make one, and what a row of it becomes."""
