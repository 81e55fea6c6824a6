/*
 * Fetching blocks that are not present locally.
 */
#include "fetch.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/transam.h"
#include "common/hashfn.h"
#include "eviction.h"
#include "fork_files.h"
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

/* After a run this long, the next chunk is asked for before it is missed. */
#define AHEAD_FROM 16

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

/*
 * Of a scan that takes whole chunks in their order, the next one: the page store prepares it while we use
 * this one.
 */
static void
ask_ahead(TideRelation *relation, const ChunkTag *tag, BlockNumber next, uint32 fetched,
		  BlockNumber fork_blocks)
{
	ChunkTag	next_tag;
	TideChunk  *chunk;
	XLogRecPtr	min_lsn = tide_settings.start_lsn;

	if (fetched < AHEAD_FROM || next % CHUNK_BLOCKS != 0 || next >= fork_blocks)
		return;
	tide_chunk_tag(&next_tag, &tag->node, tag->fork, next);
	chunk = tide_map_find_chunk(&next_tag);
	if (chunk != NULL)
	{
		if (pg_atomic_read_u64(&chunk->present) != 0)
			return;
		min_lsn = Max(min_lsn, pg_atomic_read_u64(&chunk->given_up_lsn));
	}
	else
		min_lsn = Max(min_lsn, pg_atomic_read_u64(&relation->given_up_lsn));
	tide_fetch_ahead(&tag->node, tag->fork, next, Min(CHUNK_BLOCKS, fork_blocks - next), min_lsn);
}

/* Writes blocks that follow each other at once, or one by one where the file cannot be had. */
static void
write_pages(SMgrRelation reln, ForkNumber fork, BlockNumber first, uint32 count, const char *pages)
{
	char		path[MAXPGPATH];
	int			file;
	bool		done = false;

	/* They lie in one chunk, so in one segment. The chunk's lock keeps the file in its place. */
	if (count > 1)
	{
		tide_segment_path(path, &reln->smgr_rnode.node, fork, first / RELSEG_SIZE);
		file = open(path, O_WRONLY | O_CLOEXEC | PG_BINARY, 0);
		if (file >= 0)
		{
			done = pg_pwrite(file, pages, (size_t) count * BLCKSZ,
							 (off_t) (first % RELSEG_SIZE) * BLCKSZ) == (ssize_t) count * BLCKSZ;
			close(file);
		}
	}
	if (done)
		return;
	for (uint32 i = 0; i < count; i++)
		mdwrite(reln, fork, first + i, (char *) pages + (size_t) i * BLCKSZ, true);
}

/* Puts fetched pages into the local file, but for blocks that came or changed meanwhile. */
static void
store_pages(SMgrRelation reln, TideChunk *chunk, ForkNumber fork, BlockNumber first, uint32 count)
{
	uint64		present = pg_atomic_read_u64(&chunk->present);
	uint64		stored = 0;

	for (uint32 i = 0; i < count;)
	{
		uint32		length = 0;

		while (i + length < count && (present & tide_block_bit(first + i + length)) == 0)
		{
			stored |= tide_block_bit(first + i + length);
			length++;
		}
		if (length > 0)
			write_pages(reln, fork, first + i, length, answer + (size_t) i * BLCKSZ);
		i += length + 1;
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
	/* What is on its way comes as it was asked for, if the fork still has it; others' blocks stay. */
	if (tide_ahead_count(&tag.node, fork, block) > 0 &&
		tide_ahead_count(&tag.node, fork, block) <= fork_blocks - block)
		count = tide_ahead_count(&tag.node, fork, block);
	min_lsn = Max(tide_settings.start_lsn, pg_atomic_read_u64(&chunk->given_up_lsn));
	if (!tide_chunk_is(chunk, &tag))
		return false;

	at_lsn = tide_fetch_pages(&relation->node, fork, block, count, min_lsn, answer);
	note_run_end(&tag, block + count);
	ask_ahead(relation, &tag, block + count, count, fork_blocks);

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
