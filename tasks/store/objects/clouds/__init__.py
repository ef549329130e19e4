"""What differs between object stores: a file for each of them, as a `Cloud` (`cloud.py`)."""
