#!/bin/bash
# The bundle of scripts/make-bundle: moved to another folder it compiles, links and runs a program of two ranks, with
# nothing of this system but the C library and the compiler.
set -euo pipefail
command -v dpkg-query >/dev/null || { echo "skip: not a Debian system"; exit 77; }
"$(dirname "${BASH_SOURCE[0]}")/../../scripts/install-deps" --check 2>/dev/null || { echo "skip: packages are missing"; exit 77; }

make_bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../scripts" && pwd)/make-bundle
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

# ---- bad input ----
code=0
"$make_bundle" 2>/dev/null || code=$?
[ "$code" = 2 ] || fail "no OUT: exit code $code instead of 2"
mkdir "$work/full"
touch "$work/full/mine"
! "$make_bundle" "$work/full" 2>/dev/null || fail "writes into a folder that is not empty"
[ "$(ls "$work/full")" = mine ] || fail "has touched a folder that is not empty"

# ---- made, and moved ----
"$make_bundle" "$work/made"
mv "$work/made" "$work/moved"
! grep -rE '(=| |-[IL])/usr' "$work"/moved/lib/*/pkgconfig || fail "a pkg-config file names the system's folders"

cat >"$work/all.c" <<'C'
#include <cJSON.h>
#include <hiredis.h>
#include <microhttpd.h>
#include <mpi.h>
#include <oneapi/dnnl/dnnl.h>
#include <openssl/evp.h>
#include <spng.h>
#include <stdio.h>
#include <jpeglib.h>
#include <xxhash.h>
#include <zmq.h>

int main(int argc, char **argv)
{
    int provided, rank, sum = 0;
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided) || provided != MPI_THREAD_MULTIPLE)
        return 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    int mine = rank + 1;
    MPI_Allreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    float a[4] = {1, 2, 3, 4}, c[4];
    dnnl_sgemm('N', 'N', 2, 2, 2, 1, a, 2, a, 2, 0, c, 2);
    void *context = zmq_ctx_new();
    struct jpeg_error_mgr errors;
    cJSON *json = cJSON_Parse("[1]");
    unsigned char digest[EVP_MAX_MD_SIZE];
    int good = c[3] == 22 && context && cJSON_GetArraySize(json) == 1 && jpeg_std_error(&errors) && MHD_get_version() &&
               spng_version_string() && redisReaderCreate() && EVP_Digest("x", 1, digest, NULL, EVP_sha256(), NULL) &&
               XXH3_64bits("x", 1);
    cJSON_Delete(json);
    zmq_ctx_term(context);
    MPI_Finalize();
    if (rank == 0)
        printf("%s %d\n", good ? "good" : "bad", sum);
    return !good;
}
C
# A bare environment: only what env.sh sets. The compiler looks for its own programs on the PATH.
bare=(env -i PATH=/usr/bin:/bin HOME="$work" OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    bash -c '. "$0/moved/env.sh"; cd "$0"; eval "$1"' "$work")
"${bare[@]}" 'set -e
    packages="libzmq hiredis libcjson libmicrohttpd libxxhash spng libjpeg libcrypto cmocka"
    flags=$(pkg-config --cflags --libs $packages)
    case "$flags" in *" /usr"* | *I/usr* | *L/usr*) echo "$flags"; exit 1 ;; esac
    mpicc all.c -I"$0/moved/include" $flags -ldnnl -o all' || fail "does not compile"
found=$("${bare[@]}" 'mpirun --bind-to none --oversubscribe -np 2 ./all') || fail "does not run"
[ "$found" = "good 3" ] || fail "two ranks say '$found'"

# ---- nothing of this system but what the compiler brings ----
leaked=$("${bare[@]}" 'ldd ./all moved/bin/* moved/lib/*/openmpi/lib/openmpi3/*.so moved/lib/pmix/*.so 2>/dev/null' |
    awk '$2 == "=>" { print $3 }' | sort -u | grep -v "^$work/" |
    grep -vE '/(ld-linux|lib(c|m|dl|rt|pthread|resolv|util|stdc\+\+|gcc_s|gomp|atomic)\.so)' || true)
[ -z "$leaked" ] || fail "uses the system's $leaked"
"${bare[@]}" 'redis-server --version && jq --version && xz --version' >"$work/log" || fail "a program does not start"
echo "a moved bundle compiles, links and runs two ranks"
