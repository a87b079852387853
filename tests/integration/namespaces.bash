# "Hosts" for tests: network namespaces node-1..node-N on one bridge, each with a name, an address 10.77.0.K on eth0 and a
# hosts file of its own; one kernel, one disk. Needs root.
#   hosts_contain NAME | hosts_up N | on K COMMAND... | link K up|down
# $work is the test's folder; $agent starts mpirun's daemons on the hosts (plm_rsh_agent), as ssh would.

# Says why not and fails where there is no right or no program for it.
hosts_possible()
{
    local tool
    [ "$(id -u)" -eq 0 ] || { echo "needs root for network namespaces"; return 1; }
    for tool in ip nsenter unshare setpriv pkill; do
        command -v "$tool" >/dev/null || { echo "no $tool (Debian: iproute2, util-linux, procps)"; return 1; }
    done
    unshare --fork --pid --mount --net --mount-proc sh -ec 'mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns
        ip netns add try; ip link add br0 type bridge; ip link add p1 type veth peer name eth0 netns try' 2>/dev/null ||
        { echo "namespaces, bridges or veth pairs are not allowed here (CAP_SYS_ADMIN, CAP_NET_ADMIN)"; return 1; }
}

# Called first by a test, NAME [ARGUMENT...]: runs the script again, with these arguments, in process, mount and network namespaces of its own, and returns only
# there. They end with their first process, which ends with this one, killed or not: the kernel leaves no process,
# namespace, bridge or mount behind, and two copies of a test do not see each other.
hosts_contain()
{
    local why inner code=0
    if [ -n "${FW_CONTAINED:-}" ]; then
        work=$FW_CONTAINED agent=$FW_CONTAINED/agent
        mount -t tmpfs tmpfs /run/netns
        ip link set lo up
        return
    fi
    why=$(hosts_possible) || { echo "skip: $why"; exit 77; }
    work=$(mktemp -d "${TMPDIR:-/tmp}/$1.XXXXXX")
    # A background job starts with SIGINT ignored, which the test would inherit.
    env --default-signal=INT,QUIT FW_CONTAINED="$work" setpriv --pdeathsig KILL \
        unshare --kill-child --fork --pid --mount --net --mount-proc bash "$0" "${@:2}" &
    inner=$!
    trap 'pkill -KILL -P $inner || kill -KILL $inner; wait $inner || true; rm -rf "$work"; exit 143' INT TERM HUP
    wait $inner || code=$?
    rm -rf "$work"
    exit $code
}

hosts_up() # N
{
    local k
    ip link add br0 type bridge
    ip link set br0 up
    { echo "127.0.0.1 localhost"; for k in $(seq "$1"); do echo "10.77.0.$k node-$k"; done; } >"$work/hosts"
    for k in $(seq "$1"); do
        ip netns add "node-$k"
        ip -n "node-$k" link set lo up
        ip link add "p$k" type veth peer name eth0 netns "node-$k"
        ip link set "p$k" master br0 up
        ip -n "node-$k" addr add "10.77.0.$k/24" dev eth0
        ip -n "node-$k" link set eth0 up
    done
    # "ip netns exec" would hide /sys/fs/cgroup, without which slurmd does not start.
    cat >"$work/enter" <<ENTER
#!/bin/sh
k=\${1#node-}
shift
exec nsenter --net=/run/netns/node-\$k unshare -u -m sh -c '
    mount --bind $work/hosts /etc/hosts; hostname node-\$0; exec "\$@"' "\$k" "\$@"
ENTER
    cat >"$agent" <<AGENT
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do shift; done
host=\$1
shift
exec $work/enter "\$host" /bin/sh -c "\$*"
AGENT
    chmod +x "$work/enter" "$agent"
}

on() { "$work/enter" "$@"; }

link() { ip link set "p$1" "$2"; }
