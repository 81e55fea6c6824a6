/*
 * The storage manager of a redo helper: one real block, dummies everywhere else.
 *
 * Invariant between two records: every valid buffer but the target's holds a dummy (or, for free space
 * maps, which redo updates without any record, something as harmless). So nothing has to be dropped from the
 * buffer pool between pages.
 */
#include "redo.h"

#include "smgr_table.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"

/* Above every real LSN, and still far from wrapping when somebody adds to it. */
#define DUMMY_LSN UINT64CONST(0xFFFFFFFF00000000)

/* Open relations stay in smgr.c's table; beyond this many they are closed between two pages. */
#define MAX_OPEN_RELATIONS 1024

static PGAlignedBlock dummy_page;
static PGAlignedBlock target_image; /* the target while no buffer holds it */
static RelFileNode target_rnode;
static ForkNumber target_fork = InvalidForkNumber;
static BlockNumber target_block;
static Buffer target_buffer = InvalidBuffer;
static int	open_relations = 0;

static inline bool
is_target(SMgrRelation reln, ForkNumber fork, BlockNumber block)
{
	return block == target_block && fork == target_fork &&
		RelFileNodeEquals(reln->smgr_rnode.node, target_rnode);
}

static void
memory_init(void)
{
}

static void
memory_open(SMgrRelation reln)
{
	open_relations++;
}

static void
memory_close(SMgrRelation reln, ForkNumber fork)
{
}

static void
memory_create(SMgrRelation reln, ForkNumber fork, bool is_redo)
{
}

static bool
memory_exists(SMgrRelation reln, ForkNumber fork)
{
	return true;
}

static void
memory_unlink(RelFileNodeBackend rnode, ForkNumber fork, bool is_redo)
{
}

static void
memory_extend(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer, bool skip_fsync)
{
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("redo of a page tried to extend a relation"),
			 errdetail("Relation %u/%u/%u, fork %d, block %u.", reln->smgr_rnode.node.spcNode,
					   reln->smgr_rnode.node.dbNode, reln->smgr_rnode.node.relNode, fork, block)));
}

static bool
memory_prefetch(SMgrRelation reln, ForkNumber fork, BlockNumber block)
{
	return true;
}

static void
memory_read(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer)
{
	memcpy(buffer, is_target(reln, fork, block) ? target_image.data : dummy_page.data, BLCKSZ);
}

static void
memory_write(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer, bool skip_fsync)
{
	if (is_target(reln, fork, block))
		memcpy(target_image.data, buffer, BLCKSZ);
}

static void
memory_writeback(SMgrRelation reln, ForkNumber fork, BlockNumber block, BlockNumber count)
{
}

static BlockNumber
memory_nblocks(SMgrRelation reln, ForkNumber fork)
{
	return MaxBlockNumber;
}

static void
memory_truncate(SMgrRelation reln, ForkNumber fork, BlockNumber old_nblocks, BlockNumber nblocks)
{
}

static void
memory_immedsync(SMgrRelation reln, ForkNumber fork)
{
}

void
redo_smgr_install(void)
{
	SmgrTable  *table = tidewater_smgr_table();

	table->smgr_init = memory_init;
	table->smgr_shutdown = NULL;
	table->smgr_open = memory_open;
	table->smgr_close = memory_close;
	table->smgr_create = memory_create;
	table->smgr_exists = memory_exists;
	table->smgr_unlink = memory_unlink;
	table->smgr_extend = memory_extend;
	table->smgr_prefetch = memory_prefetch;
	table->smgr_read = memory_read;
	table->smgr_write = memory_write;
	table->smgr_writeback = memory_writeback;
	table->smgr_nblocks = memory_nblocks;
	table->smgr_truncate = memory_truncate;
	table->smgr_immedsync = memory_immedsync;

	PageInit((Page) dummy_page.data, BLCKSZ, 0);
	PageSetLSN((Page) dummy_page.data, DUMMY_LSN);
}

/* Pins a block's buffer, locked, whatever it holds: the caller is about to overwrite it. */
static Buffer
pin_for_overwrite(RelFileNode rnode, ForkNumber fork, BlockNumber block)
{
	return ReadBufferWithoutRelcache(rnode, fork, block, RBM_ZERO_AND_LOCK, NULL, true);
}

void
redo_target_begin(RelFileNode rnode, ForkNumber fork, BlockNumber block, const char *base)
{
	Buffer		buffer;

	Assert(target_fork == InvalidForkNumber);
	target_rnode = rnode;
	target_fork = fork;
	target_block = block;

	buffer = pin_for_overwrite(rnode, fork, block);
	if (base != NULL)
		memcpy(BufferGetPage(buffer), base, BLCKSZ);
	else
		memset(BufferGetPage(buffer), 0, BLCKSZ);
	/* Dirty, so that its eviction brings it to target_image. */
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
	target_buffer = buffer;
}

Buffer
redo_target_pin(void)
{
	if (!ReadRecentBuffer(target_rnode, target_fork, target_block, target_buffer))
		target_buffer = ReadBufferWithoutRelcache(target_rnode, target_fork, target_block, RBM_NORMAL,
												  NULL, true);
	return target_buffer;
}

Buffer
redo_target_hint(void)
{
	return target_buffer;
}

void
redo_target_end(char *out)
{
	Buffer		buffer = redo_target_pin();

	memcpy(out, BufferGetPage(buffer), BLCKSZ);
	memcpy(BufferGetPage(buffer), dummy_page.data, BLCKSZ);
	ReleaseBuffer(buffer);
	target_fork = InvalidForkNumber;
	target_buffer = InvalidBuffer;

	if (open_relations > MAX_OPEN_RELATIONS)
	{
		smgrcloseall();
		open_relations = 0;
	}
}

void
redo_make_dummy(RelFileNode rnode, ForkNumber fork, BlockNumber block)
{
	Buffer		buffer = pin_for_overwrite(rnode, fork, block);

	memcpy(BufferGetPage(buffer), dummy_page.data, BLCKSZ);
	UnlockReleaseBuffer(buffer);
}
