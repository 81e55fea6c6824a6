/*
 * The server program's own relocated read-only data: tables of function pointers that stock PostgreSQL
 * gives no hook for.
 */
#ifndef TIDEWATER_SERVER_IMAGE_H
#define TIDEWATER_SERVER_IMAGE_H

#include "postgres.h"

/*
 * Counts the places in the server program's writable segments that hold exactly these words, and sets
 * *first to the first of them. The loader relocates those segments, so tables of addresses lie there.
 */
extern int	tidewater_find_in_server(const uintptr_t *words, int word_count, void **first);

/*
 * Makes the pages of [start, start + length) writable for the rest of this process's life (and its
 * children's). Only while preloading, before the postmaster forks. Ends the server on failure.
 */
extern void tidewater_make_writable(void *start, size_t length);

#endif
