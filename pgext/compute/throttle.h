/*
 * Backpressure: writers slow down while the storage is behind.
 */
#ifndef TIDEWATER_COMPUTE_THROTTLE_H
#define TIDEWATER_COMPUTE_THROTTLE_H

/* Sleeps for the WAL that this backend has written since it last did, if the storage asks for it. */
extern void tide_throttle(void);

/* Publishes the feed and throttles at the ends of transactions. From _PG_init. */
extern void tide_transaction_ends_install(void);

#endif
