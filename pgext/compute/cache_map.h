/*
 * The cache map: which blocks of which relation forks are present in the local data files.
 *
 * Lives in shared memory. Two tables: one entry per relation (which forks exist), one per chunk of 64
 * blocks (which of them are present). A relation or chunk without an entry is not known yet or has
 * nothing present.
 *
 * Locks, outer to inner: relation lock, chunk lock, the tables' own partition locks. No page is fetched
 * under any of them.
 *
 *   read    takes no lock: it looks at the chunk's generation before and after, and every punch raises it
 *   write   holds the chunk lock SHARED over the file write and the marking
 *   fetch   holds it EXCLUSIVE while it stores pages, after the answer has come
 *   evict   holds it EXCLUSIVE
 *
 * Entries of the map never move. A pointer kept by a backend is checked against the entry's tag at each
 * use, so entries may be freed and used again.
 */
#ifndef TIDEWATER_COMPUTE_CACHE_MAP_H
#define TIDEWATER_COMPUTE_CACHE_MAP_H

#include "postgres.h"

#include "common/relpath.h"
#include "port/atomics.h"
#include "storage/block.h"
#include "storage/lwlock.h"
#include "storage/relfilenode.h"
#include "storage/spin.h"

#define CHUNK_BLOCKS 64

typedef enum ForkState
{
	FORK_UNKNOWN = 0,			/* ask the page store */
	FORK_ABSENT,				/* exists nowhere */
	FORK_EXISTS					/* has its local file, of the right size, perhaps sparse */
} ForkState;

typedef struct TideRelation
{
	RelFileNode node;			/* hash key */
	volatile bool live;			/* false once forgotten */
	volatile bool local_only;	/* unlogged: all of it is local, md.c alone rules */
	volatile uint8 state[MAX_FORKNUM + 1];	/* ForkState; changed under the relation lock */
	pg_atomic_uint32 chunk_end[MAX_FORKNUM + 1];	/* no chunk entry at or behind this number */
	pg_atomic_uint64 given_up_lsn;	/* inherited from chunk entries that were freed */
} TideRelation;

typedef struct ChunkTag
{
	RelFileNode node;
	ForkNumber	fork;
	BlockNumber number;			/* block / CHUNK_BLOCKS */
} ChunkTag;

typedef struct TideChunk
{
	ChunkTag	tag;			/* relNode is InvalidOid in a free entry; number then links the list */
	pg_atomic_uint32 generation;	/* raised by every punch and every reuse, never reset */
	pg_atomic_uint64 present;	/* bit per block: the local file has it */
	pg_atomic_uint64 rewritten; /* bit per block: written here since it was fetched */
	pg_atomic_uint64 referenced;	/* bit per block: used since the clock hand passed */
	pg_atomic_uint64 given_up_lsn;	/* WAL that a fetch must see: newest write ever punched */
	pg_atomic_uint64 write_lsn; /* WAL describing every write to present blocks ends before this */
	pg_atomic_uint64 next_xid;	/* transactions in rewritten blocks are all older than this */
} TideChunk;

typedef struct CacheMap
{
	uint32		chunk_count;
	slock_t		free_lock;
	uint32		free_head;		/* index, or chunk_count: none */
	uint32		free_count;
	uint32		used_end;		/* entries at or behind this index were never used */
	pg_atomic_uint64 present_blocks;	/* all blocks present, of all chunks */
	pg_atomic_uint32 clock_hand;
	pg_atomic_uint64 futile_until;	/* TimestampTz: backends need not try to evict before */
	pg_atomic_uint64 fetched_blocks;	/* since the start */
	pg_atomic_uint64 evicted_blocks;
	struct Latch *keeper_latch; /* of the background worker; NULL if it does not run */
} CacheMap;

extern CacheMap *tide_map;
extern TideChunk *tide_chunks;	/* array of chunk_count */

/* Shared memory: called from the request and startup hooks. */
extern void tide_map_request(void);
extern void tide_map_startup(void);

/* The relation's entry, made if need be. ERROR when the map is full. */
extern TideRelation *tide_map_relation(const RelFileNode *node);

/* Forgets the relation and all its chunks. */
extern void tide_map_forget_relation(const RelFileNode *node);
extern void tide_map_forget_database(Oid db);

extern LWLock *tide_relation_lock(const RelFileNode *node);
extern LWLock *tide_chunk_lock(const ChunkTag *tag);

/* The chunk's entry or NULL. */
extern TideChunk *tide_map_find_chunk(const ChunkTag *tag);

/* The chunk's entry, made if need be. ERROR when the map is full of what cannot be evicted. */
extern TideChunk *tide_map_chunk(TideRelation *relation, const ChunkTag *tag);

/* Forgets all chunks of the fork. The caller knows that nobody uses the fork's blocks. */
extern void tide_map_forget_chunks(TideRelation *relation, ForkNumber fork);

/* Gives an entry with nothing present back; the caller holds its chunk lock EXCLUSIVE. */
extern void tide_map_free_chunk(TideChunk *chunk);

/* Marks blocks, with the chunk lock held; keeps count. */
extern void tide_chunk_set_present(TideChunk *chunk, uint64 blocks);
extern void tide_chunk_set_written(TideChunk *chunk, uint64 blocks);
extern void tide_chunk_set_absent(TideChunk *chunk, uint64 blocks);

static inline void
tide_chunk_tag(ChunkTag *tag, const RelFileNode *node, ForkNumber fork, BlockNumber block)
{
	tag->node = *node;
	tag->fork = fork;
	tag->number = block / CHUNK_BLOCKS;
}

static inline bool
tide_chunk_is(const TideChunk *chunk, const ChunkTag *tag)
{
	const volatile ChunkTag *own = &chunk->tag;

	return own->node.relNode == tag->node.relNode && own->number == tag->number &&
		own->fork == tag->fork && own->node.dbNode == tag->node.dbNode &&
		own->node.spcNode == tag->node.spcNode;
}

static inline uint64
tide_block_bit(BlockNumber block)
{
	return UINT64CONST(1) << (block % CHUNK_BLOCKS);
}

/* Bits [begin, end) of a chunk. */
static inline uint64
tide_block_bits(uint32 begin, uint32 end)
{
	uint64		below_end = end == CHUNK_BLOCKS ? ~UINT64CONST(0) : (UINT64CONST(1) << end) - 1;

	return below_end & ~((UINT64CONST(1) << begin) - 1);
}

static inline void
tide_atomic_max(pg_atomic_uint64 *value, uint64 candidate)
{
	uint64		now = pg_atomic_read_u64(value);

	while (now < candidate && !pg_atomic_compare_exchange_u64(value, &now, candidate))
		;
}

#endif
