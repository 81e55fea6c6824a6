/*
 * Tests only: reads pages by relation number on a stock standby, so that it can play the page store.
 */
#include "postgres.h"

#include "access/xlogrecovery.h"
#include "fmgr.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(standby_pages);
PG_FUNCTION_INFO_V1(standby_size);

static RelFileNode
node_argument(FunctionCallInfo fcinfo)
{
	RelFileNode node = {PG_GETARG_OID(0), PG_GETARG_OID(1), PG_GETARG_OID(2)};

	return node;
}

/* Blocks of the fork, or NULL if it does not exist. */
Datum
standby_size(PG_FUNCTION_ARGS)
{
	SMgrRelation relation = smgropen(node_argument(fcinfo), InvalidBackendId);
	ForkNumber	fork = PG_GETARG_INT32(3);

	if (!smgrexists(relation, fork))
		PG_RETURN_NULL();
	PG_RETURN_INT64(smgrnblocks(relation, fork));
}

/* Pages one behind the other; zeros behind the end. */
Datum
standby_pages(PG_FUNCTION_ARGS)
{
	RelFileNode node = node_argument(fcinfo);
	ForkNumber	fork = PG_GETARG_INT32(3);
	BlockNumber first = (BlockNumber) PG_GETARG_INT64(4);
	int			count = PG_GETARG_INT32(5);
	SMgrRelation relation = smgropen(node, InvalidBackendId);
	BlockNumber end = smgrexists(relation, fork) ? smgrnblocks(relation, fork) : 0;
	bytea	   *pages = palloc0(VARHDRSZ + (Size) count * BLCKSZ);

	SET_VARSIZE(pages, VARHDRSZ + (Size) count * BLCKSZ);
	for (int i = 0; i < count; i++)
	{
		Buffer		buffer;

		if (first + i >= end)
			continue;
		buffer = ReadBufferWithoutRelcache(node, fork, first + i, RBM_NORMAL, NULL, true);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		memcpy(VARDATA(pages) + (Size) i * BLCKSZ, BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);
	}
	PG_RETURN_BYTEA_P(pages);
}
