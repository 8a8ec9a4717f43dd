"""A campaign of kills: a service, its agents and the processes of its jobs die by -9 at random instants.

workload.py says what each job does and writes to the oracle, dying.py is a service that dies before a given
write, victims.py finds whom to kill, campaign.py drives clients and kills, verdict.py judges what the oracle,
the outputs and the answers say.
"""
