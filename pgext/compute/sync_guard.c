/*
 * Commits wait for the acceptors.
 *
 * Stock PostgreSQL ends that wait on a cancel or a terminate: it warns, and the transaction becomes visible
 * without being replicated. At the moment of the warning the backend is still in the queue and still in
 * the proc array, so a hook that does not return before the acknowledgement keeps both promises.
 */
#include "sync_guard.h"

#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "replication/syncrep.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/elog.h"
#include "utils/wait_event.h"

#define CANCELED "canceling wait for synchronous replication due to user request"
#define TERMINATED "canceling the wait for synchronous replication and terminating connection due to administrator command"

#define POLL_MS 100

static emit_log_hook_type next_hook;

static void
wait_for_acknowledgement(void)
{
	while (MyProc->syncRepState == SYNC_REP_WAITING)
	{
		int			events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_POSTMASTER_DEATH,
									   POLL_MS, WAIT_EVENT_SYNC_REP);

		ResetLatch(MyLatch);
		/* Nobody will acknowledge any more: end without telling anyone that it was committed. */
		if ((events & WL_POSTMASTER_DEATH) != 0)
			_exit(1);
	}
	pg_read_barrier();
}

static void
guard(ErrorData *error)
{
	if (error->elevel == WARNING && error->message_id != NULL && MyProc != NULL &&
		(strcmp(error->message_id, CANCELED) == 0 || strcmp(error->message_id, TERMINATED) == 0))
	{
		wait_for_acknowledgement();
		/* What it was to warn of is not so. */
		error->output_to_client = false;
		error->output_to_server = false;
	}
	if (next_hook != NULL)
		next_hook(error);
}

void
tide_sync_guard_install(void)
{
	next_hook = emit_log_hook;
	emit_log_hook = guard;
}
