/*
 * tidewater.so: loading, and choosing the role.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "tidewater.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

/* mdtruncate and the table behind it took their present form in 15.11. */
#define OLDEST_SERVER 150011

enum Role
{
	ROLE_NONE,
	ROLE_COMPUTE,
	ROLE_REDO
};

static const struct config_enum_entry role_options[] = {
	{"none", ROLE_NONE, true},
	{"compute", ROLE_COMPUTE, false},
	{"redo", ROLE_REDO, false},
	{NULL, 0, false}
};

static int	role = ROLE_NONE;

extern PGDLLEXPORT void _PG_init(void);

static void
check_server(void)
{
	int			version = atoi(GetConfigOption("server_version_num", false, false));

	if (version < OLDEST_SERVER || version / 100 != PG_VERSION_NUM / 100)
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tidewater does not support this server"),
				 errdetail("The server's version number is %d; tidewater was built for %d and needs at least %d.",
						   version, PG_VERSION_NUM, OLDEST_SERVER)));
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tidewater must be loaded when the server starts"),
				 errhint("Add it to shared_preload_libraries.")));
	check_server();

	DefineCustomEnumVariable("tidewater.role",
							 "What this server is for Tidewater.",
							 "compute: serves clients, its pages come from the page store. "
							 "redo: applies WAL records to pages for the page store.",
							 &role, ROLE_NONE, role_options,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);
	switch (role)
	{
		case ROLE_COMPUTE:
			tidewater_compute_init();
			break;
		case ROLE_REDO:
			tidewater_redo_init();
			break;
		default:
			ereport(FATAL,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("tidewater.role is not set"),
					 errhint("Set it to \"compute\" or \"redo\".")));
	}
}
