/*
 * The size functions of SQL, over forks that may not be known locally yet.
 *
 * Each of ours first makes the forks known that the server's own function will look for, and then calls
 * it. A database's size is asked from the page store, for its relations are mostly not known.
 */
#include "relation_size.h"

#include "postgres.h"

#include <sys/stat.h>

#include "access/relation.h"
#include "catalog/pg_tablespace_d.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "fork_files.h"
#include "page_client.h"
#include "server_image.h"
#include "storage/fd.h"
#include "storage/reinit.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/fmgrtab.h"
#include "utils/rel.h"
#include "wal_position.h"

typedef enum SizeFunction
{
	RELATION_SIZE,
	TABLE_SIZE,
	INDEXES_SIZE,
	TOTAL_RELATION_SIZE,
	DATABASE_SIZE_OID,
	DATABASE_SIZE_NAME
} SizeFunction;

#define SIZE_FUNCTIONS (DATABASE_SIZE_NAME + 1)

static PGFunction stock[SIZE_FUNCTIONS];

static void
make_forks_known(Relation relation)
{
	if (!RELKIND_HAS_STORAGE(relation->rd_rel->relkind) ||
		relation->rd_backend != InvalidBackendId)
		return;
	for (ForkNumber fork = 0; fork <= MAX_FORKNUM; fork++)
		(void) tide_known_fork(&relation->rd_node, fork);
}

static void
make_indexes_known(Relation table)
{
	List	   *indexes = RelationGetIndexList(table);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = relation_open(lfirst_oid(cell), AccessShareLock);

		make_forks_known(index);
		relation_close(index, AccessShareLock);
	}
	list_free(indexes);
}

static void
make_table_known(Relation table)
{
	Oid			toast = table->rd_rel->reltoastrelid;

	make_forks_known(table);
	if (OidIsValid(toast))
	{
		Relation	toast_table = relation_open(toast, AccessShareLock);

		make_forks_known(toast_table);
		make_indexes_known(toast_table);
		relation_close(toast_table, AccessShareLock);
	}
}

static void
make_known(Oid oid, SizeFunction function)
{
	Relation	relation = try_relation_open(oid, AccessShareLock);

	if (relation == NULL)
		return;
	if (function == RELATION_SIZE)
		make_forks_known(relation);
	if (function == TABLE_SIZE || function == TOTAL_RELATION_SIZE)
		make_table_known(relation);
	if ((function == INDEXES_SIZE || function == TOTAL_RELATION_SIZE) &&
		relation->rd_rel->relhasindex)
		make_indexes_known(relation);
	relation_close(relation, AccessShareLock);
}

static Datum
tide_pg_relation_size(PG_FUNCTION_ARGS)
{
	make_known(PG_GETARG_OID(0), RELATION_SIZE);
	return stock[RELATION_SIZE] (fcinfo);
}

static Datum
tide_pg_table_size(PG_FUNCTION_ARGS)
{
	make_known(PG_GETARG_OID(0), TABLE_SIZE);
	return stock[TABLE_SIZE] (fcinfo);
}

static Datum
tide_pg_indexes_size(PG_FUNCTION_ARGS)
{
	make_known(PG_GETARG_OID(0), INDEXES_SIZE);
	return stock[INDEXES_SIZE] (fcinfo);
}

static Datum
tide_pg_total_relation_size(PG_FUNCTION_ARGS)
{
	make_known(PG_GETARG_OID(0), TOTAL_RELATION_SIZE);
	return stock[TOTAL_RELATION_SIZE] (fcinfo);
}

/* Whether the page store does not count this file of a database's directory. */
static bool
is_only_here(Oid db, const char *name)
{
	RelFileNode node = {DEFAULTTABLESPACE_OID, db, InvalidOid};
	ForkNumber	fork;
	int			digits;
	char		path[MAXPGPATH];
	struct stat status;

	if (!parse_filename_for_nontemp_relation(name, &digits, &fork))
		return true;			/* temporary, or not a relation's */
	if (fork == INIT_FORKNUM)
		return false;
	node.relNode = atooid(name);
	tide_segment_path(path, &node, INIT_FORKNUM, 0);
	return stat(path, &status) == 0;
}

static int64
local_only_bytes(Oid db)
{
	char		directory[MAXPGPATH];
	char		path[MAXPGPATH * 2];
	DIR		   *listing;
	struct dirent *entry;
	int64		bytes = 0;

	snprintf(directory, sizeof(directory), "base/%u", db);
	listing = AllocateDir(directory);
	while ((entry = ReadDirExtended(listing, directory, LOG)) != NULL)
	{
		struct stat status;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		/* Files come and go meanwhile. */
		if (is_only_here(db, entry->d_name) && stat(path, &status) == 0)
			bytes += status.st_size;
	}
	FreeDir(listing);
	return bytes;
}

static int64
database_bytes(Oid db)
{
	/* What this compute did until now shall be counted. */
	return (int64) tide_fetch_database_size(db, tide_insert_lsn()) + local_only_bytes(db);
}

/* The server's own function goes first: it checks existence and privileges. */

static Datum
tide_pg_database_size_oid(PG_FUNCTION_ARGS)
{
	Datum		local = stock[DATABASE_SIZE_OID] (fcinfo);

	if (fcinfo->isnull)
		return local;
	PG_RETURN_INT64(database_bytes(PG_GETARG_OID(0)));
}

static Datum
tide_pg_database_size_name(PG_FUNCTION_ARGS)
{
	Datum		local = stock[DATABASE_SIZE_NAME] (fcinfo);

	if (fcinfo->isnull)
		return local;
	PG_RETURN_INT64(database_bytes(get_database_oid(NameStr(*PG_GETARG_NAME(0)), false)));
}

static void
replace(const char *name, SizeFunction function, PGFunction ours)
{
	for (int i = 0; i < fmgr_nbuiltins; i++)
	{
		FmgrBuiltin *builtin = unconstify(FmgrBuiltin *, &fmgr_builtins[i]);

		if (strcmp(builtin->funcName, name) != 0)
			continue;
		stock[function] = builtin->func;
		builtin->func = ours;
		return;
	}
	ereport(FATAL,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("this server has no built-in function \"%s\"", name),
			 errhint("tidewater was built for PostgreSQL %s.", PG_VERSION)));
}

void
tide_relation_size_install(void)
{
	tidewater_make_writable(unconstify(FmgrBuiltin *, &fmgr_builtins[0]),
							fmgr_nbuiltins * sizeof(FmgrBuiltin));
	replace("pg_relation_size", RELATION_SIZE, tide_pg_relation_size);
	replace("pg_table_size", TABLE_SIZE, tide_pg_table_size);
	replace("pg_indexes_size", INDEXES_SIZE, tide_pg_indexes_size);
	replace("pg_total_relation_size", TOTAL_RELATION_SIZE, tide_pg_total_relation_size);
	replace("pg_database_size_oid", DATABASE_SIZE_OID, tide_pg_database_size_oid);
	replace("pg_database_size_name", DATABASE_SIZE_NAME, tide_pg_database_size_name);
}
