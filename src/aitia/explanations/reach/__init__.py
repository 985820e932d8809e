"""What a program reaches: its code, all the data that it can read, and what they cost."""
