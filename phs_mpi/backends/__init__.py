"""One transport each: mpi, serial (dask and processes to come)."""
