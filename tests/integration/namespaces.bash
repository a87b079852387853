# "Hosts" for tests: network namespaces node-1..node-N on one bridge, each with a name, an address 10.77.0.K on eth0 and a
# hosts file of its own; one kernel, one disk. Source it with $work set; needs root. Nothing of it is seen outside.
#   hosts_up N | on K COMMAND... | link K up|down | hosts_down
# $agent starts mpirun's daemons on them (plm_rsh_agent), as ssh would.

hosts_prefix=fw$$
agent=$work/agent

# Says why not and fails where there is no right or no program for it.
hosts_possible()
{
    local tool
    [ "$(id -u)" -eq 0 ] || { echo "needs root for network namespaces"; return 1; }
    for tool in ip nsenter unshare; do
        command -v "$tool" >/dev/null || { echo "no $tool (Debian: iproute2, util-linux)"; return 1; }
    done
    ip netns add "$hosts_prefix-try" 2>/dev/null || { echo "network namespaces are not allowed here"; return 1; }
    ip netns del "$hosts_prefix-try"
}

hosts_up() # N
{
    local k ns sw=$hosts_prefix-sw
    ip netns add "$sw"
    ip -n "$sw" link add br0 type bridge
    ip -n "$sw" link set br0 up
    { echo "127.0.0.1 localhost"; for k in $(seq "$1"); do echo "10.77.0.$k node-$k"; done; } >"$work/hosts"
    for k in $(seq "$1"); do
        ns=$hosts_prefix-$k
        ip netns add "$ns"
        ip -n "$ns" link set lo up
        ip -n "$sw" link add "p$k" type veth peer name eth0 netns "$ns"
        ip -n "$sw" link set "p$k" master br0 up
        ip -n "$ns" addr add "10.77.0.$k/24" dev eth0
        ip -n "$ns" link set eth0 up
    done
    # "ip netns exec" would hide /sys/fs/cgroup, without which slurmd does not start.
    cat >"$work/enter" <<ENTER
#!/bin/sh
k=\${1#node-}
shift
exec nsenter --net=/run/netns/$hosts_prefix-\$k unshare -u -m sh -c '
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

link() { ip -n "$hosts_prefix-sw" link set "p$1" "$2"; }

hosts_down()
{
    local ns pid
    for ns in $(ip netns list 2>/dev/null | awk -v p="^$hosts_prefix-" '$1 ~ p { print $1 }'); do
        for pid in $(ip netns pids "$ns"); do kill -9 "$pid" 2>/dev/null || true; done
        ip netns del "$ns"
    done
}
