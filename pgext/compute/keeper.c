/*
 * The keeper.
 */
#include "keeper.h"

#include "postgres.h"

#include <dlfcn.h>
#include <signal.h>

#include "cache_map.h"
#include "eviction.h"
#include "feed.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tidewater.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "wal_position.h"

#define PUBLISH_MS 50

/* A sweep that freed nothing need not be repeated sooner: what holds the pages takes its time. */
#define FUTILE_MS 500

/* Chunks looked at between two looks at everything else. */
#define SWEEP_CHUNKS 1024

extern PGDLLEXPORT void tidewater_keeper_main(Datum argument);

static void
forget_latch(int code, Datum argument)
{
	tide_map->keeper_latch = NULL;
}

/* Evicts down to a little below the limit. False if there was nothing to gain. */
static bool
evict(void)
{
	uint64		over = tide_blocks_over();
	uint64		slack = (uint64) tide_settings.cache_size_kb * 1024 / BLCKSZ / 20;
	uint32		chunks = 0;
	uint64		evicted = 0;

	if (over == 0)
		return true;
	/* Twice around: the first pass only takes reference bits away. */
	while (evicted < over + slack && chunks < 2 * tide_map->used_end + SWEEP_CHUNKS)
	{
		evicted += tide_evict(over + slack - evicted, SWEEP_CHUNKS, true);
		chunks += SWEEP_CHUNKS;
		CHECK_FOR_INTERRUPTS();
		tide_feed_publish();
	}
	/* Perhaps only pages are left whose WAL nobody has flushed yet: no commit came behind them. */
	if (evicted == 0)
		XLogFlush(tide_insert_lsn());
	return evicted > 0;
}

void
tidewater_keeper_main(Datum argument)
{
	TimestampTz futile_until = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	tide_map->keeper_latch = MyLatch;
	on_shmem_exit(forget_latch, 0);

	while (!ShutdownRequestPending)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PUBLISH_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		tide_feed_check_fenced();
		tide_feed_publish();
		if (tide_blocks_over() > 0 && GetCurrentTimestamp() >= futile_until && !evict())
			futile_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), FUTILE_MS);
	}
	proc_exit(0);
}

void
tide_keeper_register(void)
{
	BackgroundWorker worker = {
		.bgw_name = "tidewater keeper",
		.bgw_type = "tidewater keeper",
		.bgw_flags = BGWORKER_SHMEM_ACCESS,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 1,
		.bgw_function_name = "tidewater_keeper_main",
	};
	Dl_info		library;

	/* The worker loads its library by name: ours need not be in the server's library directory. */
	if (dladdr(tidewater_keeper_main, &library) == 0 ||
		strlcpy(worker.bgw_library_name, library.dli_fname, BGW_MAXLEN) >= BGW_MAXLEN)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the path of tidewater.so is too long for a background worker"),
				 errdetail("PostgreSQL allows %d bytes.", BGW_MAXLEN - 1)));
	RegisterBackgroundWorker(&worker);
}
