/*
 * Fetching blocks that are not present locally.
 */
#include "fetch.h"

#include "access/transam.h"
#include "common/hashfn.h"
#include "eviction.h"
#include "page_client.h"
#include "port/pg_bitutils.h"
#include "settings.h"
#include "storage/md.h"
#include "utils/memutils.h"
#include "wal_position.h"

/* A whole relation this small is fetched at its first miss: catalogs, mostly. */
#define SMALL_RELATION_BLOCKS 8

/* A miss this close behind the last run still counts as sequential: present blocks lie between. */
#define RUN_GAP 16

/* Random misses in a larger catalog still come in bunches: every backend reads its relation cache. */
#define CATALOG_RUN 8

#define FIRST_RUN 4
#define RUN_SLOTS 64

/* Where this backend's last misses in a fork ended. */
typedef struct Run
{
	RelFileNode node;
	ForkNumber	fork;
	BlockNumber end;
	uint32		length;
} Run;

static Run	runs[RUN_SLOTS];
static char *answer;			/* room for a chunk of pages */

static uint32
run_length(const ChunkTag *tag, BlockNumber block, BlockNumber fork_blocks)
{
	Run		   *run = &runs[(murmurhash32(tag->node.relNode) + tag->fork) % RUN_SLOTS];

	if (RelFileNodeEquals(run->node, tag->node) && run->fork == tag->fork &&
		block >= run->end && block - run->end <= RUN_GAP)
		run->length = run->length == 1 ? FIRST_RUN : Min(run->length * 2, CHUNK_BLOCKS);
	else
	{
		run->node = tag->node;
		run->fork = tag->fork;
		run->length = 1;
	}
	if (fork_blocks <= SMALL_RELATION_BLOCKS)
		return SMALL_RELATION_BLOCKS;
	if (tag->node.relNode < FirstNormalObjectId)
		return Max(run->length, CATALOG_RUN);
	return run->length;
}

static void
note_run_end(const ChunkTag *tag, BlockNumber end)
{
	runs[(murmurhash32(tag->node.relNode) + tag->fork) % RUN_SLOTS].end = end;
}

/* How many blocks to ask for, from `block` on: absent ones, in its chunk, below the end of the fork. */
static uint32
choose_count(const TideChunk *chunk, const ChunkTag *tag, BlockNumber block, BlockNumber fork_blocks)
{
	uint32		offset = block % CHUNK_BLOCKS;
	uint64		present_behind = pg_atomic_read_u64((pg_atomic_uint64 *) &chunk->present) >> offset >> 1;
	uint32		count = run_length(tag, block, fork_blocks);

	count = Min(count, CHUNK_BLOCKS - offset);
	count = Min(count, fork_blocks - block);
	if (present_behind != 0)
		count = Min(count, (uint32) pg_rightmost_one_pos64(present_behind) + 1);
	return count;
}

/* Puts fetched pages into the local file, but for blocks that came or changed meanwhile. */
static void
store_pages(SMgrRelation reln, TideChunk *chunk, ForkNumber fork, BlockNumber first, uint32 count)
{
	uint64		present = pg_atomic_read_u64(&chunk->present);
	uint64		stored = 0;

	for (uint32 i = 0; i < count; i++)
	{
		uint64		bit = tide_block_bit(first + i);

		if ((present & bit) != 0)
			continue;
		mdwrite(reln, fork, first + i, answer + (size_t) i * BLCKSZ, true);
		stored |= bit;
	}
	tide_chunk_set_present(chunk, stored);
}

bool
tide_fetch_block(SMgrRelation reln, TideRelation *relation, ForkNumber fork, BlockNumber block,
				 char *buffer)
{
	BlockNumber fork_blocks = mdnblocks(reln, fork);
	TideChunk  *chunk;
	ChunkTag	tag;
	LWLock	   *lock;
	uint32		count;
	XLogRecPtr	min_lsn;
	XLogRecPtr	at_lsn;
	bool		stored = false;

	if (block >= fork_blocks)
	{
		/* Behind the end: md.c knows what to say. */
		mdread(reln, fork, block, buffer);
		return true;
	}
	if (answer == NULL)
		answer = MemoryContextAlloc(TopMemoryContext, CHUNK_BLOCKS * BLCKSZ);

	tide_chunk_tag(&tag, &relation->node, fork, block);
	chunk = tide_map_chunk(relation, &tag);
	count = choose_count(chunk, &tag, block, fork_blocks);
	min_lsn = Max(tide_settings.start_lsn, pg_atomic_read_u64(&chunk->given_up_lsn));
	if (!tide_chunk_is(chunk, &tag))
		return false;

	at_lsn = tide_fetch_pages(&relation->node, fork, block, count, min_lsn, answer);
	note_run_end(&tag, block + count);

	/*
	 * While we waited without a lock, neighbours may have been fetched or written by others (then they
	 * are present), or even written and evicted again: then the chunk has given up more than we asked for.
	 */
	lock = tide_chunk_lock(&tag);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (tide_chunk_is(chunk, &tag) &&
		(pg_atomic_read_u64(&chunk->present) & tide_block_bit(block)) == 0 &&
		at_lsn >= pg_atomic_read_u64(&chunk->given_up_lsn))
	{
		store_pages(reln, chunk, fork, block, count);
		stored = true;
	}
	LWLockRelease(lock);
	if (!stored)
		return false;

	pg_atomic_fetch_add_u64(&tide_map->fetched_blocks, count);
	memcpy(buffer, answer, BLCKSZ);
	tide_evict_if_over(count);
	return true;
}
