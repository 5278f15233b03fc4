"""The MPI backend: thin master, results broadcast into the log of every rank."""
