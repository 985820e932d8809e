"""Networks whose mechanism is known exactly, with right and wrong explanations of them, to hold judging against."""
