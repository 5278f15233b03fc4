"""The MPI backend: thin master, worker-rooted broadcasts."""
