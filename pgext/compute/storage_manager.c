/*
 * The compute's storage manager.
 *
 * Relations of three kinds: temporary ones are md.c's alone; unlogged ones (local_only) too, but without
 * syncs; permanent ones are tracked block by block in the cache map.
 */
#include "storage_manager.h"

#include "cache_map.h"
#include "eviction.h"
#include "fetch.h"
#include "fork_files.h"
#include "miscadmin.h"
#include "server_image.h"
#include "smgr_table.h"
#include "storage/buf_internals.h"
#include "storage/md.h"
#include "storage/sync.h"
#include "throttle.h"
#include "wal_position.h"

/* sync.c's own SyncOps: what a checkpoint does to data files that were written. */
typedef struct SyncTable
{
	int			(*sync_syncfiletag) (const FileTag *ftag, char *path);
	int			(*sync_unlinkfiletag) (const FileTag *ftag, char *path);
	bool		(*sync_filetagmatches) (const FileTag *ftag, const FileTag *candidate);
} SyncTable;

/* A page in the buffer pool of a relation that is not permanent: an unlogged one's. */
static bool
is_unlogged_buffer(const char *page)
{
	BufferDesc *buffer;

	if (page < BufferBlocks || page >= BufferBlocks + (size_t) NBuffers * BLCKSZ)
		return false;
	buffer = GetBufferDescriptor((page - BufferBlocks) / BLCKSZ);
	return (pg_atomic_read_u32(&buffer->state) & (BM_TAG_VALID | BM_PERMANENT)) == BM_TAG_VALID;
}

/* Whether the cache map tracks the fork's blocks. */
static bool
is_tracked(const TideRelation *relation, ForkNumber fork)
{
	return !relation->local_only && relation->state[fork] == FORK_EXISTS;
}

/* The chunk, with its lock held. */
static TideChunk *
lock_chunk(TideRelation *relation, const ChunkTag *tag, LWLock *lock, LWLockMode mode)
{
	for (;;)
	{
		TideChunk  *chunk = tide_map_chunk(relation, tag);

		LWLockAcquire(lock, mode);
		if (tide_chunk_is(chunk, tag))
			return chunk;
		LWLockRelease(lock);
	}
}

static void
compute_create(SMgrRelation reln, ForkNumber fork, bool isRedo)
{
	const RelFileNode *node = &reln->smgr_rnode.node;

	if (SmgrIsTemp(reln))
	{
		mdcreate(reln, fork, isRedo);
		return;
	}
	if (fork == MAIN_FORKNUM)
		tide_check_number_unused(node);
	else
		(void) tide_known_fork(node, fork);
	mdcreate(reln, fork, isRedo);
	tide_fork_created(node, fork);
}

static bool
compute_exists(SMgrRelation reln, ForkNumber fork)
{
	if (!SmgrIsTemp(reln) &&
		tide_known_fork(&reln->smgr_rnode.node, fork)->state[fork] != FORK_EXISTS)
	{
		/* As md.c does: what was open may be a file that is gone. */
		mdclose(reln, fork);
		return false;
	}
	return mdexists(reln, fork);
}

static void
compute_unlink(RelFileNodeBackend rnode, ForkNumber fork, bool isRedo)
{
	/* Forks are unlinked in order, and the map must not describe files that are gone. */
	if (!RelFileNodeBackendIsTemp(rnode) && (fork == MAIN_FORKNUM || fork == InvalidForkNumber))
		tide_map_forget_relation(&rnode.node);
	mdunlink(rnode, fork, isRedo);
}

/*
 * Blocks between the old end and `block` come into being as zeros without being written (hash indexes
 * extend that way). They are present from before anyone can see them.
 */
static void
mark_gap(SMgrRelation reln, TideRelation *relation, ForkNumber fork, BlockNumber block)
{
	BlockNumber at = mdnblocks(reln, fork);

	while (at < block)
	{
		ChunkTag	tag;
		LWLock	   *lock;
		TideChunk  *chunk;
		uint32		offset = at % CHUNK_BLOCKS;
		uint32		end = Min(CHUNK_BLOCKS, offset + (block - at));

		tide_chunk_tag(&tag, &relation->node, fork, at);
		lock = tide_chunk_lock(&tag);
		chunk = lock_chunk(relation, &tag, lock, LW_SHARED);
		tide_chunk_set_written(chunk, tide_block_bits(offset, end));
		LWLockRelease(lock);
		at += end - offset;
	}
}

static bool
is_present(const RelFileNode *node, ForkNumber fork, BlockNumber block)
{
	ChunkTag	tag;
	TideChunk  *chunk;

	tide_chunk_tag(&tag, node, fork, block);
	chunk = tide_map_find_chunk(&tag);
	return chunk != NULL && (pg_atomic_read_u64(&chunk->present) & tide_block_bit(block)) != 0;
}

typedef void (*WriteFunction) (SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer,
							   bool skipFsync);

/* Writes by md.c and marks the block. */
static void
write_tracked(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer,
			  WriteFunction md_write)
{
	const RelFileNode *node = &reln->smgr_rnode.node;
	TideRelation *relation = tide_known_fork(node, fork);
	ChunkTag	tag;
	LWLock	   *lock;
	TideChunk  *chunk;

	if (!relation->local_only && is_unlogged_buffer(buffer))
		tide_make_local_only(relation);
	if (!is_tracked(relation, fork))
	{
		md_write(reln, fork, block, buffer, true);
		return;
	}
	if (md_write == mdextend && block > 0 && !is_present(node, fork, block - 1))
		mark_gap(reln, relation, fork, block);

	tide_chunk_tag(&tag, node, fork, block);
	lock = tide_chunk_lock(&tag);
	chunk = lock_chunk(relation, &tag, lock, LW_SHARED);
	md_write(reln, fork, block, buffer, true);
	tide_chunk_set_written(chunk, tide_block_bit(block));
	LWLockRelease(lock);
}

static void
compute_extend(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer, bool skipFsync)
{
	if (SmgrIsTemp(reln))
	{
		mdextend(reln, fork, block, buffer, skipFsync);
		return;
	}
	write_tracked(reln, fork, block, buffer, mdextend);
	tide_evict_if_over(1);
	tide_throttle();
}

static void
compute_write(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer, bool skipFsync)
{
	if (SmgrIsTemp(reln))
		mdwrite(reln, fork, block, buffer, skipFsync);
	else
		write_tracked(reln, fork, block, buffer, mdwrite);
}

static bool
compute_prefetch(SMgrRelation reln, ForkNumber fork, BlockNumber block)
{
	const RelFileNode *node = &reln->smgr_rnode.node;

	if (!SmgrIsTemp(reln) && is_tracked(tide_known_fork(node, fork), fork) &&
		!is_present(node, fork, block))
		return true;
	return mdprefetch(reln, fork, block);
}

static void
compute_read(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer)
{
	const RelFileNode *node = &reln->smgr_rnode.node;
	uint64		bit = tide_block_bit(block);
	TideRelation *relation;
	ChunkTag	tag;

	if (SmgrIsTemp(reln))
	{
		mdread(reln, fork, block, buffer);
		return;
	}
	tide_chunk_tag(&tag, node, fork, block);
	for (;;)
	{
		TideChunk  *chunk;

		relation = tide_known_fork(node, fork);
		if (!is_tracked(relation, fork))
		{
			mdread(reln, fork, block, buffer);
			return;
		}
		chunk = tide_map_find_chunk(&tag);
		if (chunk != NULL)
		{
			uint32		generation = pg_atomic_read_u32(&chunk->generation);

			/* The tag again: the entry may have changed hands before the generation was read. */
			pg_read_barrier();
			if (tide_chunk_is(chunk, &tag) && (pg_atomic_read_u64(&chunk->present) & bit) != 0)
			{
				mdread(reln, fork, block, buffer);
				pg_read_barrier();
				if (pg_atomic_read_u32(&chunk->generation) == generation)
				{
					if ((pg_atomic_read_u64(&chunk->referenced) & bit) == 0)
						pg_atomic_fetch_or_u64(&chunk->referenced, bit);
					return;
				}
				/* Blocks of this chunk were punched while we read: ours perhaps. */
				continue;
			}
		}
		if (tide_fetch_block(reln, relation, fork, block, buffer))
			return;
	}
}

static void
compute_writeback(SMgrRelation reln, ForkNumber fork, BlockNumber block, BlockNumber count)
{
	/* The local files are a cache: nothing is gained by having them on disk. */
}

static BlockNumber
compute_nblocks(SMgrRelation reln, ForkNumber fork)
{
	if (!SmgrIsTemp(reln))
		(void) tide_known_fork(&reln->smgr_rnode.node, fork);
	return mdnblocks(reln, fork);
}

/* May run in a critical section: no memory is allocated, nothing is fetched. */
static void
compute_truncate(SMgrRelation reln, ForkNumber fork, BlockNumber old_blocks, BlockNumber blocks)
{
	TideRelation *relation;
	ChunkTag	tag;
	BlockNumber number;

	mdtruncate(reln, fork, old_blocks, blocks);
	if (SmgrIsTemp(reln))
		return;

	relation = tide_known_fork(&reln->smgr_rnode.node, fork);
	if (!is_tracked(relation, fork) || blocks >= old_blocks)
		return;
	tide_chunk_tag(&tag, &relation->node, fork, blocks);
	for (number = tag.number; number <= (old_blocks - 1) / CHUNK_BLOCKS; number++)
	{
		TideChunk  *chunk;
		LWLock	   *lock;

		tag.number = number;
		chunk = tide_map_find_chunk(&tag);
		if (chunk == NULL)
			continue;
		lock = tide_chunk_lock(&tag);
		LWLockAcquire(lock, LW_EXCLUSIVE);
		if (tide_chunk_is(chunk, &tag))
		{
			uint32		begin = number == blocks / CHUNK_BLOCKS ? blocks % CHUNK_BLOCKS : 0;

			tide_chunk_set_absent(chunk, tide_block_bits(begin, CHUNK_BLOCKS));
			/* Blocks that come again here must not be the ones cut off. */
			tide_atomic_max(&chunk->given_up_lsn, tide_insert_lsn());
		}
		LWLockRelease(lock);
	}
}

static void
compute_immedsync(SMgrRelation reln, ForkNumber fork)
{
	if (SmgrIsTemp(reln))
		mdimmedsync(reln, fork);
}

/* Data files are a cache, durability is the WAL's: a checkpoint need not sync them. */
static int
compute_syncfiletag(const FileTag *ftag, char *path)
{
	tide_segment_path(path, &ftag->rnode, ftag->forknum, ftag->segno);
	return 0;
}

static void
install_sync_table(void)
{
	SyncTable	stock = {mdsyncfiletag, mdunlinkfiletag, mdfiletagmatches};
	void	   *found;
	int			matches = tidewater_find_in_server((const uintptr_t *) &stock, 3, &found);

	if (matches != 1)
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this server's table of sync functions was not recognised"),
				 errdetail("Looked for the 3 addresses of mdsyncfiletag ... in a row; found them %d times, expected once.",
						   matches),
				 errhint("tidewater was built for PostgreSQL %s.", PG_VERSION)));
	tidewater_make_writable(found, sizeof(SyncTable));
	((SyncTable *) found)->sync_syncfiletag = compute_syncfiletag;
}

void
tide_storage_manager_install(void)
{
	SmgrTable  *table = tidewater_smgr_table();

	table->smgr_create = compute_create;
	table->smgr_exists = compute_exists;
	table->smgr_unlink = compute_unlink;
	table->smgr_extend = compute_extend;
	table->smgr_prefetch = compute_prefetch;
	table->smgr_read = compute_read;
	table->smgr_write = compute_write;
	table->smgr_writeback = compute_writeback;
	table->smgr_nblocks = compute_nblocks;
	table->smgr_truncate = compute_truncate;
	table->smgr_immedsync = compute_immedsync;

	install_sync_table();
}
