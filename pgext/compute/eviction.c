/*
 * Eviction by a clock over the chunk entries, with a reference bit for each block.
 */
#include "eviction.h"

#include <fcntl.h>
#include <unistd.h>

#include "cache_map.h"
#include "fork_files.h"
#include "miscadmin.h"
#include "page_rules.h"
#include "port/pg_bitutils.h"
#include "settings.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

/* A backend that is far over the limit looks at this many chunks for each run it fetched. */
#define BACKEND_CHUNKS 32

/* When that freed nothing, backends do not try again for this long. */
#define FUTILE_MS 100

/* One pass of the hand: what it needs to know, and its open file. */
typedef struct Sweep
{
	PageRules	rules;
	int			file;
	bool		all_referenced; /* take referenced blocks too */
} Sweep;

static void
begin_sweep(Sweep *sweep)
{
	memset(sweep, 0, sizeof(Sweep));
	sweep->file = -1;
	tide_page_rules_now(&sweep->rules);
}

/*
 * Opens the segment file of a chunk. Not kept for longer than the chunk's lock: the file of a dropped
 * relation must never be taken for its successor's.
 */
static bool
open_chunk_file(Sweep *sweep, const ChunkTag *tag)
{
	char		path[MAXPGPATH];

	tide_segment_path(path, &tag->node, tag->fork, tag->number / (RELSEG_SIZE / CHUNK_BLOCKS));
	sweep->file = open(path, O_RDWR | O_CLOEXEC | PG_BINARY, 0);
	return sweep->file >= 0;
}

static off_t
chunk_offset(const ChunkTag *tag)
{
	return (off_t) (tag->number % (RELSEG_SIZE / CHUNK_BLOCKS)) * CHUNK_BLOCKS * BLCKSZ;
}

/* Of these rewritten blocks, the ones whose pages allow it. */
static uint64
judge_pages(const Sweep *sweep, const TideChunk *chunk, uint64 blocks)
{
	static PGAlignedBlock page;
	FullTransactionId next_xid;
	uint64		allowed = 0;

	next_xid.value = pg_atomic_read_u64((pg_atomic_uint64 *) &chunk->next_xid);
	while (blocks != 0)
	{
		int			at = pg_rightmost_one_pos64(blocks);
		uint64		bit = UINT64CONST(1) << at;

		blocks &= ~bit;
		if (pg_pread(sweep->file, page.data, BLCKSZ,
					 chunk_offset(&chunk->tag) + (off_t) at * BLCKSZ) == BLCKSZ &&
			tide_may_give_up(&sweep->rules, page.data, next_xid))
			allowed |= bit;
	}
	return allowed;
}

static void
punch_holes(int file, off_t offset, uint64 blocks)
{
	while (blocks != 0)
	{
		int			begin = pg_rightmost_one_pos64(blocks);
		uint64		rest = ~(blocks >> begin);
		int			length = rest == 0 ? CHUNK_BLOCKS - begin : pg_rightmost_one_pos64(rest);

		length = Min(length, CHUNK_BLOCKS - begin);
		/* A failure costs disk space only: the blocks count as absent and are fetched again. */
		(void) fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
						 offset + (off_t) begin * BLCKSZ, (off_t) length * BLCKSZ);
		blocks &= ~tide_block_bits(begin, begin + length);
	}
}

/* With the chunk's lock held EXCLUSIVE. Returns how many blocks were given up. */
static uint64
evict_locked(Sweep *sweep, TideChunk *chunk)
{
	ChunkTag	tag = chunk->tag;
	uint64		present = pg_atomic_read_u64(&chunk->present);
	uint64		victims = present;
	uint64		rewritten;

	if (!sweep->all_referenced)
		victims &= ~pg_atomic_exchange_u64(&chunk->referenced, 0);

	rewritten = victims & pg_atomic_read_u64(&chunk->rewritten);
	if (rewritten != 0 &&
		(tag.fork != MAIN_FORKNUM || pg_atomic_read_u64(&chunk->write_lsn) > sweep->rules.flushed))
	{
		victims &= ~rewritten;
		rewritten = 0;
	}
	if (victims == 0)
		return 0;

	if (!open_chunk_file(sweep, &tag))
	{
		/* Gone with its database: nothing is present. */
		if (errno != ENOENT)
			return 0;
		victims = present;
		rewritten = 0;
	}
	else if (rewritten != 0)
	{
		uint64		kept = rewritten & ~judge_pages(sweep, chunk, rewritten);

		victims &= ~kept;
		rewritten &= ~kept;
	}

	if (victims != 0)
	{
		if (rewritten != 0)
			tide_atomic_max(&chunk->given_up_lsn, pg_atomic_read_u64(&chunk->write_lsn));
		tide_chunk_set_absent(chunk, victims);
		if (sweep->file >= 0)
			punch_holes(sweep->file, chunk_offset(&tag), victims);
		pg_atomic_fetch_add_u64(&tide_map->evicted_blocks, pg_popcount64(victims));
	}
	if (sweep->file >= 0)
	{
		close(sweep->file);
		sweep->file = -1;
	}
	return pg_popcount64(victims);
}

static bool
map_is_nearly_full(void)
{
	return tide_map->free_count < tide_map->chunk_count / 8;
}

static uint64
evict_chunk(Sweep *sweep, TideChunk *chunk, bool wait_for_lock)
{
	ChunkTag	tag = chunk->tag;
	LWLock	   *lock = tide_chunk_lock(&tag);
	uint64		evicted = 0;

	if (!OidIsValid(tag.node.relNode))
		return 0;
	if (pg_atomic_read_u64(&chunk->present) == 0 && !map_is_nearly_full())
		return 0;
	/* The caller may hold chunk locks of its own one day; today none does (see cache_map.h). */
	if (LWLockHeldByMe(lock))
		return 0;
	if (wait_for_lock)
		LWLockAcquire(lock, LW_EXCLUSIVE);
	else if (!LWLockConditionalAcquire(lock, LW_EXCLUSIVE))
		return 0;
	if (tide_chunk_is(chunk, &tag))
	{
		evicted = evict_locked(sweep, chunk);
		if (pg_atomic_read_u64(&chunk->present) == 0 && map_is_nearly_full())
			tide_map_free_chunk(chunk);
	}
	LWLockRelease(lock);
	return evicted;
}

static TideChunk *
next_chunk(void)
{
	uint32		end = *(volatile uint32 *) &tide_map->used_end;

	if (end == 0)
		return NULL;
	return &tide_chunks[pg_atomic_fetch_add_u32(&tide_map->clock_hand, 1) % end];
}

uint64
tide_evict(uint64 want, uint32 max_chunks, bool wait_for_locks)
{
	Sweep		sweep;
	uint64		evicted = 0;

	begin_sweep(&sweep);
	for (uint32 i = 0; i < max_chunks && evicted < want; i++)
	{
		TideChunk  *chunk = next_chunk();

		if (chunk == NULL)
			break;
		evicted += evict_chunk(&sweep, chunk, wait_for_locks);
	}
	return evicted;
}

static uint64
limit_blocks(void)
{
	return (uint64) tide_settings.cache_size_kb * 1024 / BLCKSZ;
}

uint64
tide_blocks_over(void)
{
	uint64		present = pg_atomic_read_u64(&tide_map->present_blocks);

	if (tide_settings.cache_size_kb == 0 || present <= limit_blocks())
		return 0;
	return present - limit_blocks();
}

void
tide_evict_if_over(uint32 added)
{
	uint64		over = tide_blocks_over();
	TimestampTz now;

	if (over == 0)
		return;
	if (tide_map->keeper_latch != NULL)
		SetLatch(tide_map->keeper_latch);
	if (over <= limit_blocks() / 10 || CritSectionCount > 0)
		return;

	now = GetCurrentTimestamp();
	if ((uint64) now < pg_atomic_read_u64(&tide_map->futile_until))
		return;
	if (tide_evict(2 * added, BACKEND_CHUNKS, false) == 0)
		pg_atomic_write_u64(&tide_map->futile_until,
							(uint64) TimestampTzPlusMilliseconds(now, FUTILE_MS));
}

bool
tide_evict_for_map(void)
{
	Sweep		sweep;
	uint32		before = tide_map->free_count;

	begin_sweep(&sweep);
	/* Once around politely, once around firmly. */
	for (uint32 i = 0; i < 2 * tide_map->chunk_count; i++)
	{
		sweep.all_referenced = i >= tide_map->chunk_count;
		(void) evict_chunk(&sweep, next_chunk(), false);
		if (tide_map->free_count > before)
			return true;
	}
	return tide_map->free_count > before;
}
