/* linear through cuBLASLt, which counts in columns: a row-major (n, C) is its (C, n). So with
 * filters W (out, in), x (n, in), dy (n, out):
 *   forward  y^T (out, n)  = W  (in, out)^T  x^T  (in, n)
 *   data     dx^T (in, n)  = W  (in, out)    dy^T (out, n)
 *   filter   dw^T (in, out) = x^T (in, n)    dy^T (out, n)^T
 * The way (cublasLtMatmulAlgo_t) is 64 bytes of the library's, kept as hexadecimal text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/cuda/stream_cuda.h"

#define MOST_WAYS 16

struct matrices {
    struct nn_product_library const *library; /* first: see stream_cuda.h */
    cublasLtMatmulDesc_t what;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t way;
    size_t workspace;
    bool filters_first; /* the driver's b is cuBLASLt's a */
};

static void close_matrices(void *handle)
{
    struct matrices *m = handle;
    if (m->a)
        (void)cublasLtMatrixLayoutDestroy(m->a);
    if (m->b)
        (void)cublasLtMatrixLayoutDestroy(m->b);
    if (m->c)
        (void)cublasLtMatrixLayoutDestroy(m->c);
    if (m->what)
        (void)cublasLtMatmulDescDestroy(m->what);
    free(m);
}

static int run_matrices(struct nn_cuda_stream *s, void *handle, const void *a, const void *b,
                        void *c, void *workspace)
{
    const struct matrices *m = handle;
    const float one = 1, none = 0;
    return nn_code_of_cublas(cublasLtMatmul(s->cublas, m->what, &one, m->filters_first ? b : a,
                                            m->a, m->filters_first ? a : b, m->b, &none, c, m->c, c,
                                            m->c, &m->way, workspace, m->workspace, s->stream));
}

static const struct nn_product_library library = {.close = close_matrices, .run = run_matrices};

static cudaDataType_t type_of(enum nn_dtype dtype)
{
    return dtype == NN_F32 ? CUDA_R_32F : dtype == NN_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

static cublasStatus_t describe(struct matrices *m, const struct nn_product *p)
{
    cudaDataType_t type = type_of(p->dtype), result = p->wide ? CUDA_R_32F : type;
    uint64_t in = (uint64_t)p->x.c, out = (uint64_t)p->y.c, n = (uint64_t)p->n;
    cublasOperation_t turn = CUBLAS_OP_T;
    bool filter = p->pass == NN_PRODUCT_FILTER;
    m->filters_first = !filter;
    cublasStatus_t st = cublasLtMatmulDescCreate(&m->what, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (st == CUBLAS_STATUS_SUCCESS && p->pass == NN_PRODUCT_FORWARD)
        st = cublasLtMatmulDescSetAttribute(m->what, CUBLASLT_MATMUL_DESC_TRANSA, &turn,
                                            sizeof turn);
    if (st == CUBLAS_STATUS_SUCCESS && filter)
        st = cublasLtMatmulDescSetAttribute(m->what, CUBLASLT_MATMUL_DESC_TRANSB, &turn,
                                            sizeof turn);
    if (st == CUBLAS_STATUS_SUCCESS) /* W (in, out), or x^T (in, n) */
        st = cublasLtMatrixLayoutCreate(&m->a, type, in, filter ? n : out, (int64_t)in);
    bool forward = p->pass == NN_PRODUCT_FORWARD;
    if (st == CUBLAS_STATUS_SUCCESS) /* x^T (in, n), or dy^T (out, n) */
        st = cublasLtMatrixLayoutCreate(&m->b, type, forward ? in : out, n,
                                        (int64_t)(forward ? in : out));
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatrixLayoutCreate(&m->c, result, forward ? out : in, filter ? out : n,
                                        (int64_t)(forward ? out : in));
    return st;
}

/* Split sums are joined from the workspace, by kernels, in order; never in place. */
static cublasStatus_t wish(cublasLtMatmulPreference_t wanted)
{
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, align = 16;
    uint64_t most = NN_MOST_WORKSPACE;
    static const cublasLtMatmulPreferenceAttributes_t places[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    cublasStatus_t st = cublasLtMatmulPreferenceSetAttribute(
        wanted, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulPreferenceSetAttribute(
            wanted, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes);
    for (size_t i = 0; i < 4 && st == CUBLAS_STATUS_SUCCESS; i++)
        st = cublasLtMatmulPreferenceSetAttribute(wanted, places[i], &align, sizeof align);
    return st;
}

/* The ways that the heuristic names and that work; how many goes to *n. */
static cublasStatus_t ask(struct nn_cuda_stream *s, const struct matrices *m,
                          cublasLtMatmulHeuristicResult_t way[MOST_WAYS], int *n)
{
    cublasLtMatmulPreference_t wanted = NULL;
    int nfound = 0;
    *n = 0;
    memset(way, 0, MOST_WAYS * sizeof *way); /* what it leaves alone is in the way's text, too */
    cublasStatus_t st = cublasLtMatmulPreferenceCreate(&wanted);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = wish(wanted);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulAlgoGetHeuristic(s->cublas, m->what, m->a, m->b, m->c, m->c, wanted,
                                            MOST_WAYS, way, &nfound);
    if (wanted)
        (void)cublasLtMatmulPreferenceDestroy(wanted);
    for (int i = 0; i < nfound && st == CUBLAS_STATUS_SUCCESS; i++)
        if (way[i].state == CUBLAS_STATUS_SUCCESS)
            way[(*n)++] = way[i];
    return st;
}

static cublasStatus_t choose(struct nn_cuda_stream *s, struct matrices *m)
{
    cublasLtMatmulHeuristicResult_t way[MOST_WAYS];
    int n;
    cublasStatus_t st = ask(s, m, way, &n);
    if (st != CUBLAS_STATUS_SUCCESS)
        return st;
    m->way = way[0].algo;
    m->workspace = way[0].workspaceSize;
    return n > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

/* --- the way as text --- */

static void write_way(const cublasLtMatmulAlgo_t *way, char text[NN_ENGINE_TEXT])
{
    unsigned char bytes[sizeof *way];
    memcpy(bytes, way, sizeof bytes);
    _Static_assert(2 * sizeof bytes < NN_ENGINE_TEXT, "room for the way's text");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", (unsigned)bytes[i]);
}

static cublasStatus_t read_way(struct nn_cuda_stream *s, struct matrices *m, const char *text)
{
    unsigned char bytes[sizeof m->way];
    cublasLtMatmulHeuristicResult_t result;
    if (strlen(text) != 2 * sizeof bytes)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (size_t i = 0; i < sizeof bytes; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'}, *end;
        bytes[i] = (unsigned char)strtoul(pair, &end, 16);
        if (*end != '\0')
            return CUBLAS_STATUS_INVALID_VALUE;
    }
    memcpy(&m->way, bytes, sizeof bytes);
    cublasStatus_t st =
        cublasLtMatmulAlgoCheck(s->cublas, m->what, m->a, m->b, m->c, m->c, &m->way, &result);
    m->workspace = st == CUBLAS_STATUS_SUCCESS ? result.workspaceSize : 0;
    return st;
}

int nn_cublas_open(struct nn_cuda_stream *s, const struct nn_product *p, const char *engine,
                   struct nn_product_plan *out)
{
    struct matrices *m = calloc(1, sizeof *m);
    if (!m)
        return (int)cudaErrorMemoryAllocation;
    m->library = &library;
    cublasStatus_t st = describe(m, p);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = engine ? read_way(s, m, engine) : choose(s, m);
    if (st != CUBLAS_STATUS_SUCCESS) {
        snprintf(out->why, sizeof out->why, "cuBLASLt: %s", cublasLtGetStatusName(st));
        close_matrices(m);
        return nn_code_of_cublas(st);
    }
    out->handle = m;
    out->workspace = m->workspace;
    write_way(&m->way, out->engine);
    return 0;
}

int nn_cublas_ways(struct nn_cuda_stream *s, const struct nn_product *p,
                   char (*engines)[NN_ENGINE_TEXT], int most)
{
    cublasLtMatmulHeuristicResult_t way[MOST_WAYS];
    int n = 0;
    struct matrices *m = calloc(1, sizeof *m);
    if (!m)
        return 0;
    if (describe(m, p) != CUBLAS_STATUS_SUCCESS || ask(s, m, way, &n) != CUBLAS_STATUS_SUCCESS)
        n = 0;
    close_matrices(m);
    n = n < most ? n : most;
    for (int i = 0; i < n; i++)
        write_way(&way[i].algo, engines[i]);
    return n;
}
