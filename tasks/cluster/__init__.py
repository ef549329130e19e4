"""A Ray cluster: places on its nodes that do one job after the other, whatever the jobs are.

Open `client.py` first, the run's side. It talks to `driver.py`, a child process, by `messages.py`;
`schedule.py` decides which place gets which job, and `runtime.py` is the only import of Ray.
"""
