/* A call of network() in a process of its own. Without arguments: what this processor has and the
 * kernels use. With a number: the memory of a call comes on the standard input (emulated.py), network()
 * runs as often, and the memory goes out on the standard output. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

#include "network.c"

enum { SIZE_OF_ALL, COUNT, VALUES, SCRATCH, STEPS, SAMPLES, THREADS, FIELDS };

/* what holds an offset from the beginning of the memory holds an address then, and back */
#define MOVE(POINTER, BY) \
    if (op->POINTER)      \
        op->POINTER = (void *)((char *)op->POINTER + (BY));
static void move(operation *ops, int64_t count, int64_t by)
{
    for (operation *op = ops; op < ops + count; op++) {
        MOVE(weight, by)
        MOVE(bias, by)
        MOVE(limit, by)
        MOVE(keep_u, by)
        MOVE(keep_v, by)
        MOVE(record, by)
        MOVE(live, by)
        MOVE(left, by)
    }
}

int main(int arguments, char **given)
{
    if (arguments == 1) {
        printf("%ld %ld %lu %lu\n", network_lanes(), network_largest_byte(), getauxval(AT_HWCAP),
               getauxval(AT_HWCAP2));
        return 0;
    }
    int64_t has[FIELDS];
    if (fread(has, sizeof *has, FIELDS, stdin) != FIELDS)
        return 1;
    char *memory = aligned_alloc(64, has[SIZE_OF_ALL]);
    char *scratch = aligned_alloc(64, has[SCRATCH] * has[THREADS]);
    if (!memory || !scratch || fread(memory, 1, has[SIZE_OF_ALL], stdin) != (size_t)has[SIZE_OF_ALL])
        return 1;
    operation *ops = (operation *)memory;
    const value *values = (const value *)(ops + has[COUNT]);
    move(ops, has[COUNT], (int64_t)memory);
    for (int n = atoi(given[1]); n; n--)
        network(ops, has[COUNT], values, scratch, has[SCRATCH], has[STEPS], has[SAMPLES], has[THREADS]);
    move(ops, has[COUNT], -(int64_t)memory);
    return fwrite(memory, 1, has[SIZE_OF_ALL], stdout) != (size_t)has[SIZE_OF_ALL];
}
