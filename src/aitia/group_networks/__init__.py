"""Networks that multiply in a finite group: train them, fold them, explain them."""
