"""Large inputs of several files, loaded in groups of consecutive files on all cores.

Open `load.py` first. `division.py` divides the files, `work.py` does what is to be done with one
group, `processes.py` has processes do that, and `nodes.py` places on a cluster; `assembly.py` puts
the groups together.
"""
