#include "tests/parity/driver_faulty.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/parity/driver_host.h"

enum { FAILED = 9 };

struct driver_faults driver_faults;

static const char *name_of(int code)
{
    return code == DRIVER_LOST ? "cudaErrorIllegalAddress" : driver_host.name_of(code);
}

static int count(int *n)
{
    return driver_faults.no_driver ? driver_host.no_driver : driver_host.count(n);
}

static int memory(size_t *available, size_t *total)
{
    long limit = driver_faults.limit;
    int code = driver_host.memory(available, total);
    if (limit > 0) {
        *total = (size_t)limit;
        *available = (size_t)(limit - driver_faults.used);
    }
    return code;
}

static int take(void **out, size_t nbytes)
{
    *out = NULL;
    driver_faults.made++;
    if (driver_faults.limit > 0 && driver_faults.used + (long)nbytes > driver_faults.limit)
        return driver_host.out_of_memory;
    int code = driver_host.alloc(out, nbytes);
    if (code == 0)
        driver_faults.used += (long)malloc_usable_size(*out);
    return code;
}

static int give(void *p)
{
    driver_faults.used -= (long)malloc_usable_size(p);
    return driver_host.release(p);
}

static int pin(void **out, size_t nbytes)
{
    driver_faults.made++;
    return driver_host.pin(out, nbytes);
}

static int stream_open(void **out, bool urgent)
{
    int code = driver_host.stream_open(out, urgent);
    driver_faults.newest = *out;
    return code;
}

static int stream_idle(void *stream, bool *idle)
{
    *idle = false;
    if (driver_faults.hangs || driver_faults.stuck == stream)
        return 0;
    return driver_host.stream_idle(stream, idle);
}

static int launch(void *stream, int kernel, const struct nn_grid *grid, const void *args)
{
    int code = driver_faults.launch_code;
    return code ? code : driver_host.launch(stream, kernel, grid, args);
}

static int product_open(void *stream, const struct nn_product *product, const char *engine,
                        struct nn_product_plan *out)
{
    if (!driver_faults.no_products)
        return driver_host.product_open(stream, product, engine, out);
    *out = (struct nn_product_plan){.why = "not by this library"};
    return FAILED;
}

static int capture_begin(void *stream)
{
    return driver_faults.no_capture ? FAILED : driver_host.capture_begin(stream);
}

static int graph_launch(void *graph, void *stream)
{
    int code = driver_faults.launch_code;
    return code ? code : driver_host.graph_launch(graph, stream);
}

const struct nn_driver *driver_faulty(void)
{
    static struct nn_driver driver;
    const char *said = getenv("FLYWHEEL_FAULTY_GPU");
    driver_faults.no_driver = said && strcmp(said, "none") == 0;
    driver_faults.limit = said ? strtol(said, NULL, 10) : 0;
    driver = driver_host;
    driver.name_of = driver.text_of = name_of;
    driver.count = count;
    driver.memory = memory;
    driver.alloc = take;
    driver.release = give;
    driver.pin = pin;
    driver.stream_open = stream_open;
    driver.stream_idle = stream_idle;
    driver.launch = launch;
    driver.product_open = product_open;
    driver.capture_begin = capture_begin;
    driver.graph_launch = graph_launch;
    return &driver;
}
