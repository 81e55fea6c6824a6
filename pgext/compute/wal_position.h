/*
 * WAL positions as the storage spells them.
 */
#ifndef TIDEWATER_COMPUTE_WAL_POSITION_H
#define TIDEWATER_COMPUTE_WAL_POSITION_H

#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"

/*
 * The canonical spelling (src/base/lsn.h): a position just past a page header is the page's start.
 * Nobody could flush, or ingest, up to the former: no record ends there.
 */
static inline XLogRecPtr
tide_normalize(XLogRecPtr lsn)
{
	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (XLogSegmentOffset(lsn, wal_segment_size) > XLOG_BLCKSZ &&
		lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

/* Every record inserted so far ends at or before this. */
static inline XLogRecPtr
tide_insert_lsn(void)
{
	return tide_normalize(GetXLogInsertRecPtr());
}

#endif
