/*
 * Fetching blocks that are not present locally.
 */
#ifndef TIDEWATER_COMPUTE_FETCH_H
#define TIDEWATER_COMPUTE_FETCH_H

#include "cache_map.h"
#include "storage/smgr.h"

/*
 * Fetches the block, and neighbours where that pays, into the local file and the block into buffer.
 * False: others changed the chunk meanwhile, look again.
 */
extern bool tide_fetch_block(SMgrRelation reln, TideRelation *relation, ForkNumber fork,
							 BlockNumber block, char *buffer);

#endif
