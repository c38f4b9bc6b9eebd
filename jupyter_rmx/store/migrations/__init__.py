"""How older databases become what `store/schema.py` says.

upgrade     under a lock: make the tables, or back up and run what is missing
back_up     the copy of the SQLite file before an upgrade
env         what alembic runs; versions/ are its steps, which never change once released

A new step: `versions/m0004_<what>.py`, its id at the end of `REVISIONS`, and the same change in `schema.py`; tests hold
the three together.
"""

REVISIONS = ("0001", "0002", "0003")
"""All that this program knows, oldest first; another one was written by a newer program."""

HEAD = REVISIONS[-1]
