"""What Microsoft.Storage says at ARM about the content of accounts: containers, shares, whole services. It is
the data plane's own truth, shown in ARM's form."""
