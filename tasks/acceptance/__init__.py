"""`make gpu-acceptance`: what only a machine with a GPU can show, as one page to send back."""
