"""`make bench`: what the whole system takes and how soon it tells, beside floors and a peer.

A program and no test: nothing here fails because a machine is slow.
"""
