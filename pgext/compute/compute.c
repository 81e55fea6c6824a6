/*
 * The compute role: what is installed when the server starts.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "cache_map.h"
#include "common/file_perm.h"
#include "ddl_guard.h"
#include "feed.h"
#include "keeper.h"
#include "miscadmin.h"
#include "quick_start.h"
#include "relation_size.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage_manager.h"
#include "sync_guard.h"
#include "throttle.h"
#include "tidewater.h"
#include "utils/guc.h"

/* Says in a data directory that a compute has used it. */
#define USED_MARK "tidewater.used"

static shmem_request_hook_type next_request_hook;
static shmem_startup_hook_type next_startup_hook;

static void
request_shared_memory(void)
{
	if (next_request_hook != NULL)
		next_request_hook();
	tide_map_request();
}

/*
 * The map of what is present dies with the server, and without it the sparse files look complete. So a
 * data directory serves one start only.
 */
static void
claim_data_directory(void)
{
	int			file = open(USED_MARK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, pg_file_create_mode);

	if (file >= 0)
	{
		close(file);
		return;
	}
	if (errno != EEXIST)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", USED_MARK)));
	ereport(FATAL,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this data directory was used by a compute before"),
			 errdetail("The relation files in it are the remains of a cache."),
			 errhint("Start a compute from a new base backup of the page store.")));
}

static void
start_shared_memory(void)
{
	if (next_startup_hook != NULL)
		next_startup_hook();
	if (DataChecksumsEnabled())
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a compute cannot run with data checksums"),
				 errdetail("The page store checks its pages itself; the local files are a cache.")));
	claim_data_directory();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	tide_map_startup();
	LWLockRelease(AddinShmemInitLock);
}

void
tidewater_compute_init(void)
{
	tide_settings_define();
	MarkGUCPrefixReserved("tidewater");
	tide_feed_map();

	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;

	tide_storage_manager_install();
	tide_relation_size_install();
	tide_ddl_guard_install();
	tide_sync_guard_install();
	tide_transaction_ends_install();
	tide_keeper_register();
	tide_quick_start_install();
}
