"""The part of BrainScript that CNTK's recipes use: configurations, networks, training and testing."""
