/*
 * The keeper: the compute's background worker. It publishes the feed, ends the server when the storage
 * says it is fenced, and evicts.
 */
#ifndef TIDEWATER_COMPUTE_KEEPER_H
#define TIDEWATER_COMPUTE_KEEPER_H

/* From _PG_init. */
extern void tide_keeper_register(void);

#endif
