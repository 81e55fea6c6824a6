/*
 * Commits wait for the acceptors, whatever the client or an administrator does meanwhile.
 */
#ifndef TIDEWATER_COMPUTE_SYNC_GUARD_H
#define TIDEWATER_COMPUTE_SYNC_GUARD_H

/* From _PG_init. */
extern void tide_sync_guard_install(void);

#endif
