/*
 * Finding the server's storage-manager table.
 */
#include "smgr_table.h"

#include "server_image.h"
#include "storage/md.h"

#ifdef EXEC_BACKEND
#error "the table is replaced before fork; a server that execs its backends would lose it"
#endif

StaticAssertDecl(sizeof(SmgrTable) == 15 * sizeof(uintptr_t), "f_smgr of PostgreSQL 15 has 15 entries");

SmgrTable *
tidewater_smgr_table(void)
{
	static SmgrTable *table = NULL;
	SmgrTable	stock = {
		.smgr_init = mdinit,
		.smgr_shutdown = NULL,
		.smgr_open = mdopen,
		.smgr_close = mdclose,
		.smgr_create = mdcreate,
		.smgr_exists = mdexists,
		.smgr_unlink = mdunlink,
		.smgr_extend = mdextend,
		.smgr_prefetch = mdprefetch,
		.smgr_read = mdread,
		.smgr_write = mdwrite,
		.smgr_writeback = mdwriteback,
		.smgr_nblocks = mdnblocks,
		.smgr_truncate = mdtruncate,
		.smgr_immedsync = mdimmedsync,
	};
	void	   *found;
	int			matches;

	if (table != NULL)
		return table;

	matches = tidewater_find_in_server((const uintptr_t *) &stock,
									   sizeof(stock) / sizeof(uintptr_t), &found);
	if (matches != 1)
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this server's storage-manager table was not recognised"),
				 errdetail("Looked for the 15 addresses of mdinit ... mdimmedsync in a row; found them %d times, expected once.",
						   matches),
				 errhint("tidewater was built for PostgreSQL %s.", PG_VERSION)));

	tidewater_make_writable(found, sizeof(SmgrTable));
	table = (SmgrTable *) found;
	return table;
}
