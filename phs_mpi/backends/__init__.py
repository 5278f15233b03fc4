"""One transport each: mpi, dask, processes, serial; and what they share."""
