"""What the public modules share; nothing here is part of CNTK's API."""
