/*
 * pg_relation_size() and its kin, which look at local files: they see a fork only once it is known.
 */
#ifndef TIDEWATER_COMPUTE_RELATION_SIZE_H
#define TIDEWATER_COMPUTE_RELATION_SIZE_H

/* Replaces the functions in the server's table of built-in functions. From _PG_init. */
extern void tide_relation_size_install(void);

#endif
