/*
 * This process's conversation with the page service (src/contracts/page_service.h).
 *
 * One connection per process, made when first needed. While the page store is away or busy, requests are
 * repeated for ever: a compute without pages can only wait. The wait ends with the postmaster, or with a
 * cancel where the caller's state allows one.
 *
 * Not to be called with a chunk, relation or partition lock held.
 */
#ifndef TIDEWATER_COMPUTE_PAGE_CLIENT_H
#define TIDEWATER_COMPUTE_PAGE_CLIENT_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "common/relpath.h"
#include "storage/block.h"
#include "storage/relfilenode.h"

/*
 * Reads `count` blocks from `first` on into `pages`, as new as min_lsn at least. Returns the LSN they are
 * valid at.
 */
extern XLogRecPtr tide_fetch_pages(const RelFileNode *node, ForkNumber fork, BlockNumber first,
								   uint32 count, XLogRecPtr min_lsn, char *pages);

/*
 * Asks for blocks that will be wanted soon and returns at once: a tide_fetch_pages() of exactly these then
 * finds them on their way or here. At most one such question is open in a process; a new one takes the
 * place of the old one's answer. Nothing is promised, and nothing goes wrong if nobody comes for them.
 */
extern void tide_fetch_ahead(const RelFileNode *node, ForkNumber fork, BlockNumber first, uint32 count,
							 XLogRecPtr min_lsn);

/*
 * How many blocks from `first` on were asked for ahead; 0 if none. To be asked for in one piece.
 */
extern uint32 tide_ahead_count(const RelFileNode *node, ForkNumber fork, BlockNumber first);

/* False if the fork does not exist. */
extern bool tide_fetch_size(const RelFileNode *node, ForkNumber fork, XLogRecPtr min_lsn,
							BlockNumber *blocks);

/* All forks of all relations of the database, in bytes. */
extern uint64 tide_fetch_database_size(Oid db, XLogRecPtr min_lsn);

#endif
