/*
 * Commands that a compute must not run as they are, or must clean up after.
 */
#include "ddl_guard.h"

#include "postgres.h"

#include "cache_map.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

static ProcessUtility_hook_type next_hook;

static void
refuse_tablespace(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("tablespaces are not supported by Tidewater"),
			 errdetail("All relations are kept by the page store; local files are only its cache."),
			 errhint("Leave the TABLESPACE clause out: relations go to \"pg_default\".")));
}

/*
 * CREATE DATABASE copies by WAL: a file copy would read local files, which are sparse, and tell the page
 * store nothing of the pages. Returns the statement to run.
 */
static PlannedStmt *
force_wal_log(PlannedStmt *statement)
{
	CreatedbStmt *create = (CreatedbStmt *) statement->utilityStmt;
	ListCell   *cell;

	foreach(cell, create->options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		if (strcmp(option->defname, "strategy") != 0)
			continue;
		if (option->arg == NULL || pg_strcasecmp(defGetString(option), "file_copy") != 0)
			return statement;	/* wal_log, or the server knows what to say */

		ereport(NOTICE,
				(errmsg("using strategy \"wal_log\" to create the database"),
				 errdetail("The strategy \"file_copy\" is not supported by Tidewater.")));
		statement = copyObject(statement);
		create = (CreatedbStmt *) statement->utilityStmt;
		foreach(cell, create->options)
		{
			option = (DefElem *) lfirst(cell);
			if (strcmp(option->defname, "strategy") == 0)
				option->arg = (Node *) makeString(pstrdup("wal_log"));
		}
		return statement;
	}
	return statement;			/* wal_log is the server's default */
}

static void
guard(PlannedStmt *statement, const char *text, bool read_only_tree, ProcessUtilityContext context,
	  ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *receiver,
	  QueryCompletion *completion)
{
	Node	   *command = statement->utilityStmt;
	Oid			dropped = InvalidOid;

	if (IsA(command, CreateTableSpaceStmt))
		refuse_tablespace();
	else if (IsA(command, CreatedbStmt))
		statement = force_wal_log(statement);
	else if (IsA(command, DropdbStmt))
		dropped = get_database_oid(((DropdbStmt *) command)->dbname, true);

	if (next_hook != NULL)
		next_hook(statement, text, read_only_tree, context, parameters, environment, receiver,
				  completion);
	else
		standard_ProcessUtility(statement, text, read_only_tree, context, parameters, environment,
								receiver, completion);

	/* Its files went with the directory, not one by one. */
	if (OidIsValid(dropped))
		tide_map_forget_database(dropped);
}

void
tide_ddl_guard_install(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = guard;
}
