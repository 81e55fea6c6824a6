/*
 * Which forks of a relation exist, and their local files.
 */
#include "fork_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlogutils.h"
#include "catalog/pg_tablespace_d.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "page_client.h"
#include "settings.h"
#include "storage/fd.h"
#include "wal_position.h"

#define SEGMENT_BYTES ((off_t) RELSEG_SIZE * BLCKSZ)

void
tide_segment_path(char *path, const RelFileNode *node, ForkNumber fork, BlockNumber segment)
{
	int			length;

	if (node->spcNode == GLOBALTABLESPACE_OID)
		length = snprintf(path, MAXPGPATH, "global/%u", node->relNode);
	else
		length = snprintf(path, MAXPGPATH, "base/%u/%u", node->dbNode, node->relNode);
	if (fork != MAIN_FORKNUM)
		length += snprintf(path + length, MAXPGPATH - length, "_%s", forkNames[fork]);
	if (segment > 0)
		snprintf(path + length, MAXPGPATH - length, ".%u", segment);
}

static bool
segment_size(const RelFileNode *node, ForkNumber fork, BlockNumber segment, off_t *size)
{
	char		path[MAXPGPATH];
	struct stat status;

	tide_segment_path(path, node, fork, segment);
	if (stat(path, &status) == 0)
	{
		*size = status.st_size;
		return true;
	}
	if (errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	return false;
}

static bool
file_exists(const RelFileNode *node, ForkNumber fork)
{
	off_t		size;

	return segment_size(node, fork, 0, &size);
}

/* A file that came with the base backup, or an emptied one that waits for the next checkpoint. */
static void
adopt_file(TideRelation *relation, ForkNumber fork)
{
	BlockNumber blocks = 0;
	off_t		size;
	ChunkTag	tag;

	for (BlockNumber segment = 0; segment_size(&relation->node, fork, segment, &size); segment++)
	{
		blocks += size / BLCKSZ;
		if (size < SEGMENT_BYTES)
			break;
	}
	for (BlockNumber first = 0; first < blocks; first += CHUNK_BLOCKS)
	{
		TideChunk  *chunk;
		LWLock	   *lock;

		tide_chunk_tag(&tag, &relation->node, fork, first);
		lock = tide_chunk_lock(&tag);
		for (;;)
		{
			chunk = tide_map_chunk(relation, &tag);
			LWLockAcquire(lock, LW_EXCLUSIVE);
			if (tide_chunk_is(chunk, &tag))
				break;
			LWLockRelease(lock);
		}
		tide_chunk_set_present(chunk, tide_block_bits(0, Min(blocks - first, CHUNK_BLOCKS)));
		LWLockRelease(lock);
	}
	relation->state[fork] = FORK_EXISTS;
}

static void
create_segment(const RelFileNode *node, ForkNumber fork, BlockNumber segment, off_t size)
{
	char		path[MAXPGPATH];
	int			file;

	tide_segment_path(path, node, fork, segment);
	file = OpenTransientFilePerm(path, O_RDWR | O_CREAT | O_EXCL | PG_BINARY, pg_file_create_mode);
	if (file < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	if (ftruncate(file, size) != 0)
	{
		int			save_errno = errno;

		/* A file of the wrong size must not be taken for the fork later. */
		unlink(path);
		CloseTransientFile(file);
		errno = save_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not set the size of file \"%s\": %m", path)));
	}
	CloseTransientFile(file);
}

/*
 * Makes the fork's files, all of them holes. The first segment comes last: the fork's files count from
 * when it exists.
 */
static void
create_sparse_files(const RelFileNode *node, ForkNumber fork, BlockNumber blocks)
{
	BlockNumber last = blocks / RELSEG_SIZE;

	/* md.c is content without an empty last segment; left over ones may lie there already. */
	for (BlockNumber segment = last; segment > 0; segment--)
	{
		char		path[MAXPGPATH];
		BlockNumber in_segment = Min(blocks - segment * RELSEG_SIZE, RELSEG_SIZE);

		if (in_segment == 0)
			continue;
		tide_segment_path(path, node, fork, segment);
		if (unlink(path) != 0 && errno != ENOENT)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not remove file \"%s\": %m", path)));
		create_segment(node, fork, segment, (off_t) in_segment * BLCKSZ);
	}
	create_segment(node, fork, 0, (off_t) Min(blocks, RELSEG_SIZE) * BLCKSZ);
}

/* What the local directory alone can tell. */
static void
look_locally(TideRelation *relation, ForkNumber fork)
{
	if (file_exists(&relation->node, INIT_FORKNUM))
	{
		/* Unlogged: whatever is not here does not exist. */
		for (ForkNumber each = 0; each <= MAX_FORKNUM; each++)
			relation->state[each] = file_exists(&relation->node, each) ? FORK_EXISTS : FORK_ABSENT;
		relation->local_only = true;
	}
	else if (file_exists(&relation->node, fork))
		adopt_file(relation, fork);
}

static void
learn_fork(TideRelation *relation, ForkNumber fork)
{
	LWLock	   *lock = tide_relation_lock(&relation->node);
	BlockNumber blocks;
	bool		exists;

	if (InRecovery)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a compute cannot recover in place"),
				 errhint("Start a new compute from a base backup of the page store.")));

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (relation->state[fork] == FORK_UNKNOWN)
		look_locally(relation, fork);
	LWLockRelease(lock);
	if (relation->state[fork] != FORK_UNKNOWN)
		return;

	/* A fork that is unknown was not touched since this compute began: its start LSN is new enough. */
	exists = tide_fetch_size(&relation->node, fork, tide_settings.start_lsn, &blocks);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (relation->state[fork] == FORK_UNKNOWN)
	{
		if (exists)
			create_sparse_files(&relation->node, fork, blocks);
		relation->state[fork] = exists ? FORK_EXISTS : FORK_ABSENT;
	}
	LWLockRelease(lock);
}

TideRelation *
tide_known_fork(const RelFileNode *node, ForkNumber fork)
{
	TideRelation *relation = tide_map_relation(node);

	if (unlikely(relation->state[fork] == FORK_UNKNOWN))
		learn_fork(relation, fork);
	return relation;
}

void
tide_make_local_only(TideRelation *relation)
{
	/* From now on nobody marks blocks; what was marked before is of no use. */
	relation->local_only = true;
	pg_memory_barrier();
	for (ForkNumber fork = 0; fork <= MAX_FORKNUM; fork++)
		tide_map_forget_chunks(relation, fork);
}

void
tide_fork_created(const RelFileNode *node, ForkNumber fork)
{
	TideRelation *relation;
	LWLock	   *lock = tide_relation_lock(node);

	/* Only a relation that went away unseen (with its database) can have left something. */
	if (fork == MAIN_FORKNUM)
		tide_map_forget_relation(node);
	relation = tide_map_relation(node);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (fork == MAIN_FORKNUM)
	{
		for (ForkNumber other = 0; other <= MAX_FORKNUM; other++)
			relation->state[other] = FORK_ABSENT;
	}
	relation->state[fork] = FORK_EXISTS;
	LWLockRelease(lock);

	if (fork == INIT_FORKNUM)
		tide_make_local_only(relation);
}

void
tide_check_number_unused(const RelFileNode *node)
{
	BlockNumber blocks;
	XLogRecPtr	now;

	if (!tide_fetch_size(node, MAIN_FORKNUM, tide_settings.start_lsn, &blocks))
		return;

	/* Perhaps the page store has not heard yet that it was dropped. */
	now = tide_insert_lsn();
	if (!tide_fetch_size(node, MAIN_FORKNUM, now, &blocks))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_FILE),
			 errmsg("relation file number %u of database %u is in use in the page store",
					node->relNode, node->dbNode),
			 errdetail("The server's counter for such numbers has wrapped around."),
			 errhint("Try again: the next number will be taken.")));
}
