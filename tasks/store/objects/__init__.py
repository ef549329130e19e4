"""Storage in an object store: S3 and what speaks it, Azure.

Open `storage.py` first; what differs between them is in `clouds/`. `obstore` is imported in this
package only, and only when a store is in an object store; it is not fork-safe, so child processes
are spawned.
"""
