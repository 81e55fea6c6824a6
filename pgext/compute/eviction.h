/*
 * Eviction: keeps the local copies of permanent relations within tidewater.cache_size.
 */
#ifndef TIDEWATER_COMPUTE_EVICTION_H
#define TIDEWATER_COMPUTE_EVICTION_H

#include "postgres.h"

/* Blocks present beyond the limit; 0 if none or no limit. */
extern uint64 tide_blocks_over(void);

/*
 * Moves the clock hand over at most max_chunks chunks, until `want` blocks are given up. Returns how many
 * were. With wait_for_locks, busy chunks are waited for. Raises no error, allocates nothing.
 */
extern uint64 tide_evict(uint64 want, uint32 max_chunks, bool wait_for_locks);

/*
 * Called by backends that added blocks: wakes the keeper when over the limit, and helps it when far over.
 */
extern void tide_evict_if_over(uint32 added);

/* Empties some chunk entry, as the map has none left. False if none can be. */
extern bool tide_evict_for_map(void);

#endif
