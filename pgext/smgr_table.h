/*
 * The server's storage-manager table (smgrsw in storage/smgr/smgr.c).
 *
 * The table is static, one entry long and lies in relocated read-only data. It is found by looking for
 * the addresses of md.c's exported functions, and made writable before the postmaster forks.
 */
#ifndef TIDEWATER_SMGR_TABLE_H
#define TIDEWATER_SMGR_TABLE_H

#include "postgres.h"

#include "storage/block.h"
#include "storage/relfilenode.h"
#include "storage/smgr.h"

/* The layout of smgr.c's own f_smgr in PostgreSQL 15 (from 15.11: smgr_truncate is told the old size). */
typedef struct SmgrTable
{
	void		(*smgr_init) (void);
	void		(*smgr_shutdown) (void);
	void		(*smgr_open) (SMgrRelation reln);
	void		(*smgr_close) (SMgrRelation reln, ForkNumber forknum);
	void		(*smgr_create) (SMgrRelation reln, ForkNumber forknum, bool isRedo);
	bool		(*smgr_exists) (SMgrRelation reln, ForkNumber forknum);
	void		(*smgr_unlink) (RelFileNodeBackend rnode, ForkNumber forknum, bool isRedo);
	void		(*smgr_extend) (SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum,
								char *buffer, bool skipFsync);
	bool		(*smgr_prefetch) (SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum);
	void		(*smgr_read) (SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum,
							  char *buffer);
	void		(*smgr_write) (SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum,
							   char *buffer, bool skipFsync);
	void		(*smgr_writeback) (SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum,
								   BlockNumber nblocks);
	BlockNumber (*smgr_nblocks) (SMgrRelation reln, ForkNumber forknum);
	void		(*smgr_truncate) (SMgrRelation reln, ForkNumber forknum,
								  BlockNumber old_blocks, BlockNumber nblocks);
	void		(*smgr_immedsync) (SMgrRelation reln, ForkNumber forknum);
} SmgrTable;

/*
 * The live table, writable. Ends the server (FATAL, with DETAIL what was looked for) unless the server
 * is the version we were built for and exactly one match exists.
 */
extern SmgrTable *tidewater_smgr_table(void);

#endif
