"""Replays the cases recorded from CNTK 2.7 with this package (see golden/README.md beside the data).

A module per kind of case; `outcomes.replay_category` runs them, `python -m golden_replay` prints what comes
out.
"""
