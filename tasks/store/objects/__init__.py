"""Storage in an object store: S3 and what speaks it, Google Cloud Storage, Azure.

Open `storage.py` first. `obstore` is imported in this package only, and only when a store is in an
object store; it is not fork-safe, so child processes are spawned.
"""
