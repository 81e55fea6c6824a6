/*
 * The cache map in shared memory.
 */
#include "cache_map.h"

#include "access/transam.h"
#include "common/hashfn.h"
#include "eviction.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "wal_position.h"

StaticAssertDecl(sizeof(pg_atomic_uint64) == sizeof(uint64), "atomics without a lock of their own");

#define TRANCHE "tidewater"
#define CHUNK_LOCKS 1024
#define RELATION_LOCKS 128
#define PARTITIONS 64
#define ALL_LOCKS (CHUNK_LOCKS + RELATION_LOCKS + 2 * PARTITIONS)

/* Entries this backend used lately. Only hints: tags are compared at each use. */
#define RECENT_CHUNKS 1024
#define RECENT_RELATIONS 256

typedef struct ChunkEntry
{
	ChunkTag	tag;
	uint32		index;			/* into tide_chunks */
} ChunkEntry;

CacheMap   *tide_map;
TideChunk  *tide_chunks;

static HTAB *chunk_table;
static HTAB *relation_table;
static LWLockPadded *locks;

static TideChunk *recent_chunks[RECENT_CHUNKS];
static TideRelation *recent_relations[RECENT_RELATIONS];

static LWLock *
lock_at(uint32 index)
{
	return &locks[index].lock;
}

static LWLock *
chunk_partition_lock(uint32 hash)
{
	return lock_at(CHUNK_LOCKS + RELATION_LOCKS + hash % PARTITIONS);
}

static LWLock *
relation_partition_lock(uint32 hash)
{
	return lock_at(CHUNK_LOCKS + RELATION_LOCKS + PARTITIONS + hash % PARTITIONS);
}

static uint32
node_hash(const RelFileNode *node)
{
	return murmurhash32(node->relNode ^ murmurhash32(node->dbNode));
}

static uint32
tag_hash32(const ChunkTag *tag)
{
	return hash_combine(node_hash(&tag->node), murmurhash32(tag->number * 4 + (uint32) tag->fork));
}

LWLock *
tide_chunk_lock(const ChunkTag *tag)
{
	return lock_at(tag_hash32(tag) % CHUNK_LOCKS);
}

LWLock *
tide_relation_lock(const RelFileNode *node)
{
	return lock_at(CHUNK_LOCKS + node_hash(node) % RELATION_LOCKS);
}

/* Shared memory */

static int
relation_capacity(void)
{
	return Max(tide_settings.cache_map_chunks / 2, 8192);
}

void
tide_map_request(void)
{
	Size		size = MAXALIGN(sizeof(CacheMap));

	size = add_size(size, mul_size(tide_settings.cache_map_chunks, sizeof(TideChunk)));
	size = add_size(size, hash_estimate_size(tide_settings.cache_map_chunks, sizeof(ChunkEntry)));
	size = add_size(size, hash_estimate_size(relation_capacity(), sizeof(TideRelation)));
	RequestAddinShmemSpace(add_size(size, 64 * 1024));
	RequestNamedLWLockTranche(TRANCHE, ALL_LOCKS);
}

void
tide_map_startup(void)
{
	HASHCTL		chunk_control = {
		.keysize = sizeof(ChunkTag),
		.entrysize = sizeof(ChunkEntry),
		.num_partitions = PARTITIONS,
	};
	HASHCTL		relation_control = {
		.keysize = sizeof(RelFileNode),
		.entrysize = sizeof(TideRelation),
		.num_partitions = PARTITIONS,
	};
	bool		found;

	tide_map = ShmemInitStruct("tidewater cache map", sizeof(CacheMap), &found);
	if (!found)
	{
		memset(tide_map, 0, sizeof(CacheMap));
		tide_map->chunk_count = tide_settings.cache_map_chunks;
		tide_map->free_head = tide_map->chunk_count;
		tide_map->free_count = tide_map->chunk_count;
		SpinLockInit(&tide_map->free_lock);
		pg_atomic_init_u64(&tide_map->present_blocks, 0);
		pg_atomic_init_u32(&tide_map->clock_hand, 0);
		pg_atomic_init_u64(&tide_map->futile_until, 0);
		pg_atomic_init_u64(&tide_map->fetched_blocks, 0);
		pg_atomic_init_u64(&tide_map->evicted_blocks, 0);
	}

	/* Fresh shared memory is zero, and zero is a free entry: touch nothing that is not needed. */
	tide_chunks = ShmemInitStruct("tidewater chunks",
								  mul_size(tide_map->chunk_count, sizeof(TideChunk)), &found);

	/*
	 * A part at first, as every start pays for the entries made here; dynahash takes the rest from the
	 * requested space when it needs it.
	 */
	chunk_table = ShmemInitHash("tidewater chunk table", tide_map->chunk_count / 64,
								tide_map->chunk_count, &chunk_control,
								HASH_ELEM | HASH_BLOBS | HASH_PARTITION);
	relation_table = ShmemInitHash("tidewater relation table", relation_capacity() / 64,
								   relation_capacity(), &relation_control,
								   HASH_ELEM | HASH_BLOBS | HASH_PARTITION);
	locks = GetNamedLWLockTranche(TRANCHE);
}

/* Relations */

static bool
relation_is(const TideRelation *relation, const RelFileNode *node)
{
	const volatile RelFileNode *own = &relation->node;

	return own->relNode == node->relNode && own->dbNode == node->dbNode &&
		own->spcNode == node->spcNode;
}

TideRelation *
tide_map_relation(const RelFileNode *node)
{
	TideRelation **recent = &recent_relations[(node->relNode ^ node->dbNode) % RECENT_RELATIONS];
	TideRelation *relation = *recent;
	LWLock	   *lock;
	uint32		hash;
	bool		found;

	if (relation != NULL && relation->live && relation_is(relation, node))
		return relation;

	hash = get_hash_value(relation_table, node);
	lock = relation_partition_lock(hash);
	LWLockAcquire(lock, LW_SHARED);
	relation = hash_search_with_hash_value(relation_table, node, hash, HASH_FIND, NULL);
	LWLockRelease(lock);
	if (relation == NULL)
	{
		LWLockAcquire(lock, LW_EXCLUSIVE);
		relation = hash_search_with_hash_value(relation_table, node, hash, HASH_ENTER_NULL, &found);
		if (relation != NULL && !found)
		{
			relation->live = true;
			relation->local_only = false;
			pg_atomic_init_u64(&relation->given_up_lsn, 0);
			for (int fork = 0; fork <= MAX_FORKNUM; fork++)
			{
				relation->state[fork] = FORK_UNKNOWN;
				pg_atomic_init_u32(&relation->chunk_end[fork], 0);
			}
		}
		LWLockRelease(lock);
		if (relation == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("tidewater's cache map has no room for another relation"),
					 errhint("Increase tidewater.cache_map_chunks.")));
	}
	*recent = relation;
	return relation;
}

static TideRelation *
find_relation(const RelFileNode *node)
{
	uint32		hash = get_hash_value(relation_table, node);
	LWLock	   *lock = relation_partition_lock(hash);
	TideRelation *relation;

	LWLockAcquire(lock, LW_SHARED);
	relation = hash_search_with_hash_value(relation_table, node, hash, HASH_FIND, NULL);
	LWLockRelease(lock);
	return relation;
}

void
tide_map_forget_relation(const RelFileNode *node)
{
	TideRelation *relation = find_relation(node);
	uint32		hash;
	LWLock	   *lock;

	if (relation == NULL)
		return;
	for (ForkNumber fork = 0; fork <= MAX_FORKNUM; fork++)
		tide_map_forget_chunks(relation, fork);

	hash = get_hash_value(relation_table, node);
	lock = relation_partition_lock(hash);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	/* Before it is free to be used again: backends may have kept the pointer. */
	relation->live = false;
	pg_memory_barrier();
	hash_search_with_hash_value(relation_table, node, hash, HASH_REMOVE, NULL);
	LWLockRelease(lock);
}

void
tide_map_forget_database(Oid db)
{
	HASH_SEQ_STATUS scan;
	TideRelation *relation;
	RelFileNode *nodes = NULL;
	int			count = 0;
	int			capacity = 0;

	/* Collected under all partition locks, forgotten without them. */
	for (int i = 0; i < PARTITIONS; i++)
		LWLockAcquire(relation_partition_lock(i), LW_SHARED);
	hash_seq_init(&scan, relation_table);
	while ((relation = hash_seq_search(&scan)) != NULL)
	{
		if (relation->node.dbNode != db)
			continue;
		if (count == capacity)
		{
			capacity = capacity == 0 ? 512 : capacity * 2;
			nodes = nodes == NULL ? palloc(capacity * sizeof(RelFileNode)) :
				repalloc(nodes, capacity * sizeof(RelFileNode));
		}
		nodes[count++] = relation->node;
	}
	for (int i = PARTITIONS - 1; i >= 0; i--)
		LWLockRelease(relation_partition_lock(i));

	for (int i = 0; i < count; i++)
		tide_map_forget_relation(&nodes[i]);
	if (nodes != NULL)
		pfree(nodes);
}

/* Chunks */

static TideChunk **
recent_chunk(const ChunkTag *tag)
{
	return &recent_chunks[(tag->node.relNode * 31 + tag->number + tag->fork * 257) % RECENT_CHUNKS];
}

TideChunk *
tide_map_find_chunk(const ChunkTag *tag)
{
	TideChunk **recent = recent_chunk(tag);
	TideChunk  *chunk = *recent;
	ChunkEntry *entry;
	uint32		hash;
	LWLock	   *lock;

	if (chunk != NULL && tide_chunk_is(chunk, tag))
		return chunk;

	hash = get_hash_value(chunk_table, tag);
	lock = chunk_partition_lock(hash);
	LWLockAcquire(lock, LW_SHARED);
	entry = hash_search_with_hash_value(chunk_table, tag, hash, HASH_FIND, NULL);
	chunk = entry == NULL ? NULL : &tide_chunks[entry->index];
	LWLockRelease(lock);
	if (chunk != NULL)
		*recent = chunk;
	return chunk;
}

/* Takes an unused entry; chunk_count if there is none. */
static uint32
take_free_entry(void)
{
	uint32		index;

	SpinLockAcquire(&tide_map->free_lock);
	index = tide_map->free_head;
	if (index != tide_map->chunk_count)
		tide_map->free_head = tide_chunks[index].tag.number;
	else if (tide_map->used_end < tide_map->chunk_count)
		index = tide_map->used_end++;
	if (index != tide_map->chunk_count)
		tide_map->free_count--;
	SpinLockRelease(&tide_map->free_lock);
	return index;
}

static void
return_entry(uint32 index)
{
	SpinLockAcquire(&tide_map->free_lock);
	tide_chunks[index].tag.number = tide_map->free_head;
	tide_map->free_head = index;
	tide_map->free_count++;
	SpinLockRelease(&tide_map->free_lock);
}

TideChunk *
tide_map_chunk(TideRelation *relation, const ChunkTag *tag)
{
	TideChunk  *chunk = tide_map_find_chunk(tag);
	uint32		index;
	uint32		hash;
	uint32		end;
	LWLock	   *lock;
	ChunkEntry *entry;
	bool		found = false;

	if (chunk != NULL)
		return chunk;

	while ((index = take_free_entry()) == tide_map->chunk_count)
	{
		if (!tide_evict_for_map())
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("tidewater's cache map is full"),
					 errdetail("All %u pieces hold blocks that must stay on local disk for now.",
							   tide_map->chunk_count),
					 errhint("Increase tidewater.cache_map_chunks.")));
	}

	/* Before the entry can be found, so that forgetting the fork cannot miss it. */
	end = pg_atomic_read_u32(&relation->chunk_end[tag->fork]);
	while (end < tag->number + 1 &&
		   !pg_atomic_compare_exchange_u32(&relation->chunk_end[tag->fork], &end, tag->number + 1))
		;

	hash = get_hash_value(chunk_table, tag);
	lock = chunk_partition_lock(hash);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	entry = hash_search_with_hash_value(chunk_table, tag, hash, HASH_ENTER_NULL, &found);
	if (entry != NULL && !found)
	{
		chunk = &tide_chunks[index];
		pg_atomic_fetch_add_u32(&chunk->generation, 1);
		pg_atomic_write_u64(&chunk->present, 0);
		pg_atomic_write_u64(&chunk->rewritten, 0);
		pg_atomic_write_u64(&chunk->referenced, 0);
		pg_atomic_write_u64(&chunk->given_up_lsn, pg_atomic_read_u64(&relation->given_up_lsn));
		pg_atomic_write_u64(&chunk->write_lsn, 0);
		pg_atomic_write_u64(&chunk->next_xid, 0);
		chunk->tag.node.spcNode = tag->node.spcNode;
		chunk->tag.node.dbNode = tag->node.dbNode;
		chunk->tag.fork = tag->fork;
		chunk->tag.number = tag->number;
		/* Last: whoever compares tags without a lock sees all of it or none. */
		pg_write_barrier();
		chunk->tag.node.relNode = tag->node.relNode;
		entry->index = index;
	}
	else if (entry != NULL)
		chunk = &tide_chunks[entry->index];
	LWLockRelease(lock);

	if (entry == NULL || found)
		return_entry(index);
	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of shared memory for tidewater's cache map"),
				 errhint("Increase tidewater.cache_map_chunks.")));
	*recent_chunk(tag) = chunk;
	return chunk;
}

void
tide_map_free_chunk(TideChunk *chunk)
{
	ChunkTag	tag = chunk->tag;
	uint32		hash = get_hash_value(chunk_table, &tag);
	LWLock	   *lock = chunk_partition_lock(hash);
	TideRelation *relation = find_relation(&tag.node);

	Assert(pg_atomic_read_u64(&chunk->present) == 0);

	/* A later entry for the same blocks begins with what this one knew. */
	if (relation != NULL)
		tide_atomic_max(&relation->given_up_lsn, pg_atomic_read_u64(&chunk->given_up_lsn));

	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_search_with_hash_value(chunk_table, &tag, hash, HASH_REMOVE, NULL);
	pg_atomic_fetch_add_u32(&chunk->generation, 1);
	chunk->tag.node.relNode = InvalidOid;
	pg_memory_barrier();
	LWLockRelease(lock);
	return_entry(chunk - tide_chunks);
}

void
tide_map_forget_chunks(TideRelation *relation, ForkNumber fork)
{
	ChunkTag	tag;
	uint32		end = pg_atomic_read_u32(&relation->chunk_end[fork]);

	tide_chunk_tag(&tag, &relation->node, fork, 0);
	for (tag.number = 0; tag.number < end; tag.number++)
	{
		TideChunk  *chunk = tide_map_find_chunk(&tag);
		LWLock	   *lock;

		if (chunk == NULL)
			continue;
		lock = tide_chunk_lock(&tag);
		LWLockAcquire(lock, LW_EXCLUSIVE);
		if (tide_chunk_is(chunk, &tag))
		{
			tide_chunk_set_absent(chunk, ~UINT64CONST(0));
			tide_map_free_chunk(chunk);
		}
		LWLockRelease(lock);
	}
}

void
tide_chunk_set_present(TideChunk *chunk, uint64 blocks)
{
	uint64		before = pg_atomic_fetch_or_u64(&chunk->present, blocks);
	int			added = pg_popcount64(blocks & ~before);

	if (added != 0)
		pg_atomic_fetch_add_u64(&tide_map->present_blocks, added);
	if ((pg_atomic_read_u64(&chunk->referenced) & blocks) != blocks)
		pg_atomic_fetch_or_u64(&chunk->referenced, blocks);
}

void
tide_chunk_set_written(TideChunk *chunk, uint64 blocks)
{
	/*
	 * Read after the page's last change, as the buffer's content lock orders the two: so every record
	 * that describes the page ends before write_lsn (its own LSN does not say as much: setting
	 * PD_ALL_VISIBLE is logged without raising it), and every transaction in it is older than next_xid.
	 */
	tide_atomic_max(&chunk->write_lsn, tide_insert_lsn());
	tide_atomic_max(&chunk->next_xid, *(volatile uint64 *) &ShmemVariableCache->nextXid.value);
	pg_atomic_fetch_or_u64(&chunk->rewritten, blocks);
	tide_chunk_set_present(chunk, blocks);
}

void
tide_chunk_set_absent(TideChunk *chunk, uint64 blocks)
{
	uint64		before = pg_atomic_fetch_and_u64(&chunk->present, ~blocks);

	/*
	 * Behind the bits and before the hole: a reader who saw a bit saw the old generation before it, and
	 * looks again after its read.
	 */
	pg_atomic_fetch_add_u32(&chunk->generation, 1);
	pg_atomic_fetch_and_u64(&chunk->rewritten, ~blocks);
	pg_atomic_fetch_and_u64(&chunk->referenced, ~blocks);
	if ((before & blocks) != 0)
		pg_atomic_fetch_sub_u64(&tide_map->present_blocks, pg_popcount64(before & blocks));
}
