# What the tests of MPI programs share, sourced: mpirun's surroundings, a folder of their own, and verdicts.
. "$(dirname "${BASH_SOURCE[0]}")/fail.bash"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_tcp_if_include=lo
train=$FLYWHEEL_BIN/flywheel-train
store=$FLYWHEEL_BIN/flywheel-store
